/* Responses of a hostile client, one a line ("\n" can't be part of any valid one). It knows neither password nor token, so nothing may succeed. */
#include "crypto/crypto.h"
#include "smtp/sasl.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void answer(struct sasl_server *server, struct sasl_server_step *step)
{
    static const struct scram_verifier verifier = {.salt = "0123456789abcdef", .salt_len = 16, .iterations = 4096, .stored_key = "x"};
    if (step->need == SASL_NEED_PASSWORD) {
        assert(sasl_text_is_valid(step->user, SASL_NAME_MAX) && sasl_text_is_valid(step->password, SASL_PASSWORD_MAX));
        sasl_server_password_checked(server, false, step);
    } else if (step->need == SASL_NEED_VERIFIER) {
        assert(sasl_text_is_valid(step->user, SASL_NAME_MAX));
        sasl_server_verifier_found(server, &verifier, true, step);
        assert(step->need == SASL_NEED_RESPONSE);
    } else if (step->need == SASL_NEED_TOKEN) {
        assert(sasl_text_is_valid(step->user, SASL_NAME_MAX));
        sasl_server_token_found(server, (const uint8_t *)"0123456789abcdef0123456789abcdef", true, step);
    }
    assert(step->need != SASL_SUCCEEDED && step->challenge.len <= SASL_MESSAGE_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct sasl_binding binding = {{"tls-exporter", 12}, {"12345678", 8}};
    if (size == 0 || crypto_init() != RESULT_OK)
        return 0;
    enum sasl_mechanism mechanism = data[0] & 16 ? SASL_HT_SHA_256_EXPR : 1U << (data[0] & 3);
    struct sasl_server *server = sasl_server_new(mechanism, data[0] & 4, &binding, 1, (const uint8_t *)"abcdefghijklmnopqr");
    struct slice line, rest = slice_of(data + 1, size - 1);
    struct sasl_server_step step;
    assert(server);
    bool has_initial = data[0] & 8;
    if (has_initial)
        slice_cut(rest, '\n', &line, &rest);
    sasl_server_start(server, has_initial, has_initial ? line : (struct slice){0}, &step);
    answer(server, &step);
    while (rest.len > 0) {
        enum sasl_server_need before = step.need;
        slice_cut(rest, '\n', &line, &rest);
        sasl_server_response(server, line, &step);
        answer(server, &step);
        assert((before != SASL_FAILED && before != SASL_MALFORMED) || step.need == before);
    }
    sasl_server_free(&server);
    return 0;
}
