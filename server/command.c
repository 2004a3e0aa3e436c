#include "command.h"

#include "base/version.h"
#include "crypto/crypto.h"

#include <grp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#define ACCOUNT_NAME "NAME"

static const struct command commands[] = {
    {"init", "--name HOST [--smarthost URL]", "make key, certificate, database and configuration, or what is missing of them", OPTION_NAME | OPTION_SMARTHOST, 0, 0, false,
     cmd_init},
    {"run", "", "take mail in and deliver it, in the foreground", 0, 0, 0, true, cmd_run},
    {"status", "", "what the relay is doing", OPTION_JSON, 0, 0, false, cmd_status},
    {"check", "", "look whether everything is in order", OPTION_JSON, 0, 0, false, cmd_check},
    {"dns", "", "the DNS records to publish", OPTION_JSON, 0, 0, false, cmd_dns},
    {"key show", "", "the key pin that clients are given", OPTION_JSON, 0, 0, false, cmd_key_show},
    {"account add", ACCOUNT_NAME " --send-as ADDRESS|@DOMAIN ...", "make an account; its password comes on stdin, or is made and printed",
     OPTION_SEND_AS | OPTION_JSON, 1, 1, false, cmd_account_add},
    {"account list", "", "all accounts", OPTION_JSON, 0, 0, false, cmd_account_list},
    {"account show", ACCOUNT_NAME, "one account", OPTION_JSON, 1, 1, false, cmd_account_show},
    {"account passwd", ACCOUNT_NAME, "a new password, from stdin, or made and printed", OPTION_JSON, 1, 1, false, cmd_account_passwd},
    {"account disable", ACCOUNT_NAME, "refuse its logins from now on", OPTION_JSON, 1, 1, false, cmd_account_disable},
    {"account enable", ACCOUNT_NAME, "allow them again", OPTION_JSON, 1, 1, false, cmd_account_enable},
    {"account remove", ACCOUNT_NAME, "remove it; mail already taken still goes out", OPTION_JSON, 1, 1, false, cmd_account_remove},
    {"device list", "[--account " ACCOUNT_NAME "]", "laptops that log in by a token of their own", OPTION_ACCOUNT | OPTION_JSON, 0, 0, false,
     cmd_device_list},
    {"device revoke", "ID ...", "refuse its token from now on", OPTION_JSON, 1, COMMAND_WORDS_MAX, false, cmd_device_revoke},
    {"queue list", "[--all]", "messages that are not finished (--all: also those that are)", OPTION_ALL | OPTION_JSON, 0, 0, false,
     cmd_queue_list},
    {"queue show", "ID", "one message with all its recipients", OPTION_JSON, 1, 1, false, cmd_queue_show},
    {"queue halves", "", "messages that are here in part, for their senders to go on with", OPTION_JSON, 0, 0, false, cmd_queue_halves},
    {"queue retry", "ID ... | --all", "try again now", OPTION_ALL | OPTION_JSON, 0, COMMAND_WORDS_MAX, false, cmd_queue_retry},
    {"queue hold", "ID ...", "keep it until it is released", OPTION_JSON, 1, COMMAND_WORDS_MAX, false, cmd_queue_hold},
    {"queue release", "ID ...", "let it go again", OPTION_JSON, 1, COMMAND_WORDS_MAX, false, cmd_queue_release},
    {"queue remove", "ID ...", "forget it; nobody is told", OPTION_JSON, 1, COMMAND_WORDS_MAX, false, cmd_queue_remove},
    {"queue drop", "ID ...", "forget a half, but never a message", OPTION_JSON, 1, COMMAND_WORDS_MAX, false, cmd_queue_drop},
};
enum { NCOMMANDS = sizeof commands / sizeof commands[0] };

static int usage_error(const char *words, const char *detail)
{
    fprintf(stderr, COMMAND_PROGRAM ": %s%s%s\nSee: " COMMAND_PROGRAM " --help\n", words, *detail ? ": " : "", detail);
    return EX_USAGE;
}

/* "queue show ID [--json] [--dir DIR]" */
static void print_form(FILE *out, const struct command *command)
{
    fprintf(out, "%s%s%s%s [--dir DIR]\n", command->words, *command->arguments ? " " : "", command->arguments, command->options & OPTION_JSON ? " [--json]" : "");
}

/* What is wrong, and the command's own form. */
static int form_error(const struct command *command, const char *words, const char *detail)
{
    fprintf(stderr, COMMAND_PROGRAM ": %s%s%s\nUsage: " COMMAND_PROGRAM " ", words, *detail ? ": " : "", detail);
    print_form(stderr, command);
    return EX_USAGE;
}

static int print_help(void)
{
    fputs("Usage: " COMMAND_PROGRAM " COMMAND [--dir DIR] ...\n       " COMMAND_PROGRAM " --help | --version\n\n"
          COMMAND_PROGRAM " " POSTERN_VERSION ", a mail relay for people who travel. --dir keeps configuration, database and keys in one folder;\n"
          "without it they are in /etc/postern and /var/lib/postern.\n\n",
          stdout);
    for (size_t i = 0; i < NCOMMANDS; i++) {
        fputs("  ", stdout);
        print_form(stdout, &commands[i]);
        fprintf(stdout, "      %s\n", commands[i].help);
    }
    return fflush(stdout) == 0 ? EX_OK : EX_IOERR;
}

static int print_version(void)
{
    fputs(COMMAND_PROGRAM " " POSTERN_VERSION "\n", stdout);
    return EX_OK;
}

static int print_command_help(const struct command *command)
{
    fputs("Usage: " COMMAND_PROGRAM " ", stdout);
    print_form(stdout, command);
    fprintf(stdout, "\n%s\n", command->help);
    return EX_OK;
}

static bool is_of_group(const struct command *command, const char *group)
{
    size_t len = strlen(group);
    return strncmp(command->words, group, len) == 0 && command->words[len] == ' ';
}

/* The commands of "queue", "account", "key"; false: there is no such group. */
static bool print_group(FILE *out, const char *group)
{
    bool is_any = false;
    for (size_t i = 0; i < NCOMMANDS; i++) {
        if (!is_of_group(&commands[i], group))
            continue;
        fputs(is_any ? "       " COMMAND_PROGRAM " " : "Usage: " COMMAND_PROGRAM " ", out);
        print_form(out, &commands[i]);
        is_any = true;
    }
    return is_any;
}

/* ---- the line --------------------------------------------------------------------------------------------------- */

/* Whether argv[*at] is this option; its value is the rest behind '=' or the next word, but no option: "--name --dir X" has forgotten the name. */
static bool take_value(int argc, char **argv, int *at, const char *option, const char **value)
{
    size_t len = strlen(option);
    if (strncmp(argv[*at], option, len) != 0 || (argv[*at][len] != '\0' && argv[*at][len] != '='))
        return false;
    if (argv[*at][len] == '=')
        *value = argv[*at] + len + 1;
    else if (*at + 1 < argc && (argv[*at + 1][0] != '-' || argv[*at + 1][1] == '\0'))
        *value = argv[++*at];
    else
        *value = NULL;
    return true;
}

static unsigned take_option(int argc, char **argv, int *at, struct command_line *line, const char **missing)
{
    const char *value = "";
    const char *option = argv[*at];
    unsigned taken = 0;
    if (take_value(argc, argv, at, "--dir", &value)) {
        line->dir = value;
        taken = ~0U;
    } else if (take_value(argc, argv, at, "--name", &value)) {
        line->name = value;
        taken = OPTION_NAME;
    } else if (take_value(argc, argv, at, "--smarthost", &value)) {
        line->smarthost = value;
        taken = OPTION_SMARTHOST;
    } else if (take_value(argc, argv, at, "--account", &value)) {
        line->account = value;
        taken = OPTION_ACCOUNT;
    } else if (take_value(argc, argv, at, "--send-as", &value)) {
        if (line->nsend_as < COMMAND_SEND_AS_MAX)
            line->send_as[line->nsend_as++] = value;
        taken = OPTION_SEND_AS;
    } else if (strcmp(option, "--json") == 0) {
        line->is_json = true;
        taken = OPTION_JSON;
    } else if (strcmp(option, "--all") == 0) {
        line->is_all = true;
        taken = OPTION_ALL;
    } else if (strcmp(option, "--help") == 0 || strcmp(option, "-h") == 0) {
        line->wants_help = true;
        taken = ~0U;
    } else if (strcmp(option, "--version") == 0) {
        line->wants_version = true;
        taken = ~0U;
    }
    *missing = value ? NULL : option;
    return taken;
}

/* Splits into words and options; *options gets the set of those given, but for those that every command has. */
static int parse_line(int argc, char **argv, struct command_line *line, unsigned *options)
{
    const char *missing = NULL;
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] != '-' || argv[i][1] == '\0') {
            if (line->nwords == COMMAND_WORDS_MAX)
                return usage_error("too many words", argv[i]);
            line->words[line->nwords++] = argv[i];
            continue;
        }
        int at = i;
        unsigned taken = take_option(argc, argv, &i, line, &missing);
        if (taken == 0)
            return usage_error("unknown option", argv[at]);
        if (missing)
            return usage_error("the option needs a value", missing);
        if (taken != ~0U)
            *options |= taken;
    }
    return EX_OK;
}

/* Whether the line begins with the command's words; they are taken off. */
static bool take_command(struct command_line *line, const struct command *command)
{
    char text[64];
    size_t used = strchr(command->words, ' ') ? 2 : 1;
    if (line->nwords < used)
        return false;
    snprintf(text, sizeof text, used == 2 ? "%s %s" : "%s%.0s", line->words[0], used == 2 ? line->words[1] : "");
    if (strcmp(text, command->words) != 0)
        return false;
    line->nwords -= used;
    memmove(line->words, line->words + used, line->nwords * sizeof line->words[0]);
    return true;
}

static const struct command *find_command(struct command_line *line)
{
    for (size_t i = 0; i < NCOMMANDS; i++) {
        if (take_command(line, &commands[i]))
            return &commands[i];
    }
    return NULL;
}

/* ---- running ---------------------------------------------------------------------------------------------------- */

/* Root's commands act as whom the data folder belongs to, so that the service can read and write what they leave behind. */
static int become_owner(const struct command_context *context, const struct command *command)
{
    struct stat folder;
    if (geteuid() != 0 || command->keeps_user || stat(context->dirs.data_folder, &folder) != 0 || folder.st_uid == 0)
        return EX_OK;
    if (setgroups(0, NULL) != 0 || setgid(folder.st_gid) != 0 || setuid(folder.st_uid) != 0)
        return console_fail(&context->console, EX_NOPERM, "cannot become the owner of %s", context->dirs.data_folder);
    return EX_OK;
}

static int run_command(struct command_context *context, const struct command *command)
{
    const struct dirs_environment environment = dirs_environment();
    enum result result = dirs_find(DIRS_RELAY, context->line.dir, &environment, &context->arena, &context->dirs);
    if (result == RESULT_SYNTAX)
        return usage_error("--dir names no folder", "");
    if (result != RESULT_OK || crypto_init() != RESULT_OK)
        return console_fail(&context->console, EX_OSERR, "the system has no memory or no randomness");
    context->console.socket = context->dirs.socket;
    context->console.dirs = &context->dirs;
    context->console.is_json = context->line.is_json;
    context->console.local = command_local;
    context->console.context = context;
    umask(077);
    int code = become_owner(context, command);
    return code == EX_OK ? command->run(context) : code;
}

static int dispatch(struct command_context *context, unsigned options)
{
    struct command_line *line = &context->line;
    if (line->wants_version)
        return print_version();
    if (line->nwords == 0)
        return line->wants_help ? print_help() : usage_error("which command?", "");
    if (strcmp(line->words[0], "help") == 0)
        return print_help();
    const char *first = line->words[0];
    const struct command *command = find_command(line);
    if (!command && print_group(line->wants_help ? stdout : stderr, first))
        return line->wants_help ? EX_OK : EX_USAGE;
    if (!command)
        return usage_error("no such command", first);
    if (line->wants_help)
        return print_command_help(command);
    if ((options & ~command->options) != 0)
        return form_error(command, "this command has no such option", "");
    if (line->nwords < command->words_min)
        return form_error(command, "something is missing", "");
    if (line->nwords > command->words_max)
        return form_error(command, "too much", line->words[command->words_max]);
    return run_command(context, command);
}

int command_main(int argc, char **argv)
{
    struct command_context context = {.console = {.program = COMMAND_PROGRAM}};
    unsigned options = 0;
    signal(SIGPIPE, SIG_IGN); /* a reader or a relay that went away is an error to be told, not a silent death */
    context.line.send_as = calloc(COMMAND_SEND_AS_MAX, sizeof *context.line.send_as);
    if (!context.line.send_as)
        return EX_OSERR;
    int code = parse_line(argc, argv, &context.line, &options);
    if (code == EX_OK)
        code = dispatch(&context, options);
    /* The commands tell by their exit code that the answer was lost; the words are here. */
    if (fflush(stdout) != 0 || ferror(stdout))
        code = console_fail(&context.console, code == EX_OK ? EX_IOERR : code,
                            "the answer could not be written: its reader went away, or the disk is full");
    free(context.line.send_as);
    arena_free(&context.arena);
    return code;
}
