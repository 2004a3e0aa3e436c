#include "command.h"

#include "schema.h"

#include "config/private.h"
#include "config/template.h"
#include "store/store.h"

#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

/* What is there stays as it is; what is missing is made. */
struct init {
    const struct command_context *context;
    const char *name;
    char conf_name[256], key[4096], certificate[4096];
    bool makes_conf, makes_identity, makes_database;
};

static bool is_missing(const char *path)
{
    return access(path, F_OK) != 0;
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
    if (tls_make_identity(init->key, init->certificate, init->name, why, sizeof why) == RESULT_OK)
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
    const struct {
        const char *path;
        bool is_ours;
    } made[] = {{dirs->config_file, init->makes_conf}, {dirs->keys, true}, {init->key, init->makes_identity}, {init->certificate, init->makes_identity},
                {dirs->database, true}, {lock, true}, {reserve, true}};
    if (geteuid() != 0 || stat(dirs->data_folder, &folder) != 0 || folder.st_uid == 0)
        return EX_OK;
    for (size_t i = 0; i < sizeof made / sizeof made[0]; i++) {
        if (made[i].is_ours && !is_missing(made[i].path) && lchown(made[i].path, folder.st_uid, folder.st_gid) != 0)
            return console_fail(&init->context->console, EX_NOPERM, "cannot give %s to the owner of %s", made[i].path, dirs->data_folder);
    }
    return EX_OK;
}

/* ---- what is said ----------------------------------------------------------------------------------------------- */

static void say_pieces(const struct init *init, const char *verb, bool which)
{
    const struct dirs *dirs = &init->context->dirs;
    const char *const pieces[] = {init->makes_conf == which ? dirs->config_file : NULL, init->makes_identity == which ? init->key : NULL,
                                  init->makes_identity == which ? init->certificate : NULL, init->makes_database == which ? dirs->database : NULL};
    const char *before = verb;
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        if (pieces[i]) {
            fprintf(stdout, "%s %s", before, pieces[i]);
            before = ",";
        }
    }
    if (before != verb)
        fputs(".\n", stdout);
}

/* Of a relay that was there before. */
static void say_what_changes(const struct init *init)
{
    if (init->makes_identity)
        fputs("\nThe key is new: every agent that knew this relay before needs the new pin.\n", stdout);
    if (init->makes_database)
        fputs("\nThe database is empty. If it takes the place of one that was lost, make the accounts again, with the same names and\n"
              "passwords: the agents then log in as before, and by themselves hand over again what they do not know to be delivered.\n", stdout);
}

static void say_next(const struct init *init)
{
    const struct dirs *dirs = &init->context->dirs;
    const char *longest = DIRS_HINT(dirs, COMMAND_PROGRAM " account add NAME --send-as ADDRESS");
    int width = (int)strlen(longest);
    fprintf(stdout, "\nWhat comes next:\n"
           "  %s    make an account\n"
           "  %-*s    see which records to publish\n"
           "  %-*s    start it, or: systemctl enable --now " COMMAND_PROGRAM "\n"
           "  %-*s    see whether everything is in order\n",
           longest, width, DIRS_HINT(dirs, COMMAND_PROGRAM " dns"), width, DIRS_HINT(dirs, COMMAND_PROGRAM " run"), width,
           DIRS_HINT(dirs, COMMAND_PROGRAM " check"));
}

static int init_say(const struct init *init)
{
    char pin[TLS_PIN_TEXT];
    struct conf *conf = NULL;
    int code = command_load_conf(init->context, &conf);
    if (code == EX_OK)
        code = command_load_pin(init->context, conf, pin);
    conf_unref(&conf);
    if (code != EX_OK)
        return code;
    say_pieces(init, "Made", true);
    say_pieces(init, "Kept", false);
    fprintf(stdout, "\nThe key pin, by which clients know this relay:\n  %s\n", pin);
    if (!init->makes_conf || !init->makes_identity || !init->makes_database)
        say_what_changes(init);
    say_next(init);
    return fflush(stdout) == 0 ? EX_OK : EX_IOERR;
}

/* ---- what is there ---------------------------------------------------------------------------------------------- */

static int read_name(struct init *init)
{
    const struct command_context *context = init->context;
    init->name = context->line.name;
    if (!init->name)
        return console_fail(&context->console, EX_USAGE, "what is the relay's host name? Give --name HOST");
    if (!conf_is_host_name(slice_from_cstr(init->name)))
        return console_fail(&context->console, EX_USAGE, "\"%s\" is not a full host name such as relay.example.org", init->name);
    return EX_OK;
}

/* The configuration that is there says what the relay is called and where its key is. */
static int read_conf(struct init *init)
{
    const struct command_context *context = init->context;
    struct conf *conf = NULL;
    int code = command_load_conf(context, &conf);
    if (code == EX_OK) {
        snprintf(init->conf_name, sizeof init->conf_name, "%s", conf->values.name.ptr);
        snprintf(init->key, sizeof init->key, "%s", conf->values.key.ptr);
        snprintf(init->certificate, sizeof init->certificate, "%s", conf->values.certificate.ptr);
        init->name = init->conf_name;
    }
    conf_unref(&conf);
    return code;
}

static int refuse_other_wishes(const struct init *init)
{
    const struct command_context *context = init->context;
    const char *name = context->line.name;
    if (!init->makes_conf && context->line.smarthost)
        return console_fail(&context->console, EX_USAGE, "%s is there and is kept: leave out --smarthost, or change it there", context->dirs.config_file);
    if (!name || slice_equal_nocase(slice_from_cstr(name), slice_from_cstr(init->name)))
        return EX_OK;
    return console_fail(&context->console, EX_USAGE, "%s is there and is kept, and the relay's name in it is %s: leave out --name, or change it there",
                        context->dirs.config_file, init->name);
}

/* A key without its certificate is no identity; and keys that somebody else looks after are not made. */
static int look_for_identity(struct init *init)
{
    const struct command_context *context = init->context;
    char ours[4096];
    bool has_key = !is_missing(init->key), has_certificate = !is_missing(init->certificate);
    snprintf(ours, sizeof ours, "%s/relay.key", context->dirs.keys);
    if (has_key != has_certificate)
        return console_fail(&context->console, EX_CANTCREAT, "%s is there and %s is not: put it back. To begin with a new key, which every agent must then be told, move the first away",
                            has_key ? init->key : init->certificate, has_key ? init->certificate : init->key);
    if (!has_key && strcmp(init->key, ours) != 0)
        return console_fail(&context->console, EX_CANTCREAT, "%s, which %s names, is not there: put it back", init->key, context->dirs.config_file);
    init->makes_identity = !has_key;
    return EX_OK;
}

static int init_prepare(struct init *init)
{
    const struct command_context *context = init->context;
    const struct dirs *dirs = &context->dirs;
    init->makes_conf = is_missing(dirs->config_file);
    init->makes_database = is_missing(dirs->database);
    snprintf(init->key, sizeof init->key, "%s/relay.key", dirs->keys);
    snprintf(init->certificate, sizeof init->certificate, "%s/relay.crt", dirs->keys);
    int code = init->makes_conf ? read_name(init) : read_conf(init);
    if (code == EX_OK)
        code = look_for_identity(init);
    if (code == EX_OK && !init->makes_conf && !init->makes_identity && !init->makes_database)
        return console_fail(&context->console, EX_CANTCREAT, "%s exists, and so do its key and its database; init makes what is missing and overwrites nothing. To begin anew, move them away",
                            dirs->config_file);
    return code == EX_OK ? refuse_other_wishes(init) : code;
}

/* ---- the command ------------------------------------------------------------------------------------------------ */

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
    if (code == EX_OK && init.makes_conf)
        code = init_conf(&init);
    if (code == EX_OK && init.makes_identity)
        code = init_identity(&init);
    if (code == EX_OK && init.makes_database)
        code = init_database(&init);
    if (code == EX_OK)
        code = init_hand_over(&init);
    return code == EX_OK ? init_say(&init) : code;
}
