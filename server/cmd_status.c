#include "command.h"

#include <string.h>
#include <sysexits.h>

/* ---- key show --------------------------------------------------------------------------------------------------- */

int cmd_key_show(struct command_context *context)
{
    char pin[TLS_PIN_TEXT];
    struct conf *conf = NULL;
    int code = command_load_conf(context, &conf);
    if (code == EX_OK)
        code = command_load_pin(context, conf, pin);
    conf_unref(&conf);
    if (code != EX_OK)
        return code;
    if (context->line.is_json)
        fprintf(stdout, "[\n  \"%s\"\n]\n", pin);
    else
        fprintf(stdout, "%s\n", pin);
    return fflush(stdout) == 0 ? EX_OK : EX_IOERR;
}

/* ---- status ----------------------------------------------------------------------------------------------------- */

static long long number_of(const json_t *object, const char *key)
{
    return (long long)json_integer_value(json_object_get(object, key));
}

static void print_duration(FILE *out, long long seconds)
{
    if (seconds >= 2 * 86400)
        fprintf(out, "%lld days", seconds / 86400);
    else if (seconds >= 2 * 3600)
        fprintf(out, "%lld hours", seconds / 3600);
    else if (seconds >= 120)
        fprintf(out, "%lld minutes", seconds / 60);
    else
        fprintf(out, "%lld seconds", seconds);
}

static void print_running(FILE *out, const json_t *status)
{
    size_t i;
    json_t *listener;
    const json_t *ways = json_object_get(status, "ways");
    fputs("running  for ", out);
    print_duration(out, number_of(status, "uptime_s"));
    fprintf(out, ", process %lld, %lld sessions\n", number_of(status, "pid"), number_of(status, "sessions"));
    json_array_foreach(json_object_get(status, "listeners"), i, listener)
        fprintf(out, "%s %s %s%s\n", i == 0 ? "listens " : "        ", json_string_value(json_object_get(listener, "address")),
                json_string_value(json_object_get(listener, "mode")), json_is_true(json_object_get(listener, "proxied")) ? ", proxied" : "");
    fprintf(out, "tells    %s\n", json_string_length(ways) > 0 ? json_string_value(ways) : "of no way that the world can reach");
}

static void print_status(FILE *out, const struct command_context *context, const json_t *status)
{
    char size[16];
    const json_t *queue = json_object_get(status, "queue"), *delivery = json_object_get(status, "delivery"), *halves = json_object_get(status, "halves");
    console_format_size(json_integer_value(json_object_get(queue, "octets")), size, sizeof size);
    fprintf(out, "name     %s\n", json_string_value(json_object_get(status, "name")));
    if (json_is_true(json_object_get(status, "running")))
        print_running(out, status);
    else
        fprintf(out, "running  no; start it with: %s\n", DIRS_HINT(&context->dirs, COMMAND_PROGRAM " run"));
    fprintf(out, "queue    %lld queued, %lld held, %lld uncertain; %s\n", number_of(queue, "queued"), number_of(queue, "held"),
            number_of(queue, "uncertain"), size);
    console_format_size(json_integer_value(json_object_get(halves, "octets")), size, sizeof size);
    fprintf(out, "halves   %lld, %s\n", number_of(halves, "count"), size);
    fprintf(out, "sends    to the %s, %lld under way over %lld sessions\n",
            json_is_true(json_object_get(status, "smarthost")) ? "smarthost" : "mail hosts", number_of(delivery, "active"),
            number_of(delivery, "sessions"));
}

int cmd_status(struct command_context *context)
{
    json_t *status;
    int code = console_fetch(&context->console, "status", json_object(), &status);
    if (code == EX_OK && !context->line.is_json)
        print_status(stdout, context, status);
    if (code == EX_OK)
        code = console_show(&context->console, status, NULL);
    json_decref(status);
    return code;
}
