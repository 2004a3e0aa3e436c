/* Commands without a running relay: the same handlers, on a store that the command opens. */
#include "admin.h"
#include "command.h"

#include "schema.h"

#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

enum { LOCAL_PATIENCE_MS = 2000 }; /* for another command to be done with the database */

struct local {
    void (*on_line)(void *, const json_t *);
    void *line_context;
    bool is_over;
};

static void local_on_line(void *context, const json_t *line)
{
    struct local *local = context;
    local->on_line(local->line_context, line);
    if (json_object_get(line, "result") || json_object_get(line, "error"))
        local->is_over = true;
}

static void local_on_closed(void *context)
{
    (void)context;
}

int command_load_conf(const struct command_context *context, struct conf **out)
{
    struct config_error error = {0};
    enum result result = conf_load(out, &context->dirs, &error);
    if (result == RESULT_OK)
        return EX_OK;
    if (result == RESULT_MEMORY)
        return console_fail(&context->console, EX_OSERR, "out of memory");
    return console_fail(&context->console, EX_CONFIG, "%s", error.text);
}

int command_load_pin(const struct command_context *context, const struct conf *conf, char out[static TLS_PIN_TEXT])
{
    const struct tls_server_config config = {.certificate_file = conf->values.certificate.ptr, .key_file = conf->values.key.ptr};
    struct tls_context *tls;
    uint8_t pin[TLS_PIN];
    char why[400] = "";
    if (tls_context_server(&tls, &config, why, sizeof why) != RESULT_OK)
        return console_fail(&context->console, EX_CONFIG, "%s", why);
    tls_context_pin(tls, pin);
    tls_pin_format(pin, out);
    tls_context_unref(&tls);
    return EX_OK;
}

int command_refuse_without_database(const struct command_context *context, int code)
{
    const struct dirs *dirs = &context->dirs;
    if (access(dirs->config_file, F_OK) != 0)
        return console_fail(&context->console, code, "there is no relay in %s; make one with: %s", dirs->data_folder, DIRS_HINT(dirs, COMMAND_PROGRAM " init --name HOST"));
    return console_fail(&context->console, code,
                        "%s is not there; put it back from a backup, or make an empty one, which keeps %s and the key, with: %s. Then make the accounts again, with the same names and passwords",
                        dirs->database, dirs->config_file, DIRS_HINT(dirs, COMMAND_PROGRAM " init"));
}

static int local_open_store(const struct command_context *context, struct store **out)
{
    const struct store_config config = {.path = context->dirs.database, .schema = schema_relay, .wait_ms = LOCAL_PATIENCE_MS};
    char why[400] = "";
    if (access(context->dirs.database, F_OK) != 0)
        return command_refuse_without_database(context, EX_NOINPUT);
    enum result result = store_open(out, &config, why, sizeof why);
    if (result == RESULT_BUSY)
        return console_fail(&context->console, console_exit_code(result), "the relay is just starting or stopping; try again in a moment (%s)", why);
    return result == RESULT_OK ? EX_OK : console_fail(&context->console, console_exit_code(result), "%s", why);
}

static int local_call(const struct command_context *context, struct conf *conf, struct store *store, const char *command, const json_t *arguments,
                      struct local *local)
{
    struct admin admin = {.conf = conf};
    uv_loop_t loop;
    int code = EX_OK;
    if (uv_loop_init(&loop) != 0)
        return console_fail(&context->console, EX_OSERR, "out of memory");
    if (store_client_open(&admin.store, store, &loop) == RESULT_OK) {
        control_call_local(admin_handle, &admin, command, arguments, local_on_line, local);
        uv_run(&loop, UV_RUN_DEFAULT);
        store_client_close(admin.store, local_on_closed, NULL);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    if (!local->is_over)
        code = console_fail(&context->console, EX_OSERR, "out of memory");
    return code;
}

int command_local(void *command_context, const char *command, const json_t *arguments, void (*on_line)(void *, const json_t *), void *line_context)
{
    const struct command_context *context = command_context;
    struct local local = {on_line, line_context, false};
    struct conf *conf = NULL;
    struct store *store = NULL;
    int code = command_load_conf(context, &conf);
    if (code == EX_OK)
        code = local_open_store(context, &store);
    if (code == EX_OK)
        code = local_call(context, conf, store, command, arguments, &local);
    if (store)
        store_close(&store);
    conf_unref(&conf);
    return code;
}
