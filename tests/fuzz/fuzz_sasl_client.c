/* Challenges of a hostile server, one a line. It does not know the password or the token, so SCRAM and HT must never be satisfied. */
#include "crypto/crypto.h"
#include "smtp/sasl.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Many iterations are legal, and slow. */
static bool is_slow(struct slice s)
{
    for (size_t i = 0; i + 6 < s.len; i++)
        if (s.ptr[i] == 'i' && s.ptr[i + 1] == '=' && s.ptr[i + 6] >= '0' && s.ptr[i + 6] <= '9')
            return true;
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct sasl_binding binding = {{"tls-exporter", 12}, {"12345678", 8}};
    if (size == 0 || crypto_init() != RESULT_OK || is_slow(slice_of(data, size)))
        return 0;
    enum sasl_mechanism mechanism = data[0] & 128 ? SASL_HT_SHA_256_EXPR : 1U << (data[0] & 3);
    struct sasl_client_config config = {.user = SLICE("user"), .password = SLICE("pencil"), .bindings = &binding, .nbindings = 1};
    if (mechanism == SASL_HT_SHA_256_EXPR)
        config.password = SLICE("0123456789abcdef0123456789abcdef");
    struct sasl_client *client = sasl_client_new(mechanism, data[0] >> 2, &config);
    struct slice line, rest = slice_of(data + 1, size - 1);
    struct buffer response = BUFFER(SASL_MESSAGE_MAX);
    assert(client);
    while (rest.len > 0) {
        slice_cut(rest, '\n', &line, &rest);
        buffer_clear(&response);
        enum result result = sasl_client_step(client, line, &response);
        assert(result == RESULT_OK || result == RESULT_DENIED);
        assert(result == RESULT_OK || buffer_len(&response) == 0);
        assert(!sasl_client_is_satisfied(client) || mechanism == SASL_PLAIN || mechanism == SASL_LOGIN);
    }
    buffer_free(&response);
    sasl_client_free(&client);
    return 0;
}
