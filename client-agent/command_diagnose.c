/* postern-agent diagnose: every way is tried, and the network judged. Asked of the daemon, which knows the relay's addresses from before, or done here when none runs. */
#include "commands.h"

#include "ways_table.h"

#include <string.h>
#include <sysexits.h>

static void on_progress(void *context, const json_t *progress)
{
    struct ways_table *table = context;
    json_t *way = json_object_get(progress, "way");
    if (way)
        ways_table_set(table, (size_t)json_integer_value(json_object_get(progress, "index")), json_incref(way));
}

static void print_lines(FILE *out, const json_t *lines)
{
    for (size_t i = 0; i < json_array_size(lines); i++) {
        console_print_text(out, json_string_value(json_array_get(lines, i)));
        fputc('\n', out);
    }
}

static void print_diagnosis(FILE *out, const json_t *result)
{
    ways_table_print(out, json_object_get(result, "ways"), 0);
    fputc('\n', out);
    print_lines(out, json_object_get(result, "summary"));
    /* Elsewhere it is the network that was just judged. */
    const char *trouble = json_string_value(json_object_get(result, "trouble"));
    if (trouble && strcmp(console_text(result, "network"), "online") == 0) {
        fputs("\nMail waits because of this: ", out);
        console_print_text(out, trouble);
        fputc('\n', out);
    }
}

int command_diagnose(const struct command_line *line, int argc, char **argv)
{
    struct console console = command_console(line, &argc, argv);
    struct ways_table table;
    json_t *result = NULL;
    if (argc > 1)
        return agent_fail(EX_USAGE, "diagnose takes no arguments but --json");
    if (ways_table_begin(&table, stdout) && !console.is_json) {
        console.progress = on_progress;
        console.progress_context = &table;
    }
    int code = console_fetch(&console, "diagnose", json_object(), &result);
    ways_table_end(&table);
    if (code == EX_OK)
        code = console_show(&console, result, print_diagnosis);
    json_decref(result);
    return code;
}
