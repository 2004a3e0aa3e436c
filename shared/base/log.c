#include "base/log.h"

#include "base/utf8.h"

#include <stdio.h>
#include <string.h>

struct line {
    char text[LOG_LINE_MAX];
    size_t len;
    bool is_full;
};

static const char LINE_CUT[] = " cut=1";
enum { LINE_ROOM = LOG_LINE_MAX - sizeof LINE_CUT }; /* leaves room for the mark and the line feed */

const char *log_level_name(enum log_level level)
{
    switch (level) {
    case LOG_ERROR: return "error";
    case LOG_WARNING: return "warning";
    case LOG_INFO: return "info";
    case LOG_DEBUG: return "debug";
    }
    return "unknown";
}

static void add(struct line *line, const char *text, size_t len)
{
    if (line->is_full || len > LINE_ROOM - line->len) {
        line->is_full = true;
        return;
    }
    memcpy(line->text + line->len, text, len);
    line->len += len;
}

/* Octets of a character above ASCII that a person can read as it is, or 0. */
static size_t printable_utf8(struct slice s)
{
    uint32_t character;
    size_t len = utf8_next(s, &character);
    return len > 1 && !utf8_is_control(character) ? len : 0;
}

static bool is_plain(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c <= ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '=')
            return false;
    }
    return s.len > 0;
}

static void add_escaped(struct line *line, struct slice s)
{
    while (s.len > 0 && !line->is_full) {
        unsigned char c = (unsigned char)s.ptr[0];
        size_t take = 1;
        if (c == '"' || c == '\\') {
            add(line, (char[]){'\\', (char)c}, 2);
        } else if (c >= ' ' && c < 0x7f) {
            add(line, s.ptr, 1);
        } else if ((take = printable_utf8(s)) > 0) {
            add(line, s.ptr, take);
        } else {
            char hex[5];
            take = 1;
            snprintf(hex, sizeof hex, "\\x%02x", c);
            add(line, hex, 4);
        }
        s = slice_skip(s, take);
    }
}

static void add_field(struct line *line, const struct log_field *field)
{
    add(line, " ", 1);
    add(line, field->key, strlen(field->key));
    add(line, "=", 1);
    if (field->kind == LOG_FIELD_NUMBER) {
        char digits[24];
        int len = snprintf(digits, sizeof digits, "%lld", (long long)field->number);
        add(line, digits, (size_t)len);
    } else if (is_plain(field->text)) {
        add(line, field->text.ptr, field->text.len);
    } else {
        add(line, "\"", 1);
        add_escaped(line, field->text);
        add(line, "\"", 1);
    }
}

void log_write(const struct log *log, enum log_level level, const char *event, const struct log_field *fields)
{
    struct line line = {.len = 0};
    if (!log || !log->sink || level > log->level)
        return;
    add(&line, "level=", 6);
    add(&line, log_level_name(level), strlen(log_level_name(level)));
    add(&line, " event=", 7);
    add(&line, event, strlen(event));
    for (; fields->key; fields++) {
        size_t before = line.len;
        add_field(&line, fields);
        if (line.is_full) {
            line.len = before;
            memcpy(line.text + line.len, LINE_CUT, sizeof LINE_CUT - 1);
            line.len += sizeof LINE_CUT - 1;
            break;
        }
    }
    line.text[line.len++] = '\n';
    log->sink(log->context, level, slice_of(line.text, line.len));
}
