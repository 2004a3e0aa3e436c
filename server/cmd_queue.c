#include "command.h"

#include <sysexits.h>

int cmd_queue_list(struct command_context *context)
{
    return console_queue_list(&context->console, context->line.is_all);
}

int cmd_queue_show(struct command_context *context)
{
    return console_run(&context->console, "queue show", json_pack("{s:s}", "id", context->line.words[0]), console_print_entry);
}

static void print_halves(FILE *out, const json_t *halves)
{
    size_t i;
    json_t *half;
    char size[16];
    if (json_array_size(halves) == 0)
        fputs("There are no halves: no message is here in part\n", out);
    json_array_foreach((json_t *)(uintptr_t)halves, i, half) {
        console_format_size(json_integer_value(json_object_get(half, "octets")), size, sizeof size);
        json_int_t nrcpt = json_integer_value(json_object_get(half, "recipients"));
        fprintf(out, "%s  %9s  of %s%s%s, for %" JSON_INTEGER_FORMAT " recipient%s%s\n", console_text(half, "id"), size, console_text(half, "account"),
                *console_text(half, "device") ? ", device " : "", console_text(half, "device"), nrcpt, nrcpt == 1 ? "" : "s", json_is_true(json_object_get(half, "receiving")) ? ", being received" : "");
    }
}

int cmd_queue_halves(struct command_context *context)
{
    return console_run(&context->console, "queue halves", json_object(), print_halves);
}

/* One after the other; the first failure's exit code is ours, and the others are done all the same. */
static int for_each(struct command_context *context, const char *command)
{
    int code = EX_OK;
    for (size_t i = 0; i < context->line.nwords; i++) {
        int one = console_run(&context->console, command, json_pack("{s:s}", "id", context->line.words[i]), console_print_done);
        code = code == EX_OK ? one : code;
    }
    return code;
}

static void print_retried(FILE *out, const json_t *result)
{
    fprintf(out, "%" JSON_INTEGER_FORMAT " messages are due now\n", json_integer_value(json_object_get(result, "count")));
}

int cmd_queue_retry(struct command_context *context)
{
    if (context->line.is_all)
        return console_run(&context->console, "queue retry", json_pack("{s:b}", "all", 1), print_retried);
    if (context->line.nwords == 0)
        return console_fail(&context->console, EX_USAGE, "which message? Give its ID (see: queue list), or --all");
    return for_each(context, "queue retry");
}

int cmd_queue_hold(struct command_context *context)
{
    return for_each(context, "queue hold");
}

int cmd_queue_release(struct command_context *context)
{
    return for_each(context, "queue release");
}

int cmd_queue_remove(struct command_context *context)
{
    return for_each(context, "queue remove");
}

int cmd_queue_drop(struct command_context *context)
{
    return for_each(context, "queue drop");
}
