/* SCRAM's grammar and keys, with the vector of RFC 7677 3. (That of RFC 5802 is SHA-1, which we do not speak.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "crypto/crypto.h"
#include "smtp/sasl_scram.h"
#include "support/guard.h"

#define LEN(array) (sizeof(array) / sizeof *(array))
#define AUTH_7677                                                                                                                          \
    "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"                \
    "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"

static void decode(const char *base64, uint8_t *out, size_t size)
{
    size_t len;
    assert_true(crypto_base64_decode_to(slice_from_cstr(base64), out, size, &len));
    assert_int_equal(len, size);
}

static void knows_rfc7677(void **state)
{
    struct scram_keys keys;
    uint8_t salt[16], expected[SCRAM_KEY], proof[SCRAM_KEY], signature[SCRAM_KEY];
    (void)state;
    decode("W22ZaJ0SNY7soEsUEjb6gQ==", salt, sizeof salt);
    scram_derive(SLICE("pencil"), slice_of(salt, sizeof salt), 4096, &keys);
    scram_proof(&keys, SLICE(AUTH_7677), proof);
    decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", expected, sizeof expected);
    assert_memory_equal(proof, expected, sizeof proof);
    crypto_hmac_sha256(slice_of(keys.server_key, SCRAM_KEY), SLICE(AUTH_7677), signature);
    decode("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", expected, sizeof expected);
    assert_memory_equal(signature, expected, sizeof signature);

    struct scram_verifier verifier;
    assert_int_equal(scram_verifier_make(SLICE("pencil"), salt, sizeof salt, 4096, &verifier), RESULT_OK);
    assert_true(scram_proof_is_right(slice_of(proof, sizeof proof), verifier.stored_key, SLICE(AUTH_7677)));
    assert_memory_equal(verifier.server_key, keys.server_key, SCRAM_KEY);
    proof[31] ^= 1;
    assert_false(scram_proof_is_right(slice_of(proof, sizeof proof), verifier.stored_key, SLICE(AUTH_7677)));
    proof[31] ^= 1;
    assert_false(scram_proof_is_right(slice_of(proof, sizeof proof - 1), verifier.stored_key, SLICE(AUTH_7677)));
    assert_false(scram_proof_is_right(slice_of(proof, sizeof proof), verifier.stored_key, SLICE(AUTH_7677 "x")));
}

static void verifier_has_bounds(void **state)
{
    uint8_t salt[SCRAM_SALT_MAX + 1] = {1};
    char password[SASL_PASSWORD_MAX + 1];
    struct scram_verifier out;
    (void)state;
    memset(password, 'x', sizeof password);
    assert_int_equal(scram_verifier_make(slice_of(password, sizeof password - 1), salt, SCRAM_SALT_MAX, SCRAM_ITERATIONS, &out), RESULT_OK);
    assert_int_equal(scram_verifier_make(slice_of(password, sizeof password), salt, 16, SCRAM_ITERATIONS, &out), RESULT_LIMIT);
    assert_int_equal(scram_verifier_make(SLICE("x"), salt, SCRAM_SALT_MAX + 1, SCRAM_ITERATIONS, &out), RESULT_LIMIT);
    assert_int_equal(scram_verifier_make(SLICE("x"), salt, 0, SCRAM_ITERATIONS, &out), RESULT_LIMIT);
    assert_int_equal(scram_verifier_make(SLICE("x"), salt, 16, SCRAM_ITERATIONS - 1, &out), RESULT_LIMIT);
    assert_int_equal(scram_verifier_make(SLICE("x"), salt, 16, SCRAM_ITERATIONS_MAX + 1, &out), RESULT_LIMIT);
    assert_int_equal(scram_verifier_make(SLICE(""), salt, 16, SCRAM_ITERATIONS, &out), RESULT_SYNTAX);
    assert_int_equal(scram_verifier_make(SLICE("a\nb"), salt, 16, SCRAM_ITERATIONS, &out), RESULT_SYNTAX);
    assert_int_equal(scram_verifier_make(SLICE("a\xff"), salt, 16, SCRAM_ITERATIONS, &out), RESULT_SYNTAX);
}

static void made_up_verifier_is_steady(void **state)
{
    uint8_t key[32] = {7};
    struct scram_verifier a, b, c;
    (void)state;
    scram_verifier_make_up(key, SLICE("nobody"), &a);
    scram_verifier_make_up(key, SLICE("nobody"), &b);
    scram_verifier_make_up(key, SLICE("nobody2"), &c);
    assert_memory_equal(&a, &b, sizeof a);
    assert_memory_not_equal(a.salt, c.salt, SCRAM_SALT);
    assert_memory_not_equal(a.stored_key, c.stored_key, SCRAM_KEY);
    assert_int_equal(a.salt_len, SCRAM_SALT);
    assert_int_equal(a.iterations, SCRAM_ITERATIONS);
}

static void takes_attributes(void **state)
{
    static const struct {
        const char *text, *value, *rest; /* value NULL: refused */
    } rows[] = {
        {"r=abc", "abc", ""}, {"r=abc,s=x", "abc", "s=x"}, {"r=a=b,c", "a=b", "c"}, {"r==", "=", ""},
        {"", NULL, NULL}, {"r", NULL, NULL}, {"r=", NULL, NULL}, {"r=,s=x", NULL, NULL}, {"s=abc", NULL, NULL}, {"R=abc", NULL, NULL},
        {"r=abc,", NULL, NULL}, {",r=abc", NULL, NULL}, {"r:abc", NULL, NULL},
    };
    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        struct slice text = guard_dup(slice_from_cstr(rows[i].text)), rest = text, value;
        if (scram_take(&rest, 'r', &value) != (rows[i].value != NULL))
            fail_msg("%s", rows[i].text);
        assert_true(!rows[i].value || slice_equal(value, slice_from_cstr(rows[i].value)));
        assert_true(slice_equal(rest, slice_from_cstr(rows[i].value ? rows[i].rest : rows[i].text)));
        guard_free(&text);
    }
    assert_true(scram_extensions_are_valid(SLICE("")));
    assert_true(scram_extensions_are_valid(SLICE("x=1,Y=2")));
    assert_false(scram_extensions_are_valid(SLICE("m=1")));
    assert_false(scram_extensions_are_valid(SLICE("x=1,m=2")));
    assert_false(scram_extensions_are_valid(SLICE("x")));
    assert_false(scram_extensions_are_valid(SLICE("1=x")));
    assert_false(scram_extensions_are_valid(SLICE("x=1,")));
    assert_true(scram_nonce_is_valid(SLICE("!~a+/=")));
    assert_false(scram_nonce_is_valid(SLICE("a b")));
    assert_false(scram_nonce_is_valid(SLICE("a,b")));
    assert_false(scram_nonce_is_valid(SLICE("a\x80")));
    assert_false(scram_nonce_is_valid(SLICE("")));
}

static void escapes_names(void **state)
{
    static const struct {
        const char *escaped, *name; /* name NULL: refused */
    } rows[] = {
        {"user", "user"}, {"a=2Cb=3Dc", "a,b=c"}, {"=3D=3D", "=="}, {"j\xc3\xb6rg", "j\xc3\xb6rg"},
        {"a=b", NULL}, {"a=2c", NULL}, {"a=3d", NULL}, {"a=", NULL}, {"a=2", NULL}, {"", NULL}, {"a\x01", NULL}, {"a\xff", NULL},
    };
    char out[SASL_NAME_MAX], longest[SASL_NAME_MAX + 1];
    size_t len;
    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        struct slice text = guard_dup(slice_from_cstr(rows[i].escaped));
        if (scram_name_unescape(text, out, &len) != (rows[i].name != NULL))
            fail_msg("%s", rows[i].escaped);
        if (rows[i].name) {
            struct buffer back = BUFFER(64);
            assert_true(slice_equal(slice_of(out, len), slice_from_cstr(rows[i].name)));
            assert_int_equal(scram_name_escape(slice_of(out, len), &back), RESULT_OK);
            assert_true(slice_equal(buffer_slice(&back), text));
            buffer_free(&back);
        }
        guard_free(&text);
    }
    memset(longest, 'x', sizeof longest);
    assert_true(scram_name_unescape(slice_of(longest, SASL_NAME_MAX), out, &len));
    assert_false(scram_name_unescape(slice_of(longest, SASL_NAME_MAX + 1), out, &len));
}

static void judges_text(void **state)
{
    (void)state;
    assert_true(sasl_text_is_valid(SLICE("p\xc3\xa4ss w\xc3\xb6rd"), 20));
    assert_false(sasl_text_is_valid(SLICE("abc"), 2));
    assert_false(sasl_text_is_valid(SLICE(""), 2));
    assert_false(sasl_text_is_valid(SLICE("a\0b"), 20));
    assert_false(sasl_text_is_valid(SLICE("a\x7f"), 20));
    assert_false(sasl_text_is_valid(SLICE("a\xc2\x85"), 20));
    assert_false(sasl_text_is_valid(SLICE("a\xe4"), 20));
}

static void names_mechanisms(void **state)
{
    (void)state;
    for (unsigned m = SASL_PLAIN; m <= SASL_SCRAM_SHA_256_PLUS; m *= 2)
        assert_int_equal(sasl_mechanism_parse(slice_from_cstr(sasl_mechanism_name(m))), m);
    assert_int_equal(sasl_mechanism_parse(SLICE("plain")), SASL_PLAIN);
    assert_int_equal(sasl_mechanism_parse(SLICE("SCRAM-SHA-256-PLUSS")), 0);
    assert_int_equal(sasl_mechanism_parse(SLICE("CRAM-MD5")), 0);
    assert_string_equal(sasl_mechanism_name(0), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_rfc7677),    cmocka_unit_test(verifier_has_bounds), cmocka_unit_test(made_up_verifier_is_steady),
        cmocka_unit_test(takes_attributes), cmocka_unit_test(escapes_names),       cmocka_unit_test(judges_text),
        cmocka_unit_test(names_mechanisms),
    };
    if (crypto_init() != RESULT_OK)
        return 1;
    return cmocka_run_group_tests_name("smtp/sasl_scram", tests, NULL, NULL);
}
