/* The answer of the challenge: made, taken apart, checked. */
#include "net/challenge_internal.h"

#include "crypto/crypto.h"

#include <string.h>

static const struct slice FIRST_LINE = {"postern-challenge 1\n", 20};
enum { SIGNED_MAX = sizeof CHALLENGE_CONTEXT + CHALLENGE_NONCE_TEXT };

/* ---- the nonce ---- */

void challenge_make_nonce(char out[static CHALLENGE_NONCE_TEXT + 1])
{
    uint8_t octets[CHALLENGE_NONCE], last[3] = {0};
    static const char LETTERS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    crypto_random(octets, sizeof octets);
    for (size_t i = 0, at = 0; i < sizeof octets; i += 3) {
        memset(last, 0, sizeof last);
        memcpy(last, octets + i, sizeof octets - i < 3 ? sizeof octets - i : 3);
        uint32_t bits = (uint32_t)last[0] << 16 | (uint32_t)last[1] << 8 | last[2];
        for (int shift = 18; shift >= 0 && at < CHALLENGE_NONCE_TEXT; shift -= 6)
            out[at++] = LETTERS[bits >> shift & 63];
    }
    out[CHALLENGE_NONCE_TEXT] = '\0';
}

static bool is_base64url(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

bool challenge_is_nonce(struct slice text)
{
    if (text.len != CHALLENGE_NONCE_TEXT || slice_find(SLICE("AEIMQUYcgkosw048"), text.ptr[text.len - 1]) < 0)
        return false;
    for (size_t i = 0; i < text.len; i++)
        if (!is_base64url(text.ptr[i]))
            return false;
    return true;
}

/* What is signed: a context that is in no other signature of this key. In TLS 1.3 they begin with 64 spaces (RFC 8446 4.4.3), and what TLS 1.2 signs goes on after its two randoms, 64 octets, with a
 * group's number, which no character of a nonce is (RFC 8422 5.4). */
static struct slice signed_message(struct slice nonce, char memory[static SIGNED_MAX])
{
    memcpy(memory, CHALLENGE_CONTEXT, sizeof CHALLENGE_CONTEXT); /* with its NUL */
    memcpy(memory + sizeof CHALLENGE_CONTEXT, nonce.ptr, CHALLENGE_NONCE_TEXT);
    return slice_of(memory, SIGNED_MAX);
}

/* ---- the relay's side ---- */

static enum result append_answer(struct slice nonce, struct slice signature, const struct tls_context *server, struct buffer *out)
{
    enum result result = buffer_append(out, FIRST_LINE);
    if (result == RESULT_OK)
        result = buffer_append(out, nonce);
    if (result == RESULT_OK)
        result = buffer_append(out, SLICE("\n"));
    if (result == RESULT_OK)
        result = crypto_base64_encode(signature, out);
    if (result == RESULT_OK)
        result = buffer_append(out, SLICE("\n"));
    return result == RESULT_OK ? tls_context_chain_pem(server, out) : result;
}

enum result challenge_answer(const struct tls_context *server, struct slice nonce, struct buffer *out)
{
    char message[SIGNED_MAX];
    uint8_t signature[TLS_SIGNATURE_MAX];
    size_t len = 0, before = buffer_len(out);
    if (!challenge_is_nonce(nonce))
        return RESULT_SYNTAX;
    enum result result = tls_context_sign(server, signed_message(nonce, message), signature, &len);
    if (result == RESULT_OK)
        result = append_answer(nonce, slice_of(signature, len), server, out);
    if (result == RESULT_OK && buffer_len(out) - before > CHALLENGE_ANSWER_MAX)
        result = RESULT_LIMIT;
    if (result != RESULT_OK)
        buffer_truncate(out, before);
    return result;
}

/* ---- the agent's side ---- */

bool challenge_body_begins(struct slice body)
{
    return slice_equal(slice_take(body, FIRST_LINE.len), slice_take(FIRST_LINE, body.len));
}

bool challenge_body_parse(struct slice body, struct challenge_body *out)
{
    *out = (struct challenge_body){0};
    if (body.len > CHALLENGE_ANSWER_MAX || !slice_starts_with(body, FIRST_LINE))
        return false;
    body = slice_skip(body, FIRST_LINE.len);
    return slice_cut(body, '\n', &out->nonce, &body) && slice_cut(body, '\n', &out->signature, &out->chain) && challenge_is_nonce(out->nonce) &&
           out->signature.len > 0 && slice_starts_with(out->chain, SLICE("-----BEGIN CERTIFICATE-----"));
}

enum result challenge_check(const struct tls_context *client, const char *server_name, struct slice nonce, struct slice body)
{
    char message[SIGNED_MAX];
    uint8_t signature[TLS_SIGNATURE_MAX];
    struct challenge_body parts;
    size_t len;
    if (!challenge_is_nonce(nonce) || !challenge_body_parse(body, &parts) || !slice_equal(parts.nonce, nonce) ||
        !crypto_base64_decode_to(parts.signature, signature, sizeof signature, &len))
        return RESULT_DENIED;
    return tls_check_signed(client, server_name, parts.chain, signed_message(nonce, message), slice_of(signature, len));
}
