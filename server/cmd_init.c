#include "command.h"

#include "schema.h"

#include "config/private.h"
#include "config/template.h"
#include "store/store.h"

#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

struct init {
    const struct command_context *context;
    char key[4096], certificate[4096];
};

static int init_refuse_existing(const struct init *init, const char *path)
{
    if (access(path, F_OK) != 0)
        return EX_OK;
    return console_fail(&init->context->console, EX_CANTCREAT,
                        "%s exists; init makes a new relay and overwrites nothing. To begin anew, move it away", path);
}

static int init_folder(const struct init *init, const char *path)
{
    struct private_error error;
    if (private_make_folder(path, &error) == RESULT_OK)
        return EX_OK;
    return console_fail(&init->context->console, EX_CANTCREAT, "%s", error.text);
}

/* ---- the configuration ------------------------------------------------------------------------------------------ */

/* The annotated reference, with name and smarthost filled in. */
static enum result write_reference(const struct command_line *line, struct buffer *out)
{
    const struct config_fill fills[] = {{"relay", "name", slice_from_cstr(line->name)}, {"delivery", "smarthost", slice_from_cstr(line->smarthost)}};
    return config_template_fill(slice_from_cstr(schema_config_relay), fills, line->smarthost ? 2 : 1, out);
}

/* What was given on the command line is judged as the file would be. */
static int init_check(const struct init *init, struct slice text)
{
    const struct command_context *context = init->context;
    struct config_error error = {0};
    struct conf *conf = NULL;
    enum result result = conf_load_text(&conf, &context->dirs, context->dirs.config_file, text, &error);
    conf_unref(&conf);
    return result == RESULT_OK ? EX_OK : console_fail(&context->console, EX_USAGE, "%s", error.text);
}

static int init_conf(const struct init *init)
{
    const struct command_context *context = init->context;
    struct buffer text = {0};
    struct private_error error;
    int code = EX_OK;
    enum result result = write_reference(&context->line, &text);
    if (result == RESULT_SYNTAX)
        code = console_fail(&context->console, EX_USAGE, "the smarthost holds a control character");
    else if (result != RESULT_OK)
        code = console_fail(&context->console, EX_OSERR, "out of memory");
    if (code == EX_OK)
        code = init_check(init, buffer_slice(&text));
    if (code == EX_OK && private_write(context->dirs.config_file, buffer_slice(&text), &error) != RESULT_OK)
        code = console_fail(&context->console, EX_CANTCREAT, "%s", error.text);
    buffer_wipe_free(&text);
    return code;
}

/* ---- key and database ------------------------------------------------------------------------------------------- */

static int init_identity(const struct init *init)
{
    char why[400] = "";
    if (tls_make_identity(init->key, init->certificate, init->context->line.name, why, sizeof why) == RESULT_OK)
        return EX_OK;
    return console_fail(&init->context->console, EX_CANTCREAT, "%s", why);
}

static int init_database(const struct init *init)
{
    const struct store_config config = {.path = init->context->dirs.database, .schema = schema_relay};
    struct store *store;
    char why[400] = "";
    if (store_open(&store, &config, why, sizeof why) != RESULT_OK)
        return console_fail(&init->context->console, EX_CANTCREAT, "%s", why);
    store_close(&store);
    return EX_OK;
}

/* Made by root in a folder of the service's user, everything is to be that user's. */
static int init_hand_over(const struct init *init)
{
    const struct dirs *dirs = &init->context->dirs;
    char lock[4096], reserve[4096];
    struct stat folder;
    snprintf(lock, sizeof lock, "%s.lock", dirs->database);
    snprintf(reserve, sizeof reserve, "%s.reserve", dirs->database);
    const char *const paths[] = {dirs->config_file, dirs->keys, init->key, init->certificate, dirs->database, lock, reserve};
    if (geteuid() != 0 || stat(dirs->data_folder, &folder) != 0 || folder.st_uid == 0)
        return EX_OK;
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        if (access(paths[i], F_OK) == 0 && lchown(paths[i], folder.st_uid, folder.st_gid) != 0)
            return console_fail(&init->context->console, EX_NOPERM, "cannot give %s to the owner of %s", paths[i], dirs->data_folder);
    }
    return EX_OK;
}

/* ---- the command ------------------------------------------------------------------------------------------------ */

static int init_say(const struct init *init)
{
    const struct command_context *context = init->context;
    const struct dirs *dirs = &context->dirs;
    const char *longest = DIRS_HINT(dirs, COMMAND_PROGRAM " account add NAME --send-as ADDRESS");
    char pin[TLS_PIN_TEXT];
    struct conf *conf = NULL;
    int width = (int)strlen(longest), code = command_load_conf(context, &conf);
    if (code == EX_OK)
        code = command_load_pin(context, conf, pin);
    conf_unref(&conf);
    if (code != EX_OK)
        return code;
    fprintf(stdout, "Made %s, a key with its certificate, and a database.\n\n"
           "The key pin, by which clients know this relay:\n  %s\n\n"
           "What comes next:\n"
           "  %s    make an account\n"
           "  %-*s    see which records to publish\n"
           "  %-*s    start it, or: systemctl enable --now " COMMAND_PROGRAM "\n"
           "  %-*s    see whether everything is in order\n",
           dirs->config_file, pin, longest, width, DIRS_HINT(dirs, COMMAND_PROGRAM " dns"), width, DIRS_HINT(dirs, COMMAND_PROGRAM " run"), width,
           DIRS_HINT(dirs, COMMAND_PROGRAM " check"));
    return fflush(stdout) == 0 ? EX_OK : EX_IOERR;
}

static int init_prepare(struct init *init)
{
    const struct command_context *context = init->context;
    const struct dirs *dirs = &context->dirs;
    const char *name = context->line.name;
    if (!name)
        return console_fail(&context->console, EX_USAGE, "what is the relay's host name? Give --name HOST");
    if (!conf_is_host_name(slice_from_cstr(name)))
        return console_fail(&context->console, EX_USAGE, "\"%s\" is not a full host name such as relay.example.org", name);
    snprintf(init->key, sizeof init->key, "%s/relay.key", dirs->keys);
    snprintf(init->certificate, sizeof init->certificate, "%s/relay.crt", dirs->keys);
    int code = init_refuse_existing(init, dirs->config_file);
    if (code == EX_OK)
        code = init_refuse_existing(init, init->key);
    if (code == EX_OK)
        code = init_refuse_existing(init, init->certificate);
    return code == EX_OK ? init_refuse_existing(init, dirs->database) : code;
}

int cmd_init(struct command_context *context)
{
    struct init init = {.context = context};
    const struct dirs *dirs = &context->dirs;
    int code = init_prepare(&init);
    if (code == EX_OK)
        code = init_folder(&init, dirs->config_folder);
    if (code == EX_OK)
        code = init_folder(&init, dirs->data_folder);
    if (code == EX_OK)
        code = init_folder(&init, dirs->keys);
    if (code == EX_OK)
        code = init_conf(&init);
    if (code == EX_OK)
        code = init_identity(&init);
    if (code == EX_OK)
        code = init_database(&init);
    if (code == EX_OK)
        code = init_hand_over(&init);
    return code == EX_OK ? init_say(&init) : code;
}
