#include "smtp/sasl_scram.h"

#include "crypto/crypto.h"

#include <string.h>

/* ---- grammar ---- */

bool scram_take(struct slice *rest, char name, struct slice *value)
{
    struct slice head, tail;
    bool has_comma = slice_cut(*rest, ',', &head, &tail);
    if (head.len < 3 || head.ptr[0] != name || head.ptr[1] != '=' || (has_comma && tail.len == 0))
        return false;
    *value = slice_skip(head, 2);
    *rest = tail;
    return true;
}

static bool is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool scram_extensions_are_valid(struct slice rest)
{
    struct slice value;
    while (rest.len > 0) {
        char name = rest.ptr[0];
        if (!is_alpha(name) || name == 'm' || !scram_take(&rest, name, &value))
            return false;
    }
    return true;
}

bool scram_nonce_is_valid(struct slice nonce)
{
    for (size_t i = 0; i < nonce.len; i++)
        if (nonce.ptr[i] <= ' ' || nonce.ptr[i] > '~' || nonce.ptr[i] == ',')
            return false;
    return nonce.len > 0;
}

enum result scram_name_escape(struct slice name, struct buffer *out)
{
    enum result result = RESULT_OK;
    for (size_t i = 0; i < name.len && result == RESULT_OK; i++) {
        if (name.ptr[i] == '=')
            result = buffer_append(out, SLICE("=3D"));
        else if (name.ptr[i] == ',')
            result = buffer_append(out, SLICE("=2C"));
        else
            result = buffer_append(out, slice_of(name.ptr + i, 1));
    }
    return result;
}

bool scram_name_unescape(struct slice escaped, char *out, size_t *len)
{
    for (*len = 0; escaped.len > 0; (*len)++) {
        bool is_escape = escaped.ptr[0] == '=';
        char c = escaped.ptr[0];
        if (slice_starts_with(escaped, SLICE("=2C")))
            c = ',';
        else if (is_escape && !slice_starts_with(escaped, SLICE("=3D")))
            return false;
        if (*len == SASL_NAME_MAX)
            return false;
        out[*len] = c;
        escaped = slice_skip(escaped, is_escape ? 3 : 1);
    }
    return sasl_text_is_valid(slice_of(out, *len), SASL_NAME_MAX);
}

enum result scram_write_binding(struct slice gs2_header, struct slice data, struct buffer *out)
{
    char octets[SCRAM_FIRST_MAX + SCRAM_BINDING_DATA_MAX];
    if (gs2_header.len > SCRAM_FIRST_MAX || data.len > SCRAM_BINDING_DATA_MAX)
        return RESULT_LIMIT;
    memcpy(octets, gs2_header.ptr, gs2_header.len);
    if (data.len > 0)
        memcpy(octets + gs2_header.len, data.ptr, data.len);
    return crypto_base64_encode(slice_of(octets, gs2_header.len + data.len), out);
}

/* ---- keys: RFC 5802 3 ---- */

static struct slice key_slice(const uint8_t key[static SCRAM_KEY])
{
    return slice_of(key, SCRAM_KEY);
}

void scram_derive(struct slice password, struct slice salt, uint32_t iterations, struct scram_keys *out)
{
    uint8_t salted[SCRAM_KEY];
    crypto_pbkdf2_sha256(password, salt, iterations, salted);
    crypto_hmac_sha256(key_slice(salted), SLICE("Client Key"), out->client_key);
    crypto_sha256(key_slice(out->client_key), out->stored_key);
    crypto_hmac_sha256(key_slice(salted), SLICE("Server Key"), out->server_key);
    crypto_wipe(salted, sizeof salted);
}

void scram_proof(const struct scram_keys *keys, struct slice auth_message, uint8_t out[static SCRAM_KEY])
{
    crypto_hmac_sha256(key_slice(keys->stored_key), auth_message, out);
    for (size_t i = 0; i < SCRAM_KEY; i++)
        out[i] ^= keys->client_key[i];
}

bool scram_proof_is_right(struct slice proof, const uint8_t stored_key[static SCRAM_KEY], struct slice auth_message)
{
    uint8_t key[SCRAM_KEY], hash[SCRAM_KEY];
    if (proof.len != SCRAM_KEY)
        return false;
    crypto_hmac_sha256(key_slice(stored_key), auth_message, key);
    for (size_t i = 0; i < SCRAM_KEY; i++)
        key[i] ^= (uint8_t)proof.ptr[i];
    crypto_sha256(key_slice(key), hash);
    bool is_right = crypto_equal(key_slice(hash), key_slice(stored_key));
    crypto_wipe(key, sizeof key);
    return is_right;
}

enum result scram_verifier_make(struct slice password, const uint8_t *salt, size_t salt_len, uint32_t iterations, struct scram_verifier *out)
{
    struct scram_keys keys;
    *out = (struct scram_verifier){0};
    if (password.len > SASL_PASSWORD_MAX || salt_len == 0 || salt_len > SCRAM_SALT_MAX || iterations < SCRAM_ITERATIONS ||
        iterations > SCRAM_ITERATIONS_MAX)
        return RESULT_LIMIT;
    if (!sasl_text_is_valid(password, SASL_PASSWORD_MAX))
        return RESULT_SYNTAX;
    memcpy(out->salt, salt, salt_len);
    out->salt_len = salt_len;
    out->iterations = iterations;
    scram_derive(password, slice_of(salt, salt_len), iterations, &keys);
    memcpy(out->stored_key, keys.stored_key, SCRAM_KEY);
    memcpy(out->server_key, keys.server_key, SCRAM_KEY);
    crypto_wipe(&keys, sizeof keys);
    return RESULT_OK;
}

void scram_verifier_make_up(const uint8_t key[static 32], struct slice user, struct scram_verifier *out)
{
    uint8_t hash[CRYPTO_HASH];
    crypto_keyed_hash(key, user, hash);
    *out = (struct scram_verifier){.salt_len = SCRAM_SALT, .iterations = SCRAM_ITERATIONS};
    memcpy(out->salt, hash, SCRAM_SALT);
    crypto_keyed_hash(key, slice_of(hash, sizeof hash), out->stored_key);
    crypto_keyed_hash(key, slice_of(out->stored_key, SCRAM_KEY), out->server_key);
}
