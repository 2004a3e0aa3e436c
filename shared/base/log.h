/* The log: one event, one line, key=value.
 *
 *   log_event(log, LOG_INFO, "deferred", LOG_STR("item", id), LOG_INT("delay_ms", 420), LOG_TEXT("reason", why));
 *
 * Every line about a message carries item=, so that one grep tells its life. Values are quoted when they hold anything
 * but plain characters; control characters, quotes and octets that are not UTF-8 are escaped as \xNN, so that nobody outside
 * can forge a line. Secrets and bodies never come here. Levels: error needs a person, warning may, info is the mail
 * log, debug is for us.
 *
 * A struct log is a value with a sink; NULL is a log that drops everything. This file writes nowhere itself: the
 * program sets the sink (stderr, a test's list). The sink gets one whole line with its line feed, and may be called
 * from any thread. */
#ifndef POSTERN_BASE_LOG_H
#define POSTERN_BASE_LOG_H

#include "base/slice.h"

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };
const char *log_level_name(enum log_level level);

struct log {
    _Atomic enum log_level level; /* events above it are dropped; a reload may change it while other threads write */
    void (*sink)(void *context, enum log_level level, struct slice line);
    void *context;
};

struct log_field {
    const char *key; /* NULL: no field */
    enum { LOG_FIELD_TEXT, LOG_FIELD_NUMBER } kind;
    struct slice text;
    int64_t number;
};

#define LOG_STR(k, s) ((struct log_field){.key = (k), .kind = LOG_FIELD_TEXT, .text = (s)})
#define LOG_TEXT(k, cstr) ((struct log_field){.key = (k), .kind = LOG_FIELD_TEXT, .text = slice_from_cstr(cstr)})
#define LOG_INT(k, n) ((struct log_field){.key = (k), .kind = LOG_FIELD_NUMBER, .number = (int64_t)(n)})

enum { LOG_LINE_MAX = 2048 }; /* octets with the line feed; a longer event is cut at a field and ends in " cut=1" */

/* event is a short word or two with dashes: "message-queued". */
#define log_event(log, level, event, ...)                                                                              \
    log_write(log, level, event, (const struct log_field[]){__VA_ARGS__ __VA_OPT__(, ){0}})
void log_write(const struct log *log, enum log_level level, const char *event, const struct log_field *fields);

#endif
