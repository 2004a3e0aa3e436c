/* postern-agent setup: writes the configuration and the password, and says how to set the mail program. */
#include "commands.h"

#include "schema.h"

#include "config/private.h"
#include "config/template.h"
#include "net/tls.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <termios.h>
#include <unistd.h>

enum { FILLS_MAX = 64, CONFIG_TEXT_MAX = 64 * 1024 };

struct setup {
    const struct command_line *line;
    const char *server, *user;
    bool is_replacing;
    struct config_fill fills[FILLS_MAX];
    size_t nfills;
    struct buffer password, text;
    struct arena arena;
};

static const char usage[] = "usage: postern-agent setup --server HOST --user NAME [--pin sha256//BASE64 ... | --ca FILE] [--name HOST]\n"
                            "                           [--way \"PORT MODE\" ...] [--listen ADDRESS:PORT ...] [--replace]\n"
                            "The password is read from standard input.";

/* ---- options ---------------------------------------------------------------------------------------------------- */

static int fill(struct setup *setup, const char *section, const char *key, const char *value)
{
    if (setup->nfills == FILLS_MAX)
        return agent_fail(EX_USAGE, "too many options");
    setup->fills[setup->nfills++] = (struct config_fill){section, key, slice_from_cstr(value)};
    return EX_OK;
}

static int fill_server(struct setup *setup, const char *text)
{
    if (!settings_is_host(slice_from_cstr(text)))
        return agent_fail(EX_USAGE, "--server %s: it takes a host name or an address; ports are set with --way \"PORT MODE\"", text);
    setup->server = text;
    return fill(setup, "relay", "host", text);
}

static int fill_pin(struct setup *setup, const char *text)
{
    uint8_t pin[TLS_PIN];
    if (!tls_pin_parse(slice_from_cstr(text), pin))
        return agent_fail(EX_USAGE, "--pin %s: a pin is sha256// and 44 characters, as `postern-relay key show` prints it", text);
    return fill(setup, "relay", "pin", text);
}

/* Absolute, because the configuration takes relative paths from its own folder. */
static int fill_ca(struct setup *setup, const char *path)
{
    char *absolute = realpath(path, NULL);
    const char *kept = absolute ? arena_cstr(&setup->arena, slice_from_cstr(absolute)) : NULL;
    free(absolute);
    if (!kept)
        return agent_fail(EX_NOINPUT, "--ca %s: there is no such file", path);
    return fill(setup, "relay", "ca_file", kept);
}

static int take_option(struct setup *setup, int option, const char *value)
{
    switch (option) {
    case 's': return fill_server(setup, value);
    case 'u': setup->user = value; return fill(setup, "relay", "user", value);
    case 'p': return fill_pin(setup, value);
    case 'c': return fill_ca(setup, value);
    case 'n': return fill(setup, "relay", "name", value);
    case 'w': return fill(setup, "relay", "way", value);
    case 'l': return fill(setup, "local", "listen", value);
    case 'r': setup->is_replacing = true; return EX_OK;
    default: return EX_SOFTWARE;
    }
}

/* "--server --user anna" has forgotten the server, and takes "--user" for it. */
static bool is_forgotten(int option, const char *value)
{
    return option == ':' || (option != '?' && value && strncmp(value, "--", 2) == 0);
}

static int refuse(const char *what, const char *words)
{
    return agent_fail(EX_USAGE, "%s %s\n%s", what, words, usage);
}

static int take_options(struct setup *setup, int argc, char **argv)
{
    static const struct option options[] = {
        {"server", required_argument, NULL, 's'}, {"user", required_argument, NULL, 'u'}, {"pin", required_argument, NULL, 'p'},
        {"ca", required_argument, NULL, 'c'},     {"name", required_argument, NULL, 'n'}, {"way", required_argument, NULL, 'w'},
        {"listen", required_argument, NULL, 'l'}, {"replace", no_argument, NULL, 'r'},    {0},
    };
    int option, code = EX_OK, at = 1;
    optind = 1;
    opterr = 0;
    for (; code == EX_OK && (option = getopt_long(argc, argv, "+:", options, NULL)) != -1; at = optind) {
        if (is_forgotten(option, optarg))
            return refuse(argv[at], "needs a value");
        code = option == '?' ? refuse(argv[at], "is no option of setup") : take_option(setup, option, optarg);
    }
    if (code == EX_OK && optind < argc)
        return refuse(argv[optind], "is too much");
    if (code == EX_OK && (!setup->server || !setup->user))
        return refuse(setup->server ? "--user NAME" : "--server HOST", "is missing");
    return code;
}

/* ---- the password ----------------------------------------------------------------------------------------------- */

static int read_line(struct setup *setup)
{
    setup->password = BUFFER(SASL_PASSWORD_MAX + 2);
    char c, *room;
    /* Reserved in full, so that growth leaves no copy behind. */
    if (buffer_reserve(&setup->password, SASL_PASSWORD_MAX + 2, &room) != RESULT_OK)
        return agent_fail(EX_OSERR, "out of memory");
    while (read(STDIN_FILENO, &c, 1) == 1 && c != '\n')
        if (buffer_append(&setup->password, slice_of(&c, 1)) != RESULT_OK)
            return agent_fail(EX_DATAERR, "the password is longer than %d octets", SASL_PASSWORD_MAX);
    struct slice s = buffer_slice(&setup->password);
    if (s.len > 0 && s.ptr[s.len - 1] == '\r')
        buffer_truncate(&setup->password, s.len - 1);
    return buffer_len(&setup->password) > 0 ? EX_OK : agent_fail(EX_NOINPUT, "no password came on standard input");
}

static int read_password(struct setup *setup)
{
    struct termios shown, hidden;
    bool is_terminal = tcgetattr(STDIN_FILENO, &shown) == 0;
    if (is_terminal) {
        fprintf(stderr, "Password of %s on %s: ", setup->user, setup->server);
        hidden = shown;
        hidden.c_lflag &= (tcflag_t)~ECHO;
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden);
    }
    int code = read_line(setup);
    if (is_terminal) {
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &shown);
        fputc('\n', stderr);
    }
    return code;
}

/* ---- writing ---------------------------------------------------------------------------------------------------- */

static int make_text(struct setup *setup, struct settings **settings)
{
    struct config_error error;
    setup->text = BUFFER(CONFIG_TEXT_MAX);
    enum result result = config_template_fill(slice_from_cstr(schema_config_agent), setup->fills, setup->nfills, &setup->text);
    if (result != RESULT_OK)
        return agent_fail(EX_USAGE, "a value holds a control character, or is too long");
    /* Read back before anything is written: a bad --way or --listen is told now, with its accepted form. */
    if (settings_load_text(settings, setup->line->dirs, setup->line->dirs->config_file, buffer_slice(&setup->text), &error) != RESULT_OK)
        return agent_fail(EX_USAGE, "%s", error.text);
    return EX_OK;
}

static int make_folders(const struct dirs *dirs)
{
    struct private_error error;
    const char *const folders[] = {dirs->config_folder, dirs->data_folder, dirs->keys};
    for (size_t i = 0; i < 3; i++)
        if (private_make_folder(folders[i], &error) != RESULT_OK)
            return agent_fail(EX_CANTCREAT, "%s", error.text);
    return EX_OK;
}

static int write_files(const struct setup *setup, const struct settings *settings)
{
    const struct dirs *dirs = setup->line->dirs;
    struct private_error error;
    int code = make_folders(dirs);
    if (code != EX_OK)
        return code;
    if (private_write(settings->values.password_file.ptr, buffer_slice(&setup->password), &error) != RESULT_OK ||
        private_write(dirs->config_file, buffer_slice(&setup->text), &error) != RESULT_OK)
        return agent_fail(EX_CANTCREAT, "%s", error.text);
    return EX_OK;
}

/* Before the password is asked for. */
static int check_place(const struct setup *setup)
{
    const char *path = setup->line->dirs->config_file;
    if (setup->is_replacing || access(path, F_OK) != 0)
        return EX_OK;
    return agent_fail(EX_CANTCREAT, "%s is there already; edit it, or give --replace to write it anew", path);
}

/* Opens it once: that makes the key, and seals what is there. A running agent has done so, or will at its next start. */
static int prepare_spool(const struct setup *setup, const struct settings *settings, struct spool_key *key)
{
    char why[1200];
    struct store *store = NULL;
    enum result result = agent_try_store(setup->line->dirs, settings, NULL, 0, &store, key, why, sizeof why);
    store_close(&store);
    if (result == RESULT_OK || result == RESULT_BUSY)
        return EX_OK;
    /* What was written stays: the way out may be a line in it. */
    return agent_fail(agent_store_exit_code(result), "%s\n%s is written; all that is missing is the spool: when that is mended go on with %s, or begin again with setup --replace", why,
                      setup->line->dirs->config_file, DIRS_HINT(setup->line->dirs, "postern-agent run"));
}

static void print_next_steps(FILE *out, const struct setup *setup, const struct settings *settings, const struct spool_key *key)
{
    const struct net_address *listen = settings->values.listen.items;
    char address[NET_ADDRESS_TEXT];
    const struct dirs *dirs = setup->line->dirs;
    net_address_format(&listen[0], address);
    fprintf(out, "Written: %s\n\n", dirs->config_file);
    if (key->where[0])
        fprintf(out, "Mail waits encrypted:    its key is in %s; without it no backup of the mail can be read\n", key->where);
    fprintf(out, "Start the agent:         %s\n", DIRS_HINT(dirs, "postern-agent run"));
    fprintf(out, "Set your mail program:   outgoing server (SMTP) %s, no encryption, no password\n", address);
    fprintf(out, "See what it does:        %s\n", DIRS_HINT(dirs, "postern-agent status"));
}

static int set_up(struct setup *setup, int argc, char **argv)
{
    struct settings *settings = NULL;
    struct spool_key key = {0};
    int code = take_options(setup, argc, argv);
    if (code == EX_OK)
        code = check_place(setup);
    if (code == EX_OK)
        code = make_text(setup, &settings);
    if (code == EX_OK)
        code = read_password(setup);
    if (code == EX_OK)
        code = write_files(setup, settings);
    if (code == EX_OK)
        code = prepare_spool(setup, settings, &key);
    if (code == EX_OK)
        print_next_steps(stdout, setup, settings, &key);
    settings_unref(&settings);
    return code;
}

int command_setup(const struct command_line *line, int argc, char **argv)
{
    struct setup setup = {.line = line};
    int code = set_up(&setup, argc, argv);
    buffer_wipe_free(&setup.password);
    buffer_free(&setup.text);
    arena_free(&setup.arena);
    return code;
}
