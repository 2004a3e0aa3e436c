/* Records at rest. The vectors were made without libsodium: HChaCha20 after the draft, ChaCha20-Poly1305 of OpenSSL, BLAKE2b of Python. */
#include "crypto/seal.h"
#include "support/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LEN(array) (sizeof(array) / sizeof *(array))

static const struct seal_place HERE = {.field = 3, .message = 0x0102030405060708, .seq = 9, .size_octets = 70000, .nchunks = 2};

static struct seal *seal_of(uint8_t first, uint8_t salt_first, struct slice domain)
{
    uint8_t key[CRYPTO_KEY], salt[SEAL_SALT];
    for (size_t i = 0; i < sizeof key; i++)
        key[i] = (uint8_t)(first + i);
    for (size_t i = 0; i < sizeof salt; i++)
        salt[i] = (uint8_t)(salt_first + i);
    struct seal *seal = seal_new(key, salt, domain);
    assert_non_null(seal);
    return seal;
}

static struct seal *usual(void)
{
    return seal_of(0, 0xa0, SLICE("a test"));
}

static void assert_hex(const uint8_t *octets, size_t len, const char *hex)
{
    char text[129];
    crypto_hex(slice_of(octets, len), text, sizeof text);
    assert_string_equal(text, hex);
}

static void derived_values_are_those_of_another_implementation(void **state)
{
    (void)state;
    struct seal *seal = usual();
    uint8_t out[CRYPTO_HASH];
    char digest[32];
    memset(digest, 'D', sizeof digest);
    seal_check_value(seal, out);
    assert_hex(out, sizeof out, "659b549f9eeae10d937908507db110d57cfbead9f74eeb0450419cd718335ec9");
    seal_digest(seal, slice_of(digest, sizeof digest), out);
    assert_hex(out, sizeof out, "75d99ee9b0e143fef1f1aed4b1c1b3e06968930e181f8c66f07edb76da6ffaf0");
    seal_free(&seal);
    assert_null(seal);
}

static void opens_what_another_implementation_sealed(void **state)
{
    (void)state;
    static const char hundred[] = "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f !\"#$%&'()*+,-./"
                                  "0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abc";
    static const struct {
        struct seal_place place;
        struct slice holds;
        const char *record;
    } vectors[] = {
        {{1, 1, 0, 0, 0}, {"", 0}, "0100000000000000000000000000000000000000000000000099d663c25fe9315847fe99ec65feecf8"},
        {{3, 0x0102030405060708, 9, 70000, 2},
         {"carol@example.org", 17},
         "01000102030405060708090a0b0c0d0e0f101112131415161754a37015cc5e2ff5232b6dc72f5719c7d3fba312c0eed0de818224fe95a5845560"},
        {{255, UINT64_MAX, UINT32_MAX, UINT64_MAX, UINT32_MAX},
         {hundred, 100},
         "01ffffffffffffffffffffffffffffffffffffffffffffffff20e1e7a56dfba4e21168e4b7c6fe0801e558fe7307f7742473ec53c95c0ea417000196f90ebc78b4f6d896d7e50683966f7aa97b2d403a40815"
         "2570260a07daaaeb07383a5e0ec5755b85b62ab747aab62e9c0d86e96180df231c26f886a277dc24f7b990d56606e61a0434064d62a811897aac8"},
    };
    struct seal *seal = usual();
    for (size_t i = 0; i < LEN(vectors); i++) {
        uint8_t record[200], out[200];
        size_t len = strlen(vectors[i].record) / 2;
        assert_true(crypto_hex_decode(slice_from_cstr(vectors[i].record), record, len));
        struct slice guarded = guard_dup(slice_of(record, len));
        assert_int_equal(seal_held(len), vectors[i].holds.len);
        assert_int_equal(seal_take(seal, &vectors[i].place, guarded, out), RESULT_OK);
        assert_memory_equal(out, vectors[i].holds.ptr, vectors[i].holds.len);
        guard_free(&guarded);
    }
    seal_free(&seal);
}

static void what_is_put_is_taken_at_every_length(void **state)
{
    (void)state;
    static char octets[65536];
    static uint8_t record[sizeof octets + SEAL_OVERHEAD], out[sizeof octets];
    static const size_t lengths[] = {0, 1, 15, 16, 17, 63, 64, 65, 4096, sizeof octets};
    struct seal *seal = usual();
    crypto_random(octets, sizeof octets);
    for (size_t i = 0; i < LEN(lengths); i++) {
        assert_int_equal(seal_put(seal, &HERE, slice_of(octets, lengths[i]), record), RESULT_OK);
        assert_int_equal(seal_held(lengths[i] + SEAL_OVERHEAD), lengths[i]);
        assert_int_equal(seal_take(seal, &HERE, slice_of(record, lengths[i] + SEAL_OVERHEAD), out), RESULT_OK);
        assert_memory_equal(out, octets, lengths[i]);
    }
    assert_int_equal(seal_put(seal, &HERE, slice_of(octets, (size_t)SEAL_OCTETS_MAX + 1), record), RESULT_LIMIT);
    seal_free(&seal);
}

static void assert_corrupt(const struct seal *seal, const struct seal_place *place, struct slice record)
{
    uint8_t out[64];
    memset(out, 'x', sizeof out);
    assert_int_equal(seal_take(seal, place, record, out), RESULT_CORRUPT);
    for (size_t i = 0; i < seal_held(record.len); i++)
        assert_int_not_equal(out[i], "the secret words"[i]);
}

static void a_record_of_another_place_or_key_does_not_open(void **state)
{
    (void)state;
    uint8_t record[16 + SEAL_OVERHEAD];
    struct seal *seal = usual(), *other_key = seal_of(1, 0xa0, SLICE("a test")), *other_salt = seal_of(0, 0xa1, SLICE("a test")), *other_domain = seal_of(0, 0xa0, SLICE("a tesu"));
    struct seal_place places[] = {HERE, HERE, HERE, HERE, HERE};
    struct slice whole = slice_of(record, sizeof record);
    places[0].field++;
    places[1].message ^= UINT64_C(1) << 63;
    places[2].seq++;
    places[3].size_octets--;
    places[4].nchunks--;
    assert_int_equal(seal_put(seal, &HERE, SLICE("the secret words"), record), RESULT_OK);
    for (size_t i = 0; i < LEN(places); i++)
        assert_corrupt(seal, &places[i], whole);
    assert_corrupt(other_key, &HERE, whole);
    assert_corrupt(other_salt, &HERE, whole);
    assert_corrupt(other_domain, &HERE, whole);
    seal_free(&seal);
    seal_free(&other_key);
    seal_free(&other_salt);
    seal_free(&other_domain);
}

static void a_record_that_was_cut_or_altered_does_not_open(void **state)
{
    (void)state;
    uint8_t record[16 + SEAL_OVERHEAD];
    struct seal *seal = usual();
    assert_int_equal(seal_put(seal, &HERE, SLICE("the secret words"), record), RESULT_OK);
    for (size_t len = 0; len < sizeof record; len++) {
        struct slice cut = guard_dup(slice_of(record, len));
        assert_corrupt(seal, &HERE, cut);
        guard_free(&cut);
    }
    for (size_t i = 1; i < sizeof record; i++) {
        record[i] ^= 0x40;
        assert_corrupt(seal, &HERE, slice_of(record, sizeof record));
        record[i] ^= 0x40;
    }
    uint8_t out[16];
    record[0] = SEAL_VERSION + 1;
    assert_int_equal(seal_take(seal, &HERE, slice_of(record, sizeof record), out), RESULT_VERSION);
    record[0] = 0;
    assert_corrupt(seal, &HERE, slice_of(record, sizeof record));
    seal_free(&seal);
}

static void the_same_octets_never_look_alike(void **state)
{
    (void)state;
    uint8_t one[16 + SEAL_OVERHEAD], other[16 + SEAL_OVERHEAD];
    struct seal *seal = usual();
    assert_int_equal(seal_put(seal, &HERE, SLICE("the secret words"), one), RESULT_OK);
    assert_int_equal(seal_put(seal, &HERE, SLICE("the secret words"), other), RESULT_OK);
    assert_memory_not_equal(one + 1, other + 1, 24);
    assert_memory_not_equal(one + 25, other + 25, 16);
    seal_free(&seal);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(derived_values_are_those_of_another_implementation),
        cmocka_unit_test(opens_what_another_implementation_sealed),
        cmocka_unit_test(what_is_put_is_taken_at_every_length),
        cmocka_unit_test(a_record_of_another_place_or_key_does_not_open),
        cmocka_unit_test(a_record_that_was_cut_or_altered_does_not_open),
        cmocka_unit_test(the_same_octets_never_look_alike),
    };
    if (crypto_init() != RESULT_OK)
        return 1;
    return cmocka_run_group_tests_name("seal", tests, NULL, NULL);
}
