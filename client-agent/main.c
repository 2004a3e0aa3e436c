/* postern-agent: the command line. */
#include "commands.h"

#include "base/version.h"
#include "crypto/crypto.h"

#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

struct command {
    const char *name;
    int (*run)(const struct command_line *line, int argc, char **argv);
    const char *help;
};

static const struct command commands[] = {
    {"setup", command_setup, "setup --server HOST --user NAME [--pin sha256//... | --ca FILE]   (the password on standard input)"},
    {"run", command_run, "run                                   take mail and carry it to the relay, in the foreground"},
    {"status", command_status, "status [--json]                       the network, the way in use, the queue"},
    {"diagnose", command_diagnose, "diagnose [--json]                     try every way, and judge the network"},
    {"queue", command_queue, "queue list [--all] | flush | show ID | hold ID | release ID | remove ID   [--json]"},
    {"proxies", command_proxies, "proxies HOST                          the proxies that the system's settings name for that host"},
    {"secret", command_secret, "secret get|put NAME                   the spool's key in the desktop's secret service; for the agent itself"},
    {"sendmail", command_sendmail, "sendmail ...                          the sendmail(1) interface; also under the name sendmail"},
};
enum { NCOMMANDS = sizeof commands / sizeof *commands };

static void print_help(FILE *out)
{
    fputs(AGENT_PROGRAM " " POSTERN_VERSION " carries your mail to your relay over whichever way the network leaves open.\n\n"
          "usage: postern-agent [--dir DIR] COMMAND ...\n       postern-agent --help | --version\n\n", out);
    for (size_t i = 0; i < NCOMMANDS; i++)
        fprintf(out, "  %s\n", commands[i].help);
    fputs("\nEverything is in postern-agent(1) and agent.conf(5).\n", out);
}

/* --dir DIR or --dir=DIR, anywhere before or behind the command's name but not among sendmail's own options. */
static int take_dir(int *argc, char **argv, const char **dir)
{
    int kept = 0;
    bool is_open = true;
    for (int i = 0; i < *argc; i++) {
        if (is_open && strcmp(argv[i], "--dir") == 0 && i + 1 == *argc)
            return agent_fail(EX_USAGE, "--dir takes a folder");
        if (is_open && strcmp(argv[i], "--dir") == 0)
            *dir = argv[++i];
        else if (is_open && strncmp(argv[i], "--dir=", 6) == 0)
            *dir = argv[i] + 6;
        else
            argv[kept++] = argv[i];
        if (strcmp(argv[i], "--") == 0)
            is_open = false;
    }
    *argc = kept;
    argv[kept] = NULL;
    return EX_OK;
}

static int dispatch(const struct command_line *line, int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return EX_USAGE;
    }
    if (strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help(stdout);
        return EX_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        fputs(AGENT_PROGRAM " " POSTERN_VERSION "\n", stdout);
        return fflush(stdout) == 0 ? EX_OK : EX_IOERR;
    }
    for (size_t i = 0; i < NCOMMANDS; i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(line, argc - 1, argv + 1);
    return agent_fail(EX_USAGE, "no command \"%s\"; see: postern-agent help", argv[1]);
}

/* sendmail and mailq are this program too, by their names. */
static bool is_called(const char *argv0, const char *name)
{
    const char *base = strrchr(argv0, '/');
    return strcmp(base ? base + 1 : argv0, name) == 0;
}

static int run_by_name(const struct command_line *line, int argc, char **argv)
{
    char *mailq[] = {"queue", "list", NULL};
    if (is_called(argv[0], "sendmail"))
        return command_sendmail(line, argc, argv);
    if (is_called(argv[0], "mailq"))
        return command_queue(line, 2, mailq);
    return dispatch(line, argc, argv);
}

int main(int argc, char **argv)
{
    struct arena arena = {0};
    struct dirs dirs;
    struct dirs_environment environment = dirs_environment();
    struct command_line line = {.dirs = &dirs};
    const char *dir = NULL;
    signal(SIGPIPE, SIG_IGN);
    if (argc < 1 || crypto_init() != RESULT_OK)
        return agent_fail(EX_OSERR, "the system gives no randomness");
    int code = take_dir(&argc, argv, &dir);
    if (code == EX_OK && !dir)
        dir = getenv("POSTERN_AGENT_DIR");
    if (code == EX_OK && dirs_find(DIRS_AGENT, dir, &environment, &arena, &dirs) != RESULT_OK)
        code = agent_fail(EX_CONFIG, "where is your home? Set HOME, or give --dir DIR");
    if (code == EX_OK)
        code = run_by_name(&line, argc, argv);
    arena_free(&arena);
    return code;
}
