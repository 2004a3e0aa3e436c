/* postern-agent status, postern-agent queue ...: asked of the daemon, or of the store when none runs. */
#include "commands.h"

#include "ways_table.h"

#include "crypto/crypto.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

/* ---- a command without a daemon --------------------------------------------------------------------------------- */

static void sink_nowhere(void *context, enum log_level level, struct slice line)
{
    (void)context;
    (void)level;
    (void)line;
}

static int with_store(struct agent *agent, const char *command, const json_t *arguments, void (*on_line)(void *, const json_t *), void *line_context)
{
    int code = EX_OK;
    if (uv_loop_init(&agent->loop) < 0)
        return agent_fail(EX_OSERR, "out of memory");
    if (store_client_open(&agent->client, agent->store, &agent->loop) == RESULT_OK) {
        control_call_local(agent_command, agent, command, arguments, on_line, line_context);
        uv_run(&agent->loop, UV_RUN_DEFAULT);
        store_client_close(agent->client, NULL, NULL);
        uv_run(&agent->loop, UV_RUN_DEFAULT);
    } else {
        code = agent_fail(EX_OSERR, "out of memory");
    }
    uv_loop_close(&agent->loop);
    return code;
}

static int run_here(void *context, const char *command, const json_t *arguments, void (*on_line)(void *, const json_t *), void *line_context)
{
    const struct command_line *line = context;
    struct agent agent = {.dirs = line->dirs, .log = {.sink = sink_nowhere}};
    agent_find_program(&agent);
    int code = agent_load_settings(line->dirs, &agent.settings);
    if (code == EX_OK)
        code = agent_open_store(line->dirs, agent.settings, &agent.log, &agent.store, &agent.key);
    if (code == EX_OK)
        code = with_store(&agent, command, arguments, on_line, line_context);
    if (agent.store)
        store_close(&agent.store);
    settings_unref(&agent.settings);
    return code;
}

struct console command_console(const struct command_line *line, int *argc, char **argv)
{
    struct console console = {.program = AGENT_PROGRAM, .socket = line->dirs->socket, .dirs = line->dirs, .local = run_here, .context = (void *)(uintptr_t)line};
    int kept = 0;
    for (int i = 0; i < *argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            console.is_json = true;
        else
            argv[kept++] = argv[i];
    }
    *argc = kept;
    argv[kept] = NULL;
    return console;
}

/* ---- status ----------------------------------------------------------------------------------------------------- */

static void print_line(FILE *out, const char *name, const json_t *value)
{
    if (!json_is_string(value))
        return;
    fprintf(out, "%-12s ", name);
    console_print_text(out, json_string_value(value));
    fputc('\n', out);
}

static void print_sending(FILE *out, const json_t *sending)
{
    char text[CONSOLE_PROGRESS];
    if (!json_is_object(sending))
        return;
    json_t *progress = json_pack("{s:O, s:O}", "octets", json_object_get(sending, "sent_octets"), "of", json_object_get(sending, "size"));
    console_format_progress(progress, text, sizeof text);
    json_decref(progress);
    fprintf(out, "%-12s %s, %s\n", "sending", console_text(sending, "id"), text);
}

static long long number_of(const json_t *object, const char *key)
{
    return (long long)json_integer_value(json_object_get(object, key));
}

static void print_status(FILE *out, const json_t *status)
{
    const json_t *queue = json_object_get(status, "queue"), *ways = json_object_get(status, "ways");
    print_line(out, "network", json_object_get(status, "network"));
    print_line(out, "", json_object_get(status, "words"));
    print_line(out, "relay", json_object_get(status, "relay"));
    print_line(out, "uplink", json_object_get(status, "state"));
    print_sending(out, json_object_get(status, "sending"));
    print_line(out, "trouble", json_object_get(status, "trouble"));
    print_line(out, "next search", json_object_get(status, "next_search"));
    fprintf(out, "%-12s %lld waiting, %lld held, %lld uncertain; %lld with the relay\n", "queue", number_of(queue, "queued"), number_of(queue, "held"), number_of(queue, "uncertain"),
            number_of(queue, "awaited"));
    print_line(out, "spool", json_object_get(json_object_get(status, "spool"), "words"));
    if (json_array_size(ways) > 0)
        ways_table_print(out, ways, 0);
}

int command_status(const struct command_line *line, int argc, char **argv)
{
    struct console console = command_console(line, &argc, argv);
    if (argc > 1)
        return agent_fail(EX_USAGE, "status takes no arguments but --json");
    console.local = NULL; /* what a daemon knows, only a daemon can tell */
    return console_run(&console, "status", json_object(), print_status);
}

/* ---- queue ------------------------------------------------------------------------------------------------------ */

static const char usage[] = "usage: postern-agent queue list [--all] | show ID | flush | hold ID | release ID | remove ID   [--json]";

static int on_one(const struct console *console, const char *verb, int argc, char **argv)
{
    char command[32];
    if (argc != 2)
        return agent_fail(EX_USAGE, "queue %s takes one message id; see: %s", verb, DIRS_HINT(console->dirs, "postern-agent queue list"));
    snprintf(command, sizeof command, "queue %s", verb);
    return console_run(console, command, json_pack("{s:s}", "id", argv[1]), strcmp(verb, "show") == 0 ? console_print_entry : console_print_done);
}

static void print_flush(FILE *out, const json_t *result)
{
    long long nqueued = number_of(result, "queued"), nawaited = number_of(result, "awaited");
    if (nqueued == 0 && nawaited == 0)
        fputs("Nothing waits, and the relay has nothing that it is asked about: there is nothing to do.\n", out);
    else if (nawaited == 0)
        fprintf(out, "%lld waiting; a way is looked for now\n", nqueued);
    else if (json_is_true(json_object_get(result, "untold")))
        fprintf(out, "%lld waiting, %lld with the relay, which tells no outcomes (as it was met last); a way is looked for now, and it is asked if it tells them again\n", nqueued, nawaited);
    else
        fprintf(out, "%lld waiting, %lld with the relay; a way is looked for now, and the relay asked what became of them\n", nqueued, nawaited);
}

int command_queue(const struct command_line *line, int argc, char **argv)
{
    static const char *const verbs[] = {"show", "hold", "release", "remove"};
    struct console console = command_console(line, &argc, argv);
    if (argc < 2)
        return agent_fail(EX_USAGE, "%s", usage);
    const char *verb = argv[1];
    if (strcmp(verb, "list") == 0 && argc == 2)
        return console_queue_list(&console, false);
    if (strcmp(verb, "list") == 0 && argc == 3 && strcmp(argv[2], "--all") == 0)
        return console_queue_list(&console, true);
    if (strcmp(verb, "flush") == 0 && argc == 2) {
        console.local = NULL;
        return console_run(&console, "queue flush", json_object(), print_flush);
    }
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (strcmp(verb, verbs[i]) == 0)
            return on_one(&console, verb, argc - 1, argv + 1);
    return agent_fail(EX_USAGE, "%s", usage);
}
