/* net/challenge.h: answers made and checked; and what a network says in the relay's place. */
#include "net/challenge_internal.h"
#include "support/certificates.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const char NAME[] = "relay.example";
static const struct slice NONCE = SLICE("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8");
static const struct slice OTHER_NONCE = SLICE("_-ECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8");
static char folder[64], why[256];

static const char *in_folder(const char *file)
{
    static char paths[8][128];
    static unsigned turn;
    char *path = paths[turn++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", folder, file);
    return path;
}

static struct tls_context *server_of(const char *identity)
{
    struct tls_context *context;
    char key[40], certificate[40];
    snprintf(key, sizeof key, "%s.key", identity);
    snprintf(certificate, sizeof certificate, "%s.pem", identity);
    struct tls_server_config config = {.certificate_file = in_folder(certificate), .key_file = in_folder(key)};
    if (tls_context_server(&context, &config, why, sizeof why) != RESULT_OK)
        fail_msg("%s", why);
    return context;
}

static struct tls_context *client_of(const struct tls_client_config *config)
{
    struct tls_context *context;
    if (tls_context_client(&context, config, why, sizeof why) != RESULT_OK)
        fail_msg("%s", why);
    return context;
}

static struct tls_context *client_with_pin_of(const struct tls_context *server)
{
    struct tls_client_config config = {.identity = TLS_IDENTITY_PINS, .npins = 2};
    memset(config.pins[0], 7, TLS_PIN);
    tls_context_pin(server, config.pins[1]);
    return client_of(&config);
}

static struct tls_context *client_with_ca(void)
{
    return client_of(&(struct tls_client_config){.identity = TLS_IDENTITY_CA, .ca_file = in_folder("ca.pem")});
}

static int make_identities(void **state)
{
    int64_t now = (int64_t)time(NULL);
    (void)state;
    certificates_folder_make(folder);
    certificate_make(in_folder("ca"), &(struct certificate_wish){.name = "Test CA", .is_ca = 1});
    certificate_make(in_folder("other-ca"), &(struct certificate_wish){.name = "Other CA", .is_ca = 1});
    certificate_make(in_folder("good"), &(struct certificate_wish){.name = NAME, .issuer = in_folder("ca")});
    certificate_make(in_folder("expired"), &(struct certificate_wish){.name = NAME, .issuer = in_folder("ca"), .from_s = now - 20000, .to_s = now - 10000});
    certificate_make(in_folder("foreign"), &(struct certificate_wish){.name = NAME, .issuer = in_folder("other-ca")});
    return 0;
}

static int remove_identities(void **state)
{
    (void)state;
    certificates_folder_remove(folder);
    return 0;
}

static struct buffer answer_of(const struct tls_context *server, struct slice nonce)
{
    struct buffer answer = BUFFER(CHALLENGE_ANSWER_MAX);
    assert_int_equal(challenge_answer(server, nonce, &answer), RESULT_OK);
    return answer;
}

/* ---- nonces ---- */

static void test_nonces(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_nonce;
    } rows[] = {
        {"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", true},
        {"___________________________________________", false}, /* stray bits */
        {"__________________________________________8", true},
        {"------------------------------------------A", true},
        {"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", false},
        {"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh", false},
        {"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdH+8", false},
        {"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd\nh8", false},
        {"", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (challenge_is_nonce(slice_from_cstr(rows[i].text)) != rows[i].is_nonce)
            fail_msg("row %zu", i);
}

static void test_made_nonces_are_fresh(void **state)
{
    (void)state;
    char one[CHALLENGE_NONCE_TEXT + 1], two[CHALLENGE_NONCE_TEXT + 1];
    for (int i = 0; i < 100; i++) {
        challenge_make_nonce(one);
        challenge_make_nonce(two);
        assert_true(challenge_is_nonce(slice_from_cstr(one)));
        assert_string_not_equal(one, two);
    }
}

/* ---- answers ---- */

static enum result check(struct tls_context *client, const char *name, struct slice nonce, const struct buffer *answer)
{
    enum result result = challenge_check(client, name, nonce, buffer_slice(answer));
    tls_context_unref(&client);
    return result;
}

static void test_genuine(void **state)
{
    (void)state;
    struct tls_context *server = server_of("good");
    struct buffer answer = answer_of(server, NONCE);
    assert_true(slice_starts_with(buffer_slice(&answer), SLICE("postern-challenge 1\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n")));
    assert_int_equal(check(client_with_pin_of(server), NULL, NONCE, &answer), RESULT_OK);
    assert_int_equal(check(client_with_ca(), NAME, NONCE, &answer), RESULT_OK);
    buffer_free(&answer);
    tls_context_unref(&server);
}

/* An answer made by OpenSSL from schema/link.md: the form is that, not merely what we write ourselves. */
static void test_answer_of_another_making(void **state)
{
    (void)state;
    static const char BODY[] =
        "postern-challenge 1\n"
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n"
        "MEUCIQDuWUl4ONCrC2XbcsLQ751HP9pIMaGDdshnHCOrJaHTZgIgXl8YcpE7xKxomrnja7THvMvAcsZgOyZQ9TmrsDlbjHk=\n"
        "-----BEGIN CERTIFICATE-----\n"
        "MIIBhDCCASugAwIBAgIUAMQTqL1HgTDL/e4y7StiHz/vD8gwCgYIKoZIzj0EAwIw\n"
        "GDEWMBQGA1UEAwwNcmVsYXkuZXhhbXBsZTAeFw0yNjExMjEyMzA5MDRaFw0zNjEx\n"
        "MTgyMzA5MDRaMBgxFjAUBgNVBAMMDXJlbGF5LmV4YW1wbGUwWTATBgcqhkjOPQIB\n"
        "BggqhkjOPQMBBwNCAAQiqdP/o0UmgVQK+peeoOUYSTxuufJ6KTVAUOsvwN09AJHY\n"
        "77GZ/HuEUDCkvjMXZNdVh1lM/ib/ZRy3r8nzDqiHo1MwUTAdBgNVHQ4EFgQUUMby\n"
        "fX3XT24NYkk5DQCjlLrMJ6owHwYDVR0jBBgwFoAUUMbyfX3XT24NYkk5DQCjlLrM\n"
        "J6owDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNHADBEAiAib5N2RD8ou17i\n"
        "y3Hl4Uvo2u2zsBosyN4dS+GvQnPiUgIgJm+id4ueHzl4370poHMXeEmAVozz/bdt\n"
        "rbNjmUOZcoQ=\n"
        "-----END CERTIFICATE-----\n";
    struct tls_client_config config = {.identity = TLS_IDENTITY_PINS, .npins = 1};
    assert_true(tls_pin_parse(SLICE("sha256//9yx/tWZmjDc3pkPAwIYXLeXzhHsCcJUXBEZH+/xggJo="), config.pins[0]));
    struct tls_context *client = client_of(&config);
    assert_int_equal(challenge_check(client, NAME, NONCE, slice_of(BODY, sizeof BODY - 1)), RESULT_OK);
    assert_int_equal(challenge_check(client, NAME, OTHER_NONCE, slice_of(BODY, sizeof BODY - 1)), RESULT_DENIED);
    tls_context_unref(&client);
}

/* A recorded answer has another nonce, whichever way its nonce is made to look. */
static void test_replayed(void **state)
{
    (void)state;
    struct tls_context *server = server_of("good");
    struct buffer answer = answer_of(server, OTHER_NONCE), edited = BUFFER(CHALLENGE_ANSWER_MAX);
    assert_int_equal(check(client_with_pin_of(server), NAME, NONCE, &answer), RESULT_DENIED);
    assert_int_equal(buffer_append(&edited, SLICE("postern-challenge 1\n")), RESULT_OK);
    assert_int_equal(buffer_append(&edited, NONCE), RESULT_OK);
    assert_int_equal(buffer_append(&edited, slice_skip(buffer_slice(&answer), 20 + CHALLENGE_NONCE_TEXT)), RESULT_OK);
    assert_int_equal(check(client_with_pin_of(server), NAME, NONCE, &edited), RESULT_DENIED);
    buffer_free(&answer);
    buffer_free(&edited);
    tls_context_unref(&server);
}

static void test_strangers(void **state)
{
    (void)state;
    struct tls_context *server = server_of("good"), *foreign = server_of("foreign"), *expired = server_of("expired");
    struct buffer answer = answer_of(foreign, NONCE), old = answer_of(expired, NONCE), good = answer_of(server, NONCE);
    assert_int_equal(check(client_with_pin_of(server), NAME, NONCE, &answer), RESULT_DENIED);
    assert_int_equal(check(client_with_ca(), NAME, NONCE, &answer), RESULT_DENIED);
    assert_int_equal(check(client_with_ca(), NAME, NONCE, &old), RESULT_DENIED);
    assert_int_equal(check(client_with_pin_of(expired), NAME, NONCE, &old), RESULT_OK); /* with pins dates do not matter */
    assert_int_equal(check(client_with_ca(), "other.example", NONCE, &good), RESULT_DENIED);
    assert_int_equal(check(client_with_ca(), NULL, NONCE, &good), RESULT_DENIED);
    assert_int_equal(check(client_of(&(struct tls_client_config){.identity = TLS_IDENTITY_ANY}), NAME, NONCE, &good), RESULT_DENIED);
    buffer_free(&answer);
    buffer_free(&old);
    buffer_free(&good);
    tls_context_unref(&server);
    tls_context_unref(&foreign);
    tls_context_unref(&expired);
}

/* The relay's certificate is public: with it, but signed by another key. */
static void test_right_chain_and_wrong_key(void **state)
{
    (void)state;
    struct tls_context *server = server_of("good"), *foreign = server_of("foreign");
    struct buffer answer = answer_of(foreign, NONCE), good = answer_of(server, NONCE), mixed = BUFFER(CHALLENGE_ANSWER_MAX);
    struct challenge_body theirs, ours;
    assert_true(challenge_body_parse(buffer_slice(&answer), &theirs) && challenge_body_parse(buffer_slice(&good), &ours));
    size_t before_chain = (size_t)(theirs.chain.ptr - buffer_slice(&answer).ptr);
    assert_int_equal(buffer_append(&mixed, slice_take(buffer_slice(&answer), before_chain)), RESULT_OK);
    assert_int_equal(buffer_append(&mixed, ours.chain), RESULT_OK);
    assert_int_equal(check(client_with_pin_of(server), NAME, NONCE, &mixed), RESULT_DENIED);
    assert_int_equal(check(client_with_ca(), NAME, NONCE, &mixed), RESULT_DENIED);
    assert_int_equal(buffer_append(&mixed, theirs.chain), RESULT_OK); /* both: the leaf is what comes first */
    assert_int_equal(check(client_with_pin_of(server), NAME, NONCE, &mixed), RESULT_DENIED);
    buffer_free(&answer);
    buffer_free(&good);
    buffer_free(&mixed);
    tls_context_unref(&server);
    tls_context_unref(&foreign);
}

/* Cut anywhere, or one octet changed anywhere before the certificate: not the answer. */
static void test_damaged(void **state)
{
    (void)state;
    struct tls_context *server = server_of("good"), *client = client_with_pin_of(server);
    struct buffer answer = answer_of(server, NONCE);
    struct slice body = buffer_slice(&answer);
    struct challenge_body parts;
    char copy[4096];
    assert_true(challenge_body_parse(body, &parts) && body.len < sizeof copy);
    for (size_t len = 0; len < body.len - 1; len++)
        assert_int_equal(challenge_check(client, NAME, NONCE, slice_take(body, len)), RESULT_DENIED);
    for (size_t at = 0; at < (size_t)(parts.chain.ptr - body.ptr); at++) {
        memcpy(copy, body.ptr, body.len);
        copy[at] ^= 1;
        if (challenge_check(client, NAME, NONCE, slice_of(copy, body.len)) != RESULT_DENIED)
            fail_msg("octet %zu changed", at);
    }
    buffer_free(&answer);
    tls_context_unref(&server);
    tls_context_unref(&client);
}

static void test_no_answer_without_a_nonce_or_room(void **state)
{
    (void)state;
    struct tls_context *server = server_of("good");
    struct buffer small = BUFFER(200);
    assert_int_equal(challenge_answer(server, SLICE("x"), &small), RESULT_SYNTAX);
    assert_int_equal(challenge_answer(server, NONCE, &small), RESULT_LIMIT);
    assert_int_equal(buffer_len(&small), 0);
    buffer_free(&small);
    tls_context_unref(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nonces),
        cmocka_unit_test(test_made_nonces_are_fresh),
        cmocka_unit_test(test_genuine),
        cmocka_unit_test(test_answer_of_another_making),
        cmocka_unit_test(test_replayed),
        cmocka_unit_test(test_strangers),
        cmocka_unit_test(test_right_chain_and_wrong_key),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_no_answer_without_a_nonce_or_room),
    };
    return cmocka_run_group_tests(tests, make_identities, remove_identities);
}
