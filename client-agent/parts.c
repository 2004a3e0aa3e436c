/* Parts of the agent's start that its commands need too. */
#include "agent.h"

#include "schema.h"

#include "config/private.h"
#include "crypto/crypto.h"
#include "mta/console.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum { TOKEN_RANDOM = 16 };

int agent_fail(int exit_code, const char *format, ...)
{
    va_list args;
    fprintf(stderr, "%s: ", AGENT_PROGRAM);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return exit_code;
}

void agent_find_program(struct agent *agent)
{
    size_t size = sizeof agent->program;
    if (uv_exepath(agent->program, &size) != 0)
        agent->program[0] = '\0';
}

int agent_load_settings(const struct dirs *dirs, struct settings **out)
{
    struct config_error error;
    enum result result = settings_load(out, dirs, &error);
    if (result == RESULT_OK)
        return EX_OK;
    if (result == RESULT_MEMORY)
        return agent_fail(EX_OSERR, "out of memory");
    return agent_fail(EX_CONFIG, "%s", error.text);
}

static void trim_line_end(struct buffer *secret)
{
    struct slice s = buffer_slice(secret);
    while (s.len > 0 && (s.ptr[s.len - 1] == '\n' || s.ptr[s.len - 1] == '\r'))
        s.len--;
    buffer_truncate(secret, s.len);
}

int agent_read_secret(const char *path, struct buffer *out)
{
    struct private_error error;
    *out = BUFFER(SASL_PASSWORD_MAX);
    enum result result = private_read(path, out, &error);
    if (result == RESULT_OK) {
        trim_line_end(out);
        return EX_OK;
    }
    buffer_wipe_free(out);
    return agent_fail(result == RESULT_NOT_FOUND || result == RESULT_DENIED ? EX_CONFIG : EX_OSERR, "%s", error.text);
}

int agent_read_token(const struct dirs *dirs, bool may_make, struct buffer *out)
{
    char path[4096], token[RECEPTION_TOKEN];
    uint8_t random[TOKEN_RANDOM];
    struct private_error error;
    snprintf(path, sizeof path, "%s/sendmail.token", dirs->keys);
    if (access(path, F_OK) == 0 || !may_make)
        return agent_read_secret(path, out);
    crypto_random(random, sizeof random);
    crypto_hex(slice_of(random, sizeof random), token, sizeof token);
    *out = BUFFER(SASL_PASSWORD_MAX);
    if (private_write(path, slice_from_cstr(token), &error) != RESULT_OK)
        return agent_fail(EX_CANTCREAT, "%s", error.text);
    return buffer_append_cstr(out, token) == RESULT_OK ? EX_OK : agent_fail(EX_OSERR, "out of memory");
}

int agent_make_tls(const struct settings *settings, const struct log *log, struct tls_context **out)
{
    const struct settings_values *values = &settings->values;
    struct tls_client_config config = {.identity = values->pin.count > 0 ? TLS_IDENTITY_PINS : TLS_IDENTITY_CA, .npins = values->pin.count, .log = log};
    char why[200];
    memcpy(config.pins, values->pin.items ? values->pin.items : config.pins, values->pin.count * TLS_PIN);
    if (values->ca_file.len > 0)
        config.ca_file = values->ca_file.ptr;
    enum result result = tls_context_client(out, &config, why, sizeof why);
    return result == RESULT_OK ? EX_OK : agent_fail(EX_CONFIG, "%s", why);
}

enum result agent_try_store(const struct dirs *dirs, const struct settings *settings, const struct log *log, uint32_t wait_ms, struct store **out, struct spool_key *key,
                            char *why, size_t why_size)
{
    struct private_error error;
    struct store_seal seal;
    spool_key_prepare(key, dirs, &settings->values, &seal);
    enum result result = private_make_folder(dirs->data_folder, &error);
    if (result != RESULT_OK) {
        snprintf(why, why_size, "%s", error.text);
        return result;
    }
    const struct store_config config = {
        .path = dirs->database,
        .schema = schema_agent,
        .log = log,
        .cache_kib = 512,
        .max_octets = (uint64_t)settings->values.database_size,
        .wait_ms = wait_ms,
        .seal = &seal,
    };
    return store_open(out, &config, why, why_size);
}

int agent_store_exit_code(enum result result)
{
    return result == RESULT_CANCELLED ? EX_TEMPFAIL : console_exit_code(result);
}

int agent_open_store(const struct dirs *dirs, const struct settings *settings, const struct log *log, struct store **out, struct spool_key *key)
{
    char why[1200];
    enum result result = agent_try_store(dirs, settings, log, AGENT_STORE_PATIENCE_MS, out, key, why, sizeof why);
    return result == RESULT_OK ? EX_OK : agent_fail(agent_store_exit_code(result), "%s", why);
}
