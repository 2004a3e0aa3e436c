/* Every allocation of both ends of SASL fails once. The locked memory of secrets is libsodium's and out of reach here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "crypto/crypto.h"
#include "smtp/sasl.h"
#include "support/oom.h"

enum { ALLOCATIONS_MAX = 1000 };

static const struct sasl_binding binding = {{"tls-exporter", 12}, {"12345678", 8}};
static const uint8_t nonce[18] = "abcdefghijklmnopq";
static const uint8_t token[SASL_TOKEN] = "0123456789abcdef0123456789abcde";

struct meeting {
    enum sasl_mechanism mechanism;
    struct scram_verifier verifier;
};

/* A client whose buffer could not grow is where it was: it may try again. */
static bool says(struct sasl_client *client, struct slice challenge, struct buffer *out)
{
    buffer_free(out);
    enum result result = sasl_client_step(client, challenge, out);
    assert_true(result == RESULT_OK || (result == RESULT_MEMORY && oom_has_failed()));
    if (result == RESULT_MEMORY)
        result = sasl_client_step(client, challenge, out);
    assert_true(result == RESULT_OK || result == RESULT_MEMORY);
    return result == RESULT_OK;
}

static bool talk(const struct meeting *meeting, struct sasl_client *client, struct sasl_server *server, struct buffer *out)
{
    struct sasl_server_step step;
    uint8_t proof[SCRAM_KEY];
    size_t len;
    if (!says(client, (struct slice){0}, out))
        return false;
    sasl_server_start(server, true, buffer_slice(out), &step);
    if (step.need == SASL_NEED_PASSWORD) {
        sasl_server_password_checked(server, true, &step);
        return step.need == SASL_SUCCEEDED;
    }
    if (step.need == SASL_NEED_TOKEN) {
        sasl_server_token_found(server, token, true, &step);
        assert_int_equal(step.need, SASL_SUCCEEDED);
        assert_true(crypto_base64_decode_to(step.challenge, proof, sizeof proof, &len));
        return says(client, slice_of(proof, len), out) && sasl_client_is_satisfied(client);
    }
    assert_int_equal(step.need, SASL_NEED_VERIFIER);
    sasl_server_verifier_found(server, &meeting->verifier, true, &step);
    if (!says(client, step.challenge, out))
        return false;
    sasl_server_response(server, buffer_slice(out), &step);
    assert_int_equal(step.need, SASL_SUCCEEDED);
    return says(client, step.challenge, out) && sasl_client_is_satisfied(client);
}

static void meet(void *context)
{
    const struct meeting *meeting = context;
    struct sasl_client_config config = {.user = SLICE("user"), .password = SLICE("pencil"), .bindings = &binding, .nbindings = 1};
    if (meeting->mechanism == SASL_HT_SHA_256_EXPR)
        config.password = slice_of(token, sizeof token);
    struct sasl_client *client = sasl_client_new(meeting->mechanism, SASL_SCRAM_SHA_256_PLUS, &config);
    struct sasl_server *server = sasl_server_new(meeting->mechanism, true, &binding, 1, nonce);
    struct buffer out = BUFFER(SASL_MESSAGE_MAX);
    bool has_succeeded = client && server && talk(meeting, client, server, &out);
    assert_true(has_succeeded || oom_has_failed());
    buffer_free(&out);
    sasl_client_free(&client);
    sasl_server_free(&server);
}

static void both_ends_run_out(void **state)
{
    static const enum sasl_mechanism mechanisms[] = {SASL_PLAIN, SASL_SCRAM_SHA_256, SASL_SCRAM_SHA_256_PLUS, SASL_HT_SHA_256_EXPR};
    struct meeting meeting;
    (void)state;
    assert_int_equal(scram_verifier_make(SLICE("pencil"), nonce, sizeof nonce, SCRAM_ITERATIONS, &meeting.verifier), RESULT_OK);
    for (size_t i = 0; i < sizeof mechanisms / sizeof *mechanisms; i++) {
        meeting.mechanism = mechanisms[i];
        assert_true(oom_loop(ALLOCATIONS_MAX, meet, &meeting) >= 3);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(both_ends_run_out)};
    if (crypto_init() != RESULT_OK)
        return 1;
    return cmocka_run_group_tests_name("oom/sasl", tests, NULL, NULL);
}
