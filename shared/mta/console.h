/* The command line of both programs: a command is asked of the running daemon over its control socket, or done right here when no daemon runs; the result is printed for
 * people, or as JSON with --json. Errors go to stderr as "PROGRAM: words", and the exit code is of sysexits. */
#ifndef POSTERN_MTA_CONSOLE_H
#define POSTERN_MTA_CONSOLE_H

#include "base/result.h"
#include "config/dirs.h"

#include <jansson.h>

#include <stdbool.h>
#include <stdio.h>

struct console {
    const char *program; /* "postern-relay" */
    const char *socket;  /* the control socket's path */
    const struct dirs *dirs; /* for hints; NULL: they name no folder */
    bool is_json;
    /* Does the command in this process (control_call_local on a store it opens), giving on_line each line; returns EX_OK when a line with a result or an error was given, else an
     * exit code, having said why on stderr. NULL: the command needs a daemon. */
    int (*local)(void *context, const char *command, const json_t *arguments, void (*on_line)(void *, const json_t *), void *line_context);
    void *context;
    /* For lines that come before the end; may be NULL. */
    void (*progress)(void *context, const json_t *progress);
    void *progress_context;
};

/* Takes arguments' reference. print gets the result when it is not wanted as JSON; NULL prints nothing. Returns the exit code. */
int console_run(const struct console *console, const char *command, json_t *arguments, void (*print)(FILE *out, const json_t *result));
/* The same, with the result handed out (a new reference, or NULL) in place of printing. */
int console_fetch(const struct console *console, const char *command, json_t *arguments, json_t **result);
/* Prints a result, as JSON where that is wanted; borrowed. Returns the exit code. */
int console_show(const struct console *console, const json_t *result, void (*print)(FILE *out, const json_t *result));
/* The queue, all pages of it. */
int console_queue_list(const struct console *console, bool all);

/* What a result that ends a program is to whoever started it (sysexits). */
int console_exit_code(enum result result);
/* "PROGRAM: words" on stderr; returns exit_code. */
int console_fail(const struct console *console, int exit_code, const char *format, ...) PRINTF_LIKE(3, 4);

/* The member's text; "" where there is none. */
const char *console_text(const json_t *object, const char *key);

/* Printers. Text that came from outside is shown with control characters replaced: a listing must not be able to drive a terminal. */
void console_print_text(FILE *out, const char *text);
void console_print_queue(FILE *out, const json_t *entries);
void console_print_entry(FILE *out, const json_t *entry);
void console_print_done(FILE *out, const json_t *result); /* "0d5r8k3mzq1vt: done", or "is held already" */
/* Of {"octets", "of"}: "12.3 of 20.0 MB" */
enum { CONSOLE_PROGRESS = 48 }; /* octets that it needs */
void console_format_progress(const json_t *progress, char *out, size_t size);
/* "3.4 KB" */
void console_format_size(json_int_t octets, char *out, size_t size);

#endif
