#include "smtp/reply.h"
#include "base/utf8.h"

#include <stdio.h>
#include <string.h>

enum {
    CODE_LEN = 4,          /* "250 " or "250-" */
    WRITTEN_LINE_MAX = 512, /* octets with CRLF: RFC 5321 4.5.3.1.5 */
    STATUS_TEXT = 24,
};

bool smtp_reply_is_positive(const struct smtp_reply *reply)
{
    return reply->code >= 200 && reply->code < 400;
}

bool smtp_reply_is_transient(const struct smtp_reply *reply)
{
    return reply->code >= 400 && reply->code < 500;
}

bool smtp_reply_is_permanent(const struct smtp_reply *reply)
{
    return reply->code >= 500 && reply->code < 600;
}

void smtp_status_format(struct smtp_status status, char *out, size_t size)
{
    if (size > 0)
        out[0] = '\0';
    if (status.class != 0)
        snprintf(out, size, "%u.%u.%u ", status.class, status.subject, status.detail);
}

/* ---- octets of text ---- */

static bool is_control(unsigned char c)
{
    return (c < 0x20 && c != '\t') || c == 0x7f;
}

/* At most max octets of s, never the half of a UTF-8 sequence. */
static struct slice cut_text(struct slice s, size_t max)
{
    if (s.len <= max)
        return s;
    for (size_t back = 0; back < 4 && back <= max; back++)
        if (((unsigned char)s.ptr[max - back] & 0xc0) != 0x80)
            return slice_take(s, max - back);
    return slice_take(s, max);
}

/* ---- writing ---- */

static enum result write_line(const struct smtp_reply *reply, const char *status, struct slice text, size_t line_max, bool is_last, struct buffer *out)
{
    char *at;
    size_t status_len = strlen(status);
    text = cut_text(text, line_max - CODE_LEN - 2 - status_len);
    size_t len = CODE_LEN + status_len + text.len + 2;
    enum result reserved = buffer_reserve(out, len, &at);
    if (reserved != RESULT_OK)
        return reserved;
    at[0] = (char)('0' + reply->code / 100 % 10);
    at[1] = (char)('0' + reply->code / 10 % 10);
    at[2] = (char)('0' + reply->code % 10);
    at[3] = is_last ? ' ' : '-';
    memcpy(at + CODE_LEN, status, status_len);
    char *put = at + CODE_LEN + status_len;
    for (size_t i = 0; i < text.len; i++)
        *put++ = is_control((unsigned char)text.ptr[i]) ? '?' : text.ptr[i];
    memcpy(put, "\r\n", 2);
    buffer_commit(out, len);
    return RESULT_OK;
}

static enum result write_reply(const struct smtp_reply *reply, size_t line_max, struct buffer *out)
{
    char status[STATUS_TEXT];
    struct slice line, rest = reply->text;
    size_t before = buffer_len(out);
    bool has_more;

    smtp_status_format(reply->status, status, sizeof status);
    do {
        has_more = slice_cut(rest, '\n', &line, &rest);
        enum result written = write_line(reply, status, line, line_max, !has_more, out);
        if (written != RESULT_OK) {
            buffer_truncate(out, before);
            return written;
        }
    } while (has_more);
    return RESULT_OK;
}

enum result smtp_reply_write(const struct smtp_reply *reply, struct buffer *out)
{
    return write_reply(reply, WRITTEN_LINE_MAX, out);
}

enum result smtp_reply_write_wide(const struct smtp_reply *reply, struct buffer *out)
{
    return write_reply(reply, SMTP_REPLY_LINE_MAX, out);
}

void smtp_reply_format(const struct smtp_reply *reply, char *out, size_t size)
{
    char status[STATUS_TEXT];
    struct slice line, rest = reply->text;

    if (size == 0)
        return;
    smtp_status_format(reply->status, status, sizeof status);
    int head = snprintf(out, size, "%03d %s", reply->code, status);
    size_t len = head < 0 ? 0 : (size_t)head < size ? (size_t)head : size - 1;
    for (bool has_more = true, is_first = true; has_more; is_first = false) {
        has_more = slice_cut(rest, '\n', &line, &rest);
        struct slice joint = is_first ? (struct slice){0} : slice_take(SLICE(" / "), size - 1 - len);
        if (joint.len > 0)
            memcpy(out + len, joint.ptr, joint.len);
        len += joint.len;
        line = cut_text(line, size - 1 - len);
        for (size_t i = 0; i < line.len; i++)
            out[len++] = line.ptr[i] == '\0' || is_control((unsigned char)line.ptr[i]) ? '?' : line.ptr[i];
    }
    while (len > 0 && out[len - 1] == ' ')
        len--;
    out[len] = '\0';
}

/* ---- parsing ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* RESULT_OK: *line without its end, *used octets with it. A line is judged when it is whole, so that it does not matter in which pieces it came. */
static enum result take_line(struct slice in, struct slice *line, size_t *used)
{
    struct slice window = slice_take(in, SMTP_REPLY_LINE_MAX);
    ptrdiff_t lf = slice_find(window, '\n');
    if (lf < 0)
        return in.len >= SMTP_REPLY_LINE_MAX ? RESULT_LIMIT : RESULT_MORE;
    *used = (size_t)lf + 1;
    *line = slice_take(in, lf > 0 && in.ptr[lf - 1] == '\r' ? (size_t)lf - 1 : (size_t)lf);
    return slice_find(*line, '\0') >= 0 || slice_find(*line, '\r') >= 0 ? RESULT_SYNTAX : RESULT_OK;
}

/* "250", "250 text" or "250-text"; the code alone is a line without text (RFC 5321 4.2). */
static bool is_reply_line(struct slice line)
{
    if (line.len < 3 || line.ptr[0] < '2' || line.ptr[0] > '5' || !is_digit(line.ptr[1]) || !is_digit(line.ptr[2]))
        return false;
    return line.len == 3 || line.ptr[3] == ' ' || line.ptr[3] == '-';
}

static bool take_number(struct slice *s, unsigned short *out)
{
    size_t len = 0;
    unsigned value = 0;
    while (len < s->len && len < 3 && is_digit(s->ptr[len]))
        value = value * 10 + (unsigned)(s->ptr[len++] - '0');
    *s = slice_skip(*s, len);
    *out = (unsigned short)value;
    return len > 0;
}

static bool take_dot(struct slice *s)
{
    bool has = s->len > 0 && s->ptr[0] == '.';
    *s = slice_skip(*s, has ? 1 : 0);
    return has;
}

/* RFC 3463 2 and RFC 2034 4: "class.subject.detail", then a space or the end. */
static bool take_status(struct slice *text, int code, struct smtp_status *out)
{
    struct slice s = *text;
    struct smtp_status status;
    if (!take_number(&s, &status.class) || !take_dot(&s) || !take_number(&s, &status.subject) || !take_dot(&s) || !take_number(&s, &status.detail))
        return false;
    if (status.class != code / 100 || status.class == 3 || (s.len > 0 && s.ptr[0] != ' '))
        return false;
    *text = slice_skip(s, 1);
    *out = status;
    return true;
}

/* Octets that may stand in logs, JSON and bounces; returns how many, which are no more than there were. */
static size_t clean(struct slice line, char *out)
{
    size_t n = 0;
    while (line.len > 0) {
        uint32_t character = 0;
        size_t len = utf8_next(line, &character);
        if (len == 0 || (utf8_is_control(character) && character != '\t')) {
            out[n++] = '?';
            len = len == 0 ? 1 : len;
        } else {
            memcpy(out + n, line.ptr, len);
            n += len;
        }
        line = slice_skip(line, len);
    }
    return n;
}

/* The line joins the text as far as there is room for it; what does not go there is dropped. */
static enum result keep_line(struct slice line, bool is_first, struct buffer *text)
{
    char *at;
    size_t room = SMTP_REPLY_TEXT_MAX - buffer_len(text), n = 0;
    if (room > buffer_room(text))
        room = buffer_room(text);
    if (room == 0)
        return RESULT_OK;
    bool was_empty = line.len == 0;
    line = cut_text(line, room - (is_first ? 0 : 1));
    if (line.len == 0 && !was_empty)
        return RESULT_OK;
    enum result reserved = buffer_reserve(text, line.len + (is_first ? 0 : 1), &at);
    if (reserved != RESULT_OK)
        return reserved;
    if (!is_first)
        at[n++] = '\n';
    buffer_commit(text, n + clean(line, at + n));
    return RESULT_OK;
}

static int code_of(struct slice line)
{
    return (line.ptr[0] - '0') * 100 + (line.ptr[1] - '0') * 10 + (line.ptr[2] - '0');
}

static enum result parse_line(struct slice line, bool is_first, struct buffer *text, struct smtp_reply *reply)
{
    struct smtp_status status;
    if (!is_reply_line(line) || (!is_first && code_of(line) != reply->code))
        return RESULT_SYNTAX;
    reply->code = code_of(line);
    struct slice rest = slice_skip(line, CODE_LEN);
    bool has_status = (is_first || reply->status.class != 0) && take_status(&rest, reply->code, &status);
    if (is_first && has_status)
        reply->status = status;
    return keep_line(rest, is_first, text);
}

static enum result parse_lines(struct slice in, struct buffer *text, struct smtp_reply *reply, size_t *used)
{
    for (size_t nlines = 0; nlines < SMTP_REPLY_LINES_MAX; nlines++) {
        struct slice line;
        size_t line_used = 0;
        enum result result = take_line(slice_skip(in, *used), &line, &line_used);
        if (result != RESULT_OK)
            return result == RESULT_MORE && *used >= SMTP_REPLY_MAX ? RESULT_LIMIT : result;
        *used += line_used;
        result = *used > SMTP_REPLY_MAX ? RESULT_LIMIT : parse_line(line, nlines == 0, text, reply);
        if (result != RESULT_OK || line.len == 3 || line.ptr[3] == ' ')
            return result;
    }
    return RESULT_LIMIT;
}

enum result smtp_reply_parse(struct slice in, struct buffer *text, struct smtp_reply *reply, size_t *used)
{
    *reply = (struct smtp_reply){0};
    *used = 0;
    buffer_clear(text);
    enum result parsed = parse_lines(in, text, reply, used);
    if (parsed == RESULT_OK)
        reply->text = buffer_slice(text);
    else
        *used = 0;
    return parsed;
}
