#include "mta/console.h"

#include "base/slice.h"
#include "base/utf8.h"
#include "net/control.h"

#include <stdarg.h>
#include <string.h>
#include <sysexits.h>

enum { QUEUE_PAGE = 200, WORDS_SHOWN = 100 };

struct answer {
    const struct console *console;
    json_t *result, *error;
};

int console_fail(const struct console *console, int exit_code, const char *format, ...)
{
    va_list args;
    fprintf(stderr, "%s: ", console->program);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return exit_code;
}

int console_exit_code(enum result result)
{
    switch (result) {
    case RESULT_OK:
        return EX_OK;
    case RESULT_NOT_FOUND:
        return EX_NOINPUT;
    case RESULT_DENIED:
        return EX_NOPERM;
    case RESULT_SYNTAX:
        return EX_CONFIG;
    case RESULT_VERSION:
    case RESULT_CORRUPT:
        return EX_DATAERR;
    case RESULT_BUSY:
        return EX_TEMPFAIL;
    case RESULT_EXISTS:
        return EX_UNAVAILABLE;
    case RESULT_IO:
    case RESULT_FULL:
        return EX_IOERR;
    case RESULT_MORE:
    case RESULT_MEMORY:
    case RESULT_LIMIT:
    case RESULT_CANCELLED:
        break;
    }
    return EX_OSERR;
}

/* ---- asking ----------------------------------------------------------------------------------------------------- */

static void on_line(void *context, const json_t *line)
{
    struct answer *answer = context;
    json_t *progress = json_object_get(line, "progress");
    if (progress && answer->console->progress)
        answer->console->progress(answer->console->progress_context, progress);
    if (json_object_get(line, "result"))
        answer->result = json_incref(json_object_get(line, "result"));
    if (json_object_get(line, "error"))
        answer->error = json_deep_copy(line);
}

/* "the agent" of "postern-agent". */
static const char *daemon_of(const struct console *console)
{
    const char *dash = strrchr(console->program, '-');
    return dash ? dash + 1 : console->program;
}

static int ask(const struct console *console, const char *command, const json_t *arguments, struct answer *answer)
{
    char start[64];
    switch (control_ask(console->socket, command, arguments, on_line, answer)) {
    case RESULT_OK:
        return EX_OK;
    case RESULT_DENIED:
        return console_fail(console, EX_NOPERM, "%s belongs to another user; run this as that user, or as root", console->socket);
    case RESULT_NOT_FOUND:
        if (console->local)
            return console->local(console->context, command, arguments, on_line, answer);
        snprintf(start, sizeof start, "%s run", console->program);
        return console_fail(console, EX_UNAVAILABLE, "the %s is not running; start it with: %s", daemon_of(console), DIRS_HINT(console->dirs, start));
    default:
        return console_fail(console, EX_IOERR, "the %s went away in mid-answer; ask again, or look at its log", daemon_of(console));
    }
}

int console_fetch(const struct console *console, const char *command, json_t *arguments, json_t **result)
{
    struct answer answer = {.console = console};
    int code = ask(console, command, arguments, &answer);
    json_decref(arguments);
    *result = NULL;
    if (code == EX_OK && answer.error) {
        json_int_t exit_code = json_integer_value(json_object_get(answer.error, "exit"));
        code = exit_code > 0 && exit_code < 256 ? (int)exit_code : EX_SOFTWARE;
        console_fail(console, code, "%s", json_string_value(json_object_get(answer.error, "error")));
    } else if (code == EX_OK && !answer.result) {
        code = console_fail(console, EX_SOFTWARE, "no answer to \"%s\"; is the %s that runs an older one? restart it", command, daemon_of(console));
    }
    json_decref(answer.error);
    if (code == EX_OK)
        *result = answer.result;
    else
        json_decref(answer.result);
    return code;
}

static int print_json(const json_t *result)
{
    json_dumpf(result, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
    fputc('\n', stdout);
    return fflush(stdout) == 0 ? EX_OK : EX_IOERR;
}

int console_show(const struct console *console, const json_t *result, void (*print)(FILE *out, const json_t *result))
{
    if (console->is_json)
        return print_json(result);
    if (print)
        print(stdout, result);
    return fflush(stdout) == 0 ? EX_OK : EX_IOERR;
}

int console_run(const struct console *console, const char *command, json_t *arguments, void (*print)(FILE *out, const json_t *result))
{
    json_t *result;
    int code = console_fetch(console, command, arguments, &result);
    if (code == EX_OK)
        code = console_show(console, result, print);
    json_decref(result);
    return code;
}

int console_queue_list(const struct console *console, bool all)
{
    json_t *whole = json_array(), *page;
    const char *after = NULL;
    int code;
    do {
        json_t *arguments = json_pack("{s:b, s:i, s:s?}", "all", all, "limit", QUEUE_PAGE, "after", after);
        code = console_fetch(console, "queue list", arguments, &page);
        if (code != EX_OK)
            break;
        json_array_extend(whole, page);
        after = json_string_value(json_object_get(json_array_get(whole, json_array_size(whole) - 1), "id"));
        bool is_last = json_array_size(page) < QUEUE_PAGE;
        json_decref(page);
        if (is_last)
            break;
    } while (after);
    if (code == EX_OK && console->is_json)
        code = print_json(whole);
    else if (code == EX_OK)
        console_print_queue(stdout, whole);
    json_decref(whole);
    return code;
}

/* ---- printing --------------------------------------------------------------------------------------------------- */

void console_print_text(FILE *out, const char *text)
{
    struct slice rest = slice_from_cstr(text);
    while (rest.len > 0) {
        uint32_t character = 0;
        size_t take = utf8_next(rest, &character);
        if (take > 0 && !utf8_is_control(character))
            fwrite(rest.ptr, 1, take, out);
        else
            fputc(character == '\n' ? ' ' : '?', out);
        rest = slice_skip(rest, take > 0 ? take : 1);
    }
}

enum { NUNITS = 5 };
static const char *const UNITS[NUNITS] = {"B", "KB", "MB", "GB", "TB"};

void console_format_size(json_int_t octets, char *out, size_t size)
{
    double value = (double)octets;
    size_t unit = 0;
    while (value >= 1000 && unit < NUNITS - 1) {
        value /= 1000;
        unit++;
    }
    snprintf(out, size, unit == 0 || value >= 100 ? "%.0f %s" : "%.1f %s", value, UNITS[unit]);
}

void console_format_progress(const json_t *progress, char *out, size_t size)
{
    double octets = (double)json_integer_value(json_object_get(progress, "octets")), of = (double)json_integer_value(json_object_get(progress, "of"));
    size_t unit = 0;
    while (of >= 1000 && unit < NUNITS - 1) {
        of /= 1000;
        octets /= 1000;
        unit++;
    }
    int digits = unit == 0 || of >= 100 ? 0 : 1;
    snprintf(out, size, "%.*f of %.*f %s", digits, octets, digits, of, UNITS[unit]);
}

const char *console_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static void print_cut(FILE *out, const char *text, size_t most)
{
    char cut[WORDS_SHOWN + 4];
    size_t len = strlen(text);
    if (len <= most) {
        console_print_text(out, text);
        return;
    }
    snprintf(cut, sizeof cut, "%.*s", (int)most, text);
    console_print_text(out, cut);
    fputs("...", out);
}

static void print_line(FILE *out, const json_t *entry)
{
    char size[16], progress[CONSOLE_PROGRESS];
    const json_t *to = json_object_get(entry, "to");
    const char *from = console_text(entry, "from");
    console_format_size(json_integer_value(json_object_get(entry, "size")), size, sizeof size);
    fprintf(out, "%s  %-9s %8s  %s  ", console_text(entry, "id"), console_text(entry, "state"), size, console_text(entry, "since"));
    console_print_text(out, *from ? from : "<>");
    fputs(" -> ", out);
    console_print_text(out, console_text(json_array_get(to, 0), "address"));
    if (json_array_size(to) > 1)
        fprintf(out, " and %zu more", json_array_size(to) - 1);
    fputc('\n', out);
    if (json_is_object(json_object_get(entry, "progress"))) {
        console_format_progress(json_object_get(entry, "progress"), progress, sizeof progress);
        fprintf(out, "               %s sent\n", progress);
    }
    if (*console_text(entry, "reason")) {
        fputs("               ", out);
        print_cut(out, console_text(entry, "reason"), WORDS_SHOWN);
        fputc('\n', out);
    }
}

void console_print_queue(FILE *out, const json_t *entries)
{
    size_t i;
    json_t *entry;
    if (json_array_size(entries) == 0)
        fputs("The queue is empty.\n", out);
    json_array_foreach((json_t *)(uintptr_t)entries, i, entry)
        print_line(out, entry);
}

static void print_field(FILE *out, const char *name, const char *text)
{
    if (!*text)
        return;
    fprintf(out, "%-13s ", name);
    console_print_text(out, text);
    fputc('\n', out);
}

static bool was_tried(const json_t *recipient)
{
    return json_integer_value(json_object_get(recipient, "attempts")) > 0;
}

static bool was_any_tried(const json_t *entry)
{
    size_t i;
    json_t *recipient;
    json_array_foreach(json_object_get(entry, "to"), i, recipient)
        if (was_tried(recipient))
            return true;
    return false;
}

static void print_recipient(FILE *out, const json_t *recipient)
{
    fprintf(out, "%-13s ", "to");
    console_print_text(out, console_text(recipient, "address"));
    fprintf(out, "  %s", console_text(recipient, "state"));
    if (*console_text(recipient, "at"))
        fprintf(out, " at %s", console_text(recipient, "at"));
    bool is_relayed = strcmp(console_text(recipient, "state"), "relayed") == 0, is_uncertain = strcmp(console_text(recipient, "state"), "uncertain") == 0;
    if (*console_text(recipient, "host") && !is_relayed) {
        fputs(is_uncertain ? ", perhaps taken by " : " by ", out);
        console_print_text(out, console_text(recipient, "host"));
    }
    fputc('\n', out);
    print_field(out, "", console_text(recipient, "reply"));
    if (is_relayed && *console_text(recipient, "host")) { /* who said that: the relay, or the server to which it hands on */
        fprintf(out, "%-13s said by ", "");
        console_print_text(out, console_text(recipient, "host"));
        fputc('\n', out);
    }
    print_field(out, "", console_text(recipient, "words"));
    if (!*console_text(recipient, "next"))
        return;
    const char *what = is_relayed ? "asked again" : is_uncertain || was_tried(recipient) ? "tried again" : "to be tried";
    fprintf(out, "%-13s %s at %s\n", "", what, console_text(recipient, "next"));
}

void console_print_entry(FILE *out, const json_t *entry)
{
    char size[16], progress[CONSOLE_PROGRESS] = "";
    size_t i;
    json_t *recipient;
    if (json_is_object(json_object_get(entry, "progress")))
        console_format_progress(json_object_get(entry, "progress"), progress, sizeof progress);
    console_format_size(json_integer_value(json_object_get(entry, "size")), size, sizeof size);
    print_field(out, "id", console_text(entry, "id"));
    print_field(out, "state", console_text(entry, "state"));
    print_field(out, "from", *console_text(entry, "from") ? console_text(entry, "from") : "<>");
    print_field(out, "account", console_text(entry, "account"));
    print_field(out, "size", size);
    print_field(out, "sent", progress);
    print_field(out, "since", console_text(entry, "since"));
    print_field(out, was_any_tried(entry) ? "next attempt" : "first attempt", console_text(entry, "next_attempt"));
    print_field(out, "reason", console_text(entry, "reason"));
    print_field(out, "expires", console_text(entry, "expires"));
    json_array_foreach(json_object_get(entry, "to"), i, recipient)
        print_recipient(out, recipient);
}

void console_print_done(FILE *out, const json_t *result)
{
    bool is_already = json_is_true(json_object_get(result, "already"));
    fprintf(out, "%s: %s\n", console_text(result, "id"), is_already ? "is held already" : "done");
}
