/* Base64 and hex. Ours are strict: one text for one run of octets, so that nothing can be smuggled in a second spelling. */
#include "crypto/crypto.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

size_t crypto_base64_len(size_t len)
{
    return (len + 2) / 3 * 4;
}

/* libsodium ends its text in a NUL, for which a buffer may have no room: the last group goes through a copy, and the NUL of those before it
 * is where it comes to stand. */
enum result crypto_base64_encode(struct slice in, struct buffer *out)
{
    char *at, last[5];
    if (in.len == 0)
        return RESULT_OK;
    if (in.len > SIZE_MAX / 2)
        return RESULT_LIMIT;
    enum result reserved = buffer_reserve(out, crypto_base64_len(in.len), &at);
    if (reserved != RESULT_OK)
        return reserved;
    const unsigned char *octets = (const unsigned char *)in.ptr;
    size_t before = (in.len - 1) / 3;
    sodium_bin2base64(at, 4 * before + 1, octets, 3 * before, sodium_base64_VARIANT_ORIGINAL);
    sodium_bin2base64(last, sizeof last, octets + 3 * before, in.len - 3 * before, sodium_base64_VARIANT_ORIGINAL);
    memcpy(at + 4 * before, last, 4);
    buffer_commit(out, crypto_base64_len(in.len));
    sodium_memzero(last, sizeof last);
    return RESULT_OK;
}

/* Octets that a well-padded text stands for. */
static size_t decoded_len(struct slice in)
{
    size_t padding = in.ptr[in.len - 1] != '=' ? 0 : in.ptr[in.len - 2] != '=' ? 1 : 2;
    return in.len / 4 * 3 - padding;
}

bool crypto_base64_decode_to(struct slice in, uint8_t *out, size_t size, size_t *len)
{
    const char *end;
    *len = 0;
    if (in.len == 0)
        return true;
    if (in.len % 4 != 0 || decoded_len(in) > size)
        return false;
    return sodium_base642bin(out, decoded_len(in), in.ptr, in.len, NULL, len, &end, sodium_base64_VARIANT_ORIGINAL) == 0 &&
           end == in.ptr + in.len;
}

enum result crypto_base64_decode(struct slice in, struct buffer *out)
{
    size_t len;
    char *at;
    if (in.len == 0)
        return RESULT_OK;
    if (in.len % 4 != 0)
        return RESULT_SYNTAX;
    enum result reserved = buffer_reserve(out, decoded_len(in), &at);
    if (reserved != RESULT_OK)
        return reserved;
    if (!crypto_base64_decode_to(in, (uint8_t *)at, decoded_len(in), &len))
        return RESULT_SYNTAX;
    buffer_commit(out, len);
    return RESULT_OK;
}

void crypto_hex(struct slice in, char *out, size_t size)
{
    assert(in.len < SIZE_MAX / 2 && size >= 2 * in.len + 1);
    sodium_bin2hex(out, size, (const unsigned char *)(in.ptr ? in.ptr : ""), in.len);
}

bool crypto_hex_decode(struct slice in, uint8_t *out, size_t len)
{
    size_t decoded;
    const char *end;
    if (in.len != 2 * len)
        return false;
    return len == 0 || (sodium_hex2bin(out, len, in.ptr, in.len, NULL, &decoded, &end) == 0 && decoded == len && end == in.ptr + in.len);
}
