#include "smtp/stuff.h"

#include <string.h>

/* The octets of one line, without its LF: no NUL, and a CR only as the last. */
static bool is_clean(struct slice line, bool has_lf)
{
    ptrdiff_t cr = slice_find(line, '\r');
    if (cr >= 0 && (size_t)cr + 1 < line.len)
        return false;
    return slice_find(line, '\0') < 0 && (!has_lf || cr >= 0);
}

/* One line or a part of it from the front of *rest. False: it breaks the rules. */
static bool take_line(struct smtp_stuff *stuff, struct slice *rest)
{
    struct slice line;
    if (stuff->at == SMTP_STUFF_AFTER_CR) {
        bool is_lf = rest->ptr[0] == '\n';
        *rest = slice_skip(*rest, 1);
        stuff->at = SMTP_STUFF_LINE_START;
        return is_lf;
    }
    bool has_lf = slice_cut(*rest, '\n', &line, rest);
    if (!is_clean(line, has_lf))
        return false;
    if (has_lf)
        stuff->at = SMTP_STUFF_LINE_START;
    else
        stuff->at = line.ptr[line.len - 1] == '\r' ? SMTP_STUFF_AFTER_CR : SMTP_STUFF_IN_LINE;
    return true;
}

enum result smtp_stuff_check(struct smtp_stuff *stuff, struct slice octets, bool is_last)
{
    while (octets.len > 0)
        if (!take_line(stuff, &octets))
            return RESULT_SYNTAX;
    return is_last && stuff->at == SMTP_STUFF_AFTER_CR ? RESULT_SYNTAX : RESULT_OK;
}

/* Copies in runs: a run ends where a dot has to be put in, which is rare. */
static enum result write_runs(struct smtp_stuff *stuff, struct slice octets, struct buffer *out)
{
    struct slice rest = octets;
    const char *run = octets.ptr, *end = octets.ptr + octets.len;
    enum result result = stuff->at == SMTP_STUFF_AFTER_CR ? buffer_append(out, SLICE("\r")) : RESULT_OK;
    while (rest.len > 0 && result == RESULT_OK) {
        if (stuff->at == SMTP_STUFF_LINE_START && rest.ptr[0] == '.') {
            result = buffer_append(out, slice_of(run, (size_t)(rest.ptr - run) + 1));
            run = rest.ptr;
        }
        if (!take_line(stuff, &rest))
            return RESULT_SYNTAX;
    }
    if (result == RESULT_OK)
        result = buffer_append(out, slice_of(run, (size_t)(end - run) - (stuff->at == SMTP_STUFF_AFTER_CR ? 1 : 0)));
    return result;
}

enum result smtp_stuff_write(struct smtp_stuff *stuff, struct slice octets, struct buffer *out)
{
    size_t before = buffer_len(out);
    if (octets.len == 0)
        return RESULT_OK;
    enum result written = write_runs(stuff, octets, out);
    if (written != RESULT_OK)
        buffer_truncate(out, before);
    return written;
}

enum result smtp_stuff_end(struct smtp_stuff *stuff, struct buffer *out)
{
    if (stuff->at == SMTP_STUFF_AFTER_CR)
        return RESULT_SYNTAX;
    bool is_line_open = stuff->at == SMTP_STUFF_IN_LINE;
    stuff->at = SMTP_STUFF_LINE_START;
    return buffer_append(out, is_line_open ? SLICE("\r\n.\r\n") : SLICE(".\r\n"));
}
