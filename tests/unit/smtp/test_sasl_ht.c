/* HT-SHA-256-EXPR at both ends. The vectors are those of schema/link.md, computed with another implementation (Python's hmac). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "crypto/crypto.h"
#include "smtp/sasl.h"
#include "support/guard.h"

#define LEN(array) (sizeof(array) / sizeof *(array))
#define DEVICE "k3v9x2m8q4w7n5p1"
#define TOKEN "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f"
#define EXPORTED "\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\x90\x91\x92\x93\x94\x95\x96\x97\x98\x99\x9a\x9b\x9c\x9d\x9e\x9f"

static const struct vector {
    struct slice binding;
    const char *initiator; /* the whole message, in base64 */
    const char *responder;
} vectors[] = {
    {{EXPORTED, 32}, "azN2OXgybThxNHc3bjVwMQBBgHuOqzgyJHEotSg7xgqdBQ4Ig5ezv/RFn+RLuO5BFQ==", "kuz3UftPuYyUlpAdLDs6d2aQgdDLrLIpRe5e118F/UY="},
    {{"\x01\x02\x00\xff", 4}, "azN2OXgybThxNHc3bjVwMQAvyPsd5N/0w3RgxbNerLZSSHeybE9Oe+tpKKuQUFd+XA==", "GJaSGlBCQYgZc3PttGE5axs9bqvljqzRkvw08G3O0jo="},
};

static struct slice out_of_base64(const char *text, struct buffer *out)
{
    buffer_clear(out);
    assert_int_equal(crypto_base64_decode(slice_from_cstr(text), out), RESULT_OK);
    return buffer_slice(out);
}

static struct sasl_client *new_client(struct slice binding)
{
    /* The exporter is found wherever it stands. */
    const struct sasl_binding bindings[] = {{SLICE("tls-server-end-point"), SLICE("digest")}, {SLICE("tls-exporter"), binding}};
    struct sasl_client_config config = {.user = SLICE(DEVICE), .password = SLICE(TOKEN), .bindings = bindings, .nbindings = 2};
    struct sasl_client *client = sasl_client_new(SASL_HT_SHA_256_EXPR, SASL_HT_SHA_256_EXPR, &config);
    assert_non_null(client);
    return client;
}

static struct sasl_server *new_server(struct slice name, struct slice binding)
{
    const struct sasl_binding bindings[] = {{SLICE("tls-server-end-point"), SLICE("digest")}, {name, binding}};
    struct sasl_server *server = sasl_server_new(SASL_HT_SHA_256_EXPR, true, bindings, 2, (const uint8_t *)"abcdefghijklmnopqr");
    assert_non_null(server);
    return server;
}

/* ---- client ---- */

static void client_speaks_the_vectors(void **state)
{
    struct buffer response = BUFFER(SASL_MESSAGE_MAX), expected = BUFFER(SASL_MESSAGE_MAX);
    (void)state;
    for (size_t i = 0; i < LEN(vectors); i++) {
        struct sasl_client *client = new_client(vectors[i].binding);
        assert_true(sasl_client_has_initial(client));
        buffer_clear(&response);
        assert_int_equal(sasl_client_step(client, (struct slice){0}, &response), RESULT_OK);
        assert_true(slice_equal(buffer_slice(&response), out_of_base64(vectors[i].initiator, &expected)));
        assert_false(sasl_client_is_satisfied(client));
        buffer_clear(&response);
        struct slice proof = guard_dup(out_of_base64(vectors[i].responder, &expected));
        assert_int_equal(sasl_client_step(client, proof, &response), RESULT_OK);
        assert_int_equal(buffer_len(&response), 0);
        assert_true(sasl_client_is_satisfied(client));
        assert_int_equal(sasl_client_step(client, proof, &response), RESULT_DENIED);
        assert_false(sasl_client_is_satisfied(client));
        guard_free(&proof);
        sasl_client_free(&client);
    }
    buffer_free(&response);
    buffer_free(&expected);
}

/* Somebody who answers 235 without knowing the token, or from another channel, does not satisfy it, and has no second try. */
static void client_demands_the_proof(void **state)
{
    static const char *const rows[] = {
        "", "AA==", "GJaSGlBCQYgZc3PttGE5axs9bqvljqzRkvw08G3O0jo=", /* of the other channel */
        "QYB7jqs4MiRxKLUoO8YKnQUOCIOXs7/0RZ/kS7juQRU=",               /* its own proof, sent back */
        "kuz3UftPuYyUlpAdLDs6d2aQgdDLrLIpRe5e118F/Q==", "kuz3UftPuYyUlpAdLDs6d2aQgdDLrLIpRe5e118F/UYA",
    };
    struct buffer response = BUFFER(SASL_MESSAGE_MAX), octets = BUFFER(SASL_MESSAGE_MAX);
    (void)state;
    for (size_t i = 0; i < LEN(rows); i++) {
        struct sasl_client *client = new_client(vectors[0].binding);
        assert_int_equal(sasl_client_step(client, (struct slice){0}, &response), RESULT_OK);
        assert_int_equal(sasl_client_step(client, out_of_base64(rows[i], &octets), &response), RESULT_DENIED);
        assert_false(sasl_client_is_satisfied(client));
        assert_int_equal(sasl_client_step(client, out_of_base64(vectors[0].responder, &octets), &response), RESULT_DENIED);
        assert_false(sasl_client_is_satisfied(client));
        sasl_client_free(&client);
    }
    buffer_free(&response);
    buffer_free(&octets);
}

static void client_needs_token_and_exporter(void **state)
{
    static const struct sasl_binding end_point = {{"tls-server-end-point", 20}, {"digest", 6}}, empty = {{"tls-exporter", 12}, {"", 0}};
    static const struct sasl_binding exporter = {{"tls-exporter", 12}, {"12345678", 8}};
    struct sasl_client_config config = {.user = SLICE(DEVICE), .password = SLICE(TOKEN), .bindings = &exporter, .nbindings = 1};
    (void)state;
    struct sasl_client *client = sasl_client_new(SASL_HT_SHA_256_EXPR, 0, &config);
    assert_non_null(client);
    sasl_client_free(&client);
    config.password = SLICE("pencil");
    assert_null(sasl_client_new(SASL_HT_SHA_256_EXPR, 0, &config));
    config.password = SLICE(TOKEN);
    config.nbindings = 0;
    assert_null(sasl_client_new(SASL_HT_SHA_256_EXPR, 0, &config));
    config.nbindings = 1;
    config.bindings = &end_point;
    assert_null(sasl_client_new(SASL_HT_SHA_256_EXPR, 0, &config));
    config.bindings = &empty;
    assert_null(sasl_client_new(SASL_HT_SHA_256_EXPR, 0, &config));
}

static void never_chosen_for_a_password(void **state)
{
    (void)state;
    assert_int_equal(sasl_client_choose(SASL_HT_SHA_256_EXPR, true, true), 0);
    assert_int_equal(sasl_client_choose(SASL_HT_SHA_256_EXPR | SASL_PLAIN, true, true), SASL_PLAIN);
    assert_int_equal(sasl_client_choose(SASL_HT_SHA_256_EXPR | SASL_SCRAM_SHA_256_PLUS, true, true), SASL_SCRAM_SHA_256_PLUS);
}

static void client_survives_a_full_buffer(void **state)
{
    struct sasl_client *client = new_client(vectors[0].binding);
    struct buffer small = BUFFER(sizeof DEVICE + 31), response = BUFFER(sizeof DEVICE + 32);
    (void)state;
    assert_int_equal(sasl_client_step(client, (struct slice){0}, &small), RESULT_LIMIT);
    assert_int_equal(buffer_len(&small), 0);
    assert_int_equal(sasl_client_step(client, (struct slice){0}, &response), RESULT_OK);
    assert_int_equal(buffer_len(&response), sizeof DEVICE + 32);
    buffer_free(&small);
    buffer_free(&response);
    sasl_client_free(&client);
}

/* ---- server ---- */

static void server_speaks_the_vectors(void **state)
{
    struct buffer message = BUFFER(SASL_MESSAGE_MAX);
    struct sasl_server_step step;
    (void)state;
    for (size_t i = 0; i < 2 * LEN(vectors); i++) {
        const struct vector *v = &vectors[i / 2];
        bool has_initial = i % 2;
        struct sasl_server *server = new_server(SLICE("tls-exporter"), v->binding);
        struct slice text = guard_dup(out_of_base64(v->initiator, &message));
        sasl_server_start(server, has_initial, has_initial ? text : (struct slice){0}, &step);
        if (!has_initial) {
            assert_int_equal(step.need, SASL_NEED_RESPONSE);
            assert_int_equal(step.challenge.len, 0);
            sasl_server_response(server, text, &step);
        }
        guard_free(&text);
        assert_int_equal(step.need, SASL_NEED_TOKEN);
        assert_true(slice_equal(step.user, SLICE(DEVICE)));
        sasl_server_token_found(server, (const uint8_t *)TOKEN, true, &step);
        assert_int_equal(step.need, SASL_SUCCEEDED);
        assert_true(step.goes_with_success);
        assert_true(slice_equal(step.challenge, slice_from_cstr(v->responder)));
        sasl_server_free(&server);
    }
    buffer_free(&message);
}

static void server_refuses(struct sasl_server *server, struct slice message, enum sasl_server_need need)
{
    struct sasl_server_step step;
    struct slice text = guard_dup(message);
    sasl_server_start(server, true, text, &step);
    guard_free(&text);
    assert_int_equal(step.need, need);
    assert_int_equal(step.challenge.len, 0);
    sasl_server_response(server, SLICE("x"), &step);
    assert_int_equal(step.need, need);
    sasl_server_free(&server);
}

static void server_judges_messages(void **state)
{
    static const struct {
        struct slice message;
        enum sasl_server_need need;
    } rows[] = {
        {{"", 0}, SASL_MALFORMED},
        {{DEVICE, 16}, SASL_MALFORMED},
        {{DEVICE "\0", 17}, SASL_MALFORMED},
        {{"\0" TOKEN, 33}, SASL_MALFORMED},
        {{DEVICE "\0" TOKEN, 17 + 31}, SASL_MALFORMED},
        {{DEVICE "\0" TOKEN "x", 17 + 33}, SASL_MALFORMED},
        {{"a\nb\0" TOKEN, 4 + 32}, SASL_FAILED},
        {{"\xff\0" TOKEN, 2 + 32}, SASL_FAILED},
    };
    (void)state;
    for (size_t i = 0; i < LEN(rows); i++)
        server_refuses(new_server(SLICE("tls-exporter"), vectors[0].binding), rows[i].message, rows[i].need);
}

static void server_needs_the_exporter(void **state)
{
    (void)state;
    server_refuses(new_server(SLICE("tls-unique"), vectors[0].binding), SLICE(DEVICE "\0" TOKEN), SASL_FAILED);
    server_refuses(new_server(SLICE("tls-exporter"), (struct slice){"", 0}), SLICE(DEVICE "\0" TOKEN), SASL_FAILED);
}

static void fails(const char *message, struct slice binding, const uint8_t *token, bool is_known)
{
    struct buffer octets = BUFFER(SASL_MESSAGE_MAX);
    struct sasl_server *server = new_server(SLICE("tls-exporter"), binding);
    struct sasl_server_step step;
    sasl_server_start(server, true, out_of_base64(message, &octets), &step);
    assert_int_equal(step.need, SASL_NEED_TOKEN);
    sasl_server_token_found(server, token, is_known, &step);
    assert_int_equal(step.need, SASL_FAILED);
    assert_int_equal(step.challenge.len, 0);
    assert_false(step.goes_with_success);
    sasl_server_free(&server);
    buffer_free(&octets);
}

/* Wrong in one bit, meant for another channel, or right for a device that is not there: all the same. */
static void server_refuses_wrong_proofs(void **state)
{
    uint8_t other[SASL_TOKEN];
    (void)state;
    memcpy(other, TOKEN, sizeof other);
    other[31] ^= 1;
    fails(vectors[0].initiator, vectors[0].binding, other, true);
    fails(vectors[0].initiator, vectors[1].binding, (const uint8_t *)TOKEN, true);
    fails(vectors[0].initiator, vectors[0].binding, (const uint8_t *)TOKEN, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(client_speaks_the_vectors),
        cmocka_unit_test(client_demands_the_proof),
        cmocka_unit_test(client_needs_token_and_exporter),
        cmocka_unit_test(never_chosen_for_a_password),
        cmocka_unit_test(client_survives_a_full_buffer),
        cmocka_unit_test(server_speaks_the_vectors),
        cmocka_unit_test(server_judges_messages),
        cmocka_unit_test(server_needs_the_exporter),
        cmocka_unit_test(server_refuses_wrong_proofs),
    };
    if (crypto_init() != RESULT_OK)
        return 1;
    return cmocka_run_group_tests_name("smtp/sasl_ht", tests, NULL, NULL);
}
