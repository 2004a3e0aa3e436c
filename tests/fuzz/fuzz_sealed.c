/* Two texts of a sealed database as they may lie on a damaged or hostile disk: the column as it stands, the base64 behind its prefix, and the pair within the record. What was put comes back, and at no other place. */
#include "store/sealed.h"

#include "base/octets.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

/* As a column: whatever stands there. */
static void take_column(const struct seal *seal, const struct seal_place *place, struct slice column)
{
    struct arena arena = ARENA(0);
    struct slice first, second;
    enum result result = sealed_texts_take(seal, place, column, (struct slice){0}, &arena, &first, &second);
    check(result == RESULT_OK || result == RESULT_CORRUPT || result == RESULT_VERSION);
    check(!seal || result != RESULT_OK || (column.len == 0 && place->field == SEALED_WORDS));
    check(seal || result != RESULT_OK || (slice_equal(first, column) && second.len == 0));
    arena_free(&arena);
}

/* As what a record holds that was sealed with our key: four octets of length, and two texts, or what somebody took for it. */
static void take_pair(const struct seal *seal, const struct seal_place *place, struct slice pair)
{
    struct arena arena = ARENA(0);
    struct buffer column = BUFFER(4 * (pair.len + SEAL_OVERHEAD) + 16);
    struct slice first, second;
    uint8_t *record = malloc(pair.len + SEAL_OVERHEAD);
    check(record && seal_put(seal, place, pair, record) == RESULT_OK);
    check(buffer_append_cstr(&column, ":1:") == RESULT_OK && crypto_base64_encode(slice_of(record, pair.len + SEAL_OVERHEAD), &column) == RESULT_OK);
    enum result result = sealed_texts_take(seal, place, buffer_slice(&column), (struct slice){0}, &arena, &first, &second);
    bool is_pair = pair.len >= 4 && octets_get(pair.ptr, 4) <= pair.len - 4;
    check(result == (is_pair ? RESULT_OK : RESULT_CORRUPT));
    check(!is_pair || (first.len == octets_get(pair.ptr, 4) && first.len + second.len + 4 == pair.len));
    check(sealed_texts_take(seal, place, buffer_slice(&column), SLICE("x"), &arena, &first, &second) == RESULT_CORRUPT);
    free(record);
    buffer_free(&column);
    arena_free(&arena);
}

static void come_back(const struct seal *seal, const struct seal_place *place, struct slice one, struct slice two)
{
    struct arena arena = ARENA(0);
    struct seal_place elsewhere = *place;
    struct sealed_texts texts;
    struct slice first, second;
    check(sealed_texts_put(seal, place, one, two, &texts) == RESULT_OK);
    check(sealed_texts_take(seal, place, texts.first, texts.second, &arena, &first, &second) == RESULT_OK && slice_equal(first, one) && slice_equal(second, two));
    elsewhere.message++;
    if (texts.first.len > 0)
        check(sealed_texts_take(seal, &elsewhere, texts.first, texts.second, &arena, &first, &second) == RESULT_CORRUPT);
    sealed_texts_free(&texts);
    arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t key[CRYPTO_KEY] = {1}, salt[SEAL_SALT] = {2};
    if (crypto_init() != RESULT_OK || size > 4096)
        return 0;
    const struct slice octets = slice_of(data, size), half = slice_take(octets, size / 2);
    struct seal *seal = seal_new(key, salt, SEALED_DOMAIN);
    check(seal);
    for (uint8_t field = SEALED_ENVELOPE; field <= SEALED_WORDS; field++) {
        const struct seal_place place = {.field = field, .message = 7};
        take_column(seal, &place, octets);
        take_column(NULL, &place, octets);
        take_pair(seal, &place, octets);
        come_back(seal, &place, half, slice_skip(octets, half.len));
    }
    seal_free(&seal);
    return 0;
}
