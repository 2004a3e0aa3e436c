/* Known answers of the RFCs for what libsodium does not name so, and our own rules on top of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "crypto/crypto.h"

#define LEN(array) (sizeof(array) / sizeof *(array))

static void assert_hex(const uint8_t *octets, size_t len, const char *hex)
{
    char text[129];
    crypto_hex(slice_of(octets, len), text, sizeof text);
    assert_string_equal(text, hex);
}

static void a_digest_does_not_mind_the_pieces(void **state)
{
    static const char text[] = "The quick brown fox jumps over the lazy dog; and then it does so again, since two blocks are needed for this to mean anything at all.";
    uint8_t whole[CRYPTO_SHA256], pieces[CRYPTO_SHA256];
    struct slice octets = slice_of(text, sizeof text - 1);
    (void)state;
    crypto_sha256(octets, whole);
    for (size_t cut = 0; cut <= octets.len; cut++) {
        struct crypto_digest digest;
        crypto_digest_begin(&digest);
        crypto_digest_add(&digest, slice_take(octets, cut));
        crypto_digest_add(&digest, (struct slice){0});
        crypto_digest_add(&digest, slice_skip(octets, cut));
        crypto_digest_end(&digest, pieces);
        assert_memory_equal(whole, pieces, sizeof whole);
    }
}

static void fields_of_a_digest_do_not_run_together(void **state)
{
    uint8_t fields[CRYPTO_SHA256], octets[CRYPTO_SHA256];
    struct crypto_digest digest;
    (void)state;
    crypto_digest_begin(&digest);
    crypto_digest_add_text(&digest, SLICE("ab"));
    crypto_digest_add_number(&digest, 258);
    crypto_digest_add_text(&digest, (struct slice){0});
    crypto_digest_end(&digest, fields);
    crypto_sha256(SLICE("\0\0\0\0\0\0\0\2" "ab" "\0\0\0\0\0\0\1\2" "\0\0\0\0\0\0\0\0"), octets);
    assert_memory_equal(fields, octets, sizeof octets);
}

static void knows_sha256(void **state)
{
    uint8_t out[CRYPTO_SHA256];
    (void)state;
    crypto_sha256(SLICE("abc"), out);
    assert_hex(out, sizeof out, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    crypto_sha256((struct slice){0}, out);
    assert_hex(out, sizeof out, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

/* RFC 4231 4.3 and 4.7: a short key, and one longer than a block. */
static void knows_hmac(void **state)
{
    uint8_t out[CRYPTO_SHA256];
    char key[131];
    (void)state;
    crypto_hmac_sha256(SLICE("Jefe"), SLICE("what do ya want for nothing?"), out);
    assert_hex(out, sizeof out, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, sizeof key);
    crypto_hmac_sha256(slice_of(key, sizeof key), SLICE("Test Using Larger Than Block-Size Key - Hash Key First"), out);
    assert_hex(out, sizeof out, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

/* RFC 7914 11: the first 32 octets. */
static void knows_pbkdf2(void **state)
{
    uint8_t out[CRYPTO_SHA256];
    (void)state;
    crypto_pbkdf2_sha256(SLICE("passwd"), SLICE("salt"), 1, out);
    assert_hex(out, sizeof out, "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc");
    crypto_pbkdf2_sha256(SLICE("Password"), SLICE("NaCl"), 80000, out);
    assert_hex(out, sizeof out, "4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56");
}

static void keyed_hash_depends_on_key_and_message(void **state)
{
    uint8_t key[CRYPTO_KEY] = {1}, a[CRYPTO_HASH], b[CRYPTO_HASH];
    (void)state;
    crypto_keyed_hash(key, SLICE("x"), a);
    crypto_keyed_hash(key, SLICE("x"), b);
    assert_memory_equal(a, b, sizeof a);
    crypto_keyed_hash(key, SLICE("y"), b);
    assert_memory_not_equal(a, b, sizeof a);
    key[0] = 2;
    crypto_keyed_hash(key, SLICE("x"), b);
    assert_memory_not_equal(a, b, sizeof a);
}

/* RFC 4648 10, and what strictness means. */
static void base64_is_strict(void **state)
{
    static const struct {
        const char *text;
        const char *octets; /* NULL: refused */
    } rows[] = {
        {"", ""}, {"Zg==", "f"}, {"Zm8=", "fo"}, {"Zm9v", "foo"}, {"Zm9vYg==", "foob"}, {"Zm9vYmE=", "fooba"}, {"Zm9vYmFy", "foobar"},
        {"Zg", NULL}, {"Zg=", NULL}, {"Zg===", NULL}, {"Zh==", NULL}, {"Zm9=", NULL}, {"=", NULL}, {"====", NULL}, {"Zg==Zg==", NULL},
        {"Zm 9v", NULL}, {"Zm9v\n", NULL}, {"Zm9v\r\n", NULL}, {"Zm9-", NULL}, {"Zm9_", NULL}, {"Z===", NULL}, {"Zm9v====", NULL},
    };
    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        struct buffer out = BUFFER(64);
        struct slice text = slice_from_cstr(rows[i].text);
        enum result expected = rows[i].octets ? RESULT_OK : RESULT_SYNTAX;
        assert_int_equal(crypto_base64_decode(text, &out), expected);
        assert_true(slice_equal(buffer_slice(&out), slice_from_cstr(rows[i].octets)));
        if (rows[i].octets) {
            buffer_clear(&out);
            assert_int_equal(crypto_base64_encode(slice_from_cstr(rows[i].octets), &out), RESULT_OK);
            assert_true(slice_equal(buffer_slice(&out), text));
            assert_int_equal(crypto_base64_len(strlen(rows[i].octets)), text.len);
        }
        buffer_free(&out);
    }
}

static void base64_keeps_to_the_limit(void **state)
{
    struct buffer out = BUFFER(8);
    (void)state;
    assert_int_equal(crypto_base64_decode(SLICE("Zm9vYmFyZm9v"), &out), RESULT_LIMIT);
    assert_int_equal(buffer_len(&out), 0);
    assert_int_equal(crypto_base64_decode(SLICE("Zm9vYmFyZm8="), &out), RESULT_OK);
    assert_int_equal(buffer_len(&out), 8);
    buffer_clear(&out);
    assert_int_equal(crypto_base64_encode(SLICE("1234567"), &out), RESULT_LIMIT);
    assert_int_equal(buffer_len(&out), 0);
    assert_int_equal(crypto_base64_encode(SLICE("foobar"), &out), RESULT_OK);
    assert_true(slice_equal(buffer_slice(&out), SLICE("Zm9vYmFy")));
    buffer_free(&out);
}

static void hex_round_trips(void **state)
{
    uint8_t out[3];
    char text[7];
    (void)state;
    assert_true(crypto_hex_decode(SLICE("00fFa5"), out, 3));
    crypto_hex(slice_of(out, 3), text, sizeof text);
    assert_string_equal(text, "00ffa5");
    assert_false(crypto_hex_decode(SLICE("00ff"), out, 3));
    assert_false(crypto_hex_decode(SLICE("00ffa55"), out, 3));
    assert_false(crypto_hex_decode(SLICE("00:ff5"), out, 3));
    assert_false(crypto_hex_decode(SLICE("00ffg5"), out, 3));
}

static const struct crypto_password_cost cheap = {.passes = 1, .memory_kib = 8};

static void password_verifies(void **state)
{
    char stored[CRYPTO_PASSWORD_HASH_MAX];
    (void)state;
    assert_int_equal(crypto_password_hash(SLICE("p\0ss"), cheap, stored), RESULT_OK);
    struct slice text = slice_from_cstr(stored);
    assert_true(slice_starts_with(text, SLICE("$argon2id$v=19$m=8,t=1,p=1$")));
    assert_int_equal(crypto_password_verify(text, SLICE("p\0ss")), RESULT_OK);
    assert_int_equal(crypto_password_verify(text, SLICE("p\0st")), RESULT_DENIED);
    assert_int_equal(crypto_password_verify(text, SLICE("p")), RESULT_DENIED);
    assert_int_equal(crypto_password_verify(text, (struct slice){0}), RESULT_DENIED);
    assert_false(crypto_password_is_outdated(text, cheap));
    assert_true(crypto_password_is_outdated(text, (struct crypto_password_cost){0}));
    assert_true(crypto_password_is_outdated(SLICE("x"), cheap));
}

static void password_defaults_to_interactive(void **state)
{
    char stored[CRYPTO_PASSWORD_HASH_MAX];
    (void)state;
    assert_int_equal(crypto_password_hash(SLICE("x"), (struct crypto_password_cost){0}, stored), RESULT_OK);
    assert_true(slice_starts_with(slice_from_cstr(stored), SLICE("$argon2id$v=19$m=65536,t=2,p=1$")));
    assert_int_equal(crypto_password_verify(slice_from_cstr(stored), SLICE("x")), RESULT_OK);
}

static void password_has_bounds(void **state)
{
    static const struct crypto_password_cost dear[] = {{9, 8}, {1, 256 * 1024 + 1}, {1, 7}};
    char stored[CRYPTO_PASSWORD_HASH_MAX], longest[CRYPTO_PASSWORD_MAX + 1];
    (void)state;
    for (size_t i = 0; i < LEN(dear); i++)
        assert_int_equal(crypto_password_hash(SLICE("x"), dear[i], stored), RESULT_LIMIT);
    memset(longest, 'x', sizeof longest);
    assert_int_equal(crypto_password_hash(slice_of(longest, sizeof longest), cheap, stored), RESULT_LIMIT);
    assert_int_equal(crypto_password_hash(slice_of(longest, sizeof longest - 1), cheap, stored), RESULT_OK);
    assert_int_equal(crypto_password_verify(slice_from_cstr(stored), slice_of(longest, sizeof longest - 1)), RESULT_OK);
    assert_int_equal(crypto_password_verify(slice_from_cstr(stored), slice_of(longest, sizeof longest)), RESULT_DENIED);
}

#define SALT_AND_HASH "$c29tZXNhbHRzb21lc2FsdA$iWh06vD8Fy27wf9npn6FXWiCX4K6pW6Ue1Bnzz07Z8A"

static void poisoned_hash_is_corrupt(void **state)
{
    static const char *const rows[] = {
        "",
        "$argon2id$",
        "plain",
        "$argon2i$v=19$m=8,t=1,p=1" SALT_AND_HASH,
        "$argon2id$v=16$m=8,t=1,p=1" SALT_AND_HASH,
        "$argon2id$v=19$m=4294967295,t=1,p=1" SALT_AND_HASH,
        "$argon2id$v=19$m=262145,t=1,p=1" SALT_AND_HASH,
        "$argon2id$v=19$m=8,t=9,p=1" SALT_AND_HASH,
        "$argon2id$v=19$m=8,t=0,p=1" SALT_AND_HASH,
        "$argon2id$v=19$m=8,t=1,p=2" SALT_AND_HASH,
        "$argon2id$v=19$m=-8,t=1,p=1" SALT_AND_HASH,
        "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$",
        "$argon2id$v=19$m=8,t=1,p=1$$",
        "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA",
        "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2F$iWh06vD8Fy27wf9npn6FXWiCX4K6pW6Ue1Bnzz07Z8A",
        "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$iWh06vD8Fy27wf9npn6FXWiCX4K6pW6Ue1Bnzz07Z8A=",
        "$argon2id$v=19$m=8,t=1,p=1$!$!",
        "$argon2id$v=19$m=8,t=1,p=1" SALT_AND_HASH SALT_AND_HASH SALT_AND_HASH,
    };
    (void)state;
    for (size_t i = 0; i < LEN(rows); i++)
        assert_int_equal(crypto_password_verify(slice_from_cstr(rows[i]), SLICE("x")), RESULT_CORRUPT);
    assert_int_equal(crypto_password_verify(SLICE("$argon2id$v=19$m=8,t=1,p=1" SALT_AND_HASH), SLICE("x")), RESULT_DENIED);
}

static void readable_password_is_readable(void **state)
{
    char a[CRYPTO_READABLE_PASSWORD], b[CRYPTO_READABLE_PASSWORD];
    (void)state;
    crypto_readable_password(a);
    crypto_readable_password(b);
    assert_string_not_equal(a, b);
    assert_int_equal(strlen(a), 24);
    for (size_t i = 0; i < 24; i++)
        assert_true(i % 5 == 4 ? a[i] == '-' : strchr("23456789abcdefghjkmnpqrstuvwxyz", a[i]) != NULL);
}

static void secrets_are_zeroed_and_freed(void **state)
{
    void *secret = crypto_secret_alloc(100);
    (void)state;
    assert_non_null(secret);
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(((char *)secret)[i], 0);
    crypto_secret_free(&secret);
    assert_null(secret);
    crypto_secret_free(&secret);
    char text[] = "secret";
    crypto_wipe(text, sizeof text);
    assert_memory_equal(text, "\0\0\0\0\0\0", sizeof text);
}

static void compares_and_draws(void **state)
{
    (void)state;
    assert_true(crypto_equal(SLICE("abc"), SLICE("abc")));
    assert_true(crypto_equal((struct slice){0}, SLICE("")));
    assert_false(crypto_equal(SLICE("abc"), SLICE("abd")));
    assert_false(crypto_equal(SLICE("abc"), SLICE("ab")));
    for (int i = 0; i < 1000; i++)
        assert_true(crypto_random_below(7) < 7);
    assert_true(crypto_random_u32() != crypto_random_u32() || crypto_random_u32() != crypto_random_u32());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_sha256),
        cmocka_unit_test(a_digest_does_not_mind_the_pieces),
        cmocka_unit_test(fields_of_a_digest_do_not_run_together),
        cmocka_unit_test(knows_hmac),
        cmocka_unit_test(knows_pbkdf2),
        cmocka_unit_test(keyed_hash_depends_on_key_and_message),
        cmocka_unit_test(base64_is_strict),
        cmocka_unit_test(base64_keeps_to_the_limit),
        cmocka_unit_test(hex_round_trips),
        cmocka_unit_test(password_verifies),
        cmocka_unit_test(password_defaults_to_interactive),
        cmocka_unit_test(password_has_bounds),
        cmocka_unit_test(poisoned_hash_is_corrupt),
        cmocka_unit_test(readable_password_is_readable),
        cmocka_unit_test(secrets_are_zeroed_and_freed),
        cmocka_unit_test(compares_and_draws),
    };
    if (crypto_init() != RESULT_OK)
        return 1;
    return cmocka_run_group_tests_name("crypto", tests, NULL, NULL);
}
