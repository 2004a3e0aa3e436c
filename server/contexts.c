#include "contexts.h"

#include "config/private.h"

#include <stdio.h>

/* Who can write to its folder can put another key there. */
static enum result check_folder(const char *key, char *why, size_t why_size)
{
    struct private_error error;
    enum result result = private_check_folder_of(key, &error);
    if (result != RESULT_OK)
        snprintf(why, why_size, "%s", error.text);
    return result;
}

enum result contexts_open(struct contexts *out, const struct conf *conf, const struct log *log, char *why, size_t why_size)
{
    const struct conf_values *values = &conf->values;
    struct tls_server_config server = {.certificate_file = values->certificate.ptr, .key_file = values->key.ptr, .alpn_also = "http/1.1", .log = log};
    struct tls_client_config client = {.identity = TLS_IDENTITY_ANY, .log = log};
    bool is_verified = values->smarthost.host.len > 0 && values->smarthost.scheme != SMARTHOST_OPPORTUNISTIC;
    *out = (struct contexts){0};
    enum result result = check_folder(values->key.ptr, why, why_size);
    if (result == RESULT_OK)
        result = tls_context_server(&out->server, &server, why, why_size);
    if (result == RESULT_OK)
        result = tls_context_client(&out->any, &client, why, why_size);
    client.identity = TLS_IDENTITY_CA;
    client.ca_file = values->smarthost_ca.len > 0 ? values->smarthost_ca.ptr : NULL;
    if (result == RESULT_OK && is_verified)
        result = tls_context_client(&out->verified, &client, why, why_size);
    if (result != RESULT_OK)
        contexts_close(out);
    return result;
}

void contexts_close(struct contexts *contexts)
{
    tls_context_unref(&contexts->server);
    tls_context_unref(&contexts->any);
    tls_context_unref(&contexts->verified);
}
