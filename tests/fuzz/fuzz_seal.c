/* A sealed record as it may lie on a damaged or hostile disk: it opens only as what was put, at its place, and nothing beyond its length is touched. */
#include "crypto/seal.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static uint8_t *take(const struct seal *seal, const struct seal_place *place, struct slice record, enum result *result)
{
    uint8_t *out = malloc(seal_held(record.len) + 1);
    check(out);
    *result = seal_take(seal, place, record, out);
    return out;
}

static void come_back(const struct seal *seal, const struct seal_place *place, struct slice octets)
{
    enum result result;
    size_t len = octets.len + SEAL_OVERHEAD;
    uint8_t *record = malloc(len);
    check(record && seal_put(seal, place, octets, record) == RESULT_OK && seal_held(len) == octets.len);
    uint8_t *out = take(seal, place, slice_of(record, len), &result);
    check(result == RESULT_OK && slice_equal(slice_of(out, octets.len), octets));
    free(out);
    record[octets.len % len] ^= 1;
    out = take(seal, place, slice_of(record, len), &result);
    check(result != RESULT_OK);
    free(out);
    free(record);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t key[CRYPTO_KEY] = {1}, salt[SEAL_SALT] = {2};
    struct seal_place place = {.field = size > 0 ? data[0] : 0, .message = size, .seq = size > 1 ? data[1] : 0};
    enum result result;
    if (crypto_init() != RESULT_OK)
        return 0;
    struct seal *seal = seal_new(key, salt, SLICE("fuzz"));
    check(seal);
    free(take(seal, &place, slice_of(data, size), &result));
    check(result == RESULT_CORRUPT || result == RESULT_VERSION);
    come_back(seal, &place, slice_of(data, size));
    seal_free(&seal);
    return 0;
}
