/* As much of HTTP as the challenge needs: one answer with one body, from whoever sits at the relay's port 80 today. Pure; looks at all that has come each time, for that is little. */
#include "net/challenge_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { STATUS_OK = 200, STATUS_BUSY = 503, STATUS_LOGIN = 511 /* RFC 6585 6 */, LOCATION_MAX = 120 };

struct answer_head {
    uint64_t status;
    bool has_length, is_in_pieces;
    uint64_t length;
    struct slice location;
    struct slice rest; /* behind the empty line */
};

static enum challenge_reading PRINTF_LIKE(2, 3) portal(char words[static CHALLENGE_WORDS], const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(words, CHALLENGE_WORDS, format, arguments);
    va_end(arguments);
    return CHALLENGE_READ_PORTAL;
}

/* The line at the front of *in without its end, CRLF or LF (RFC 9112 2.2). False: it has no end yet. */
static bool line_next(struct slice *in, struct slice *line)
{
    struct slice rest;
    if (!slice_cut(*in, '\n', line, &rest))
        return false;
    if (line->len > 0 && line->ptr[line->len - 1] == '\r')
        line->len--;
    *in = rest;
    return true;
}

/* "HTTP/1.1 200 OK", "HTTP/1.0 302" */
static bool status_parse(struct slice line, uint64_t *status)
{
    static const struct slice VERSIONS[] = {SLICE("HTTP/1.0 "), SLICE("HTTP/1.1 ")};
    if (!slice_starts_with(line, VERSIONS[0]) && !slice_starts_with(line, VERSIONS[1]))
        return false;
    line = slice_skip(line, VERSIONS[0].len);
    return slice_to_u64(slice_take(line, 3), 599, status) && *status >= 100 && (line.len == 3 || (line.len > 3 && line.ptr[3] == ' '));
}

/* False: the relay would not send this. */
static bool header_parse(struct slice line, struct answer_head *head)
{
    struct slice name, value;
    uint64_t length;
    if (!slice_cut(line, ':', &name, &value) || name.len == 0 || slice_find(name, ' ') >= 0)
        return false;
    value = slice_trim(value);
    if (slice_equal_nocase(name, SLICE("Content-Length"))) {
        if (!slice_to_u64(value, CHALLENGE_ANSWER_MAX, &length) || (head->has_length && head->length != length))
            return false;
        head->has_length = true;
        head->length = length;
    } else if (slice_equal_nocase(name, SLICE("Transfer-Encoding"))) {
        head->is_in_pieces = true;
    } else if (slice_equal_nocase(name, SLICE("Location"))) {
        head->location = value;
    }
    return true;
}

/* RESULT_MORE; RESULT_SYNTAX. The status stands as soon as its line does. */
static enum result head_parse(struct slice in, struct answer_head *head)
{
    struct slice line;
    if (!line_next(&in, &line))
        return RESULT_MORE;
    if (!status_parse(line, &head->status))
        return RESULT_SYNTAX;
    while (line_next(&in, &line)) {
        if (line.len == 0) {
            head->rest = in;
            return RESULT_OK;
        }
        /* Of what is no 200 only the Location is wanted. */
        if (!header_parse(line, head) && head->status == STATUS_OK)
            return RESULT_SYNTAX;
    }
    return RESULT_MORE;
}

/* Where it sends us, for a person to read: what is not plain is a question mark. */
static void location_format(struct slice location, char out[static LOCATION_MAX])
{
    size_t len = 0;
    for (; len < location.len && len < LOCATION_MAX - 1; len++)
        out[len] = location.ptr[len] > ' ' && location.ptr[len] <= '~' ? location.ptr[len] : '?';
    out[len] = '\0';
}

static enum challenge_reading other_status(const struct answer_head *head, char words[static CHALLENGE_WORDS])
{
    char location[LOCATION_MAX];
    location_format(head->location, location);
    if (head->status == STATUS_BUSY) {
        snprintf(words, CHALLENGE_WORDS, "it is too busy to answer (HTTP 503)");
        return CHALLENGE_READ_BUSY;
    }
    if (head->status == STATUS_LOGIN)
        return portal(words, "it says that a login is required (HTTP 511)");
    if (head->status / 100 == 3 && location[0])
        return portal(words, "it sends to %s (HTTP %u)", location, (unsigned)head->status);
    return portal(words, "it answers with HTTP %u", (unsigned)head->status);
}

static enum challenge_reading body_read(const struct answer_head *head, enum challenge_end end, struct slice *body, char words[static CHALLENGE_WORDS])
{
    struct challenge_body parts;
    *body = head->has_length ? slice_take(head->rest, head->length) : head->rest;
    bool is_whole = head->has_length ? body->len == head->length : end == CHALLENGE_ENDED;
    if (head->is_in_pieces || !challenge_body_begins(*body) || body->len > CHALLENGE_ANSWER_MAX || (is_whole && !challenge_body_parse(*body, &parts)))
        return portal(words, "it answers with a page of its own (HTTP 200)");
    return is_whole ? CHALLENGE_READ_BODY : CHALLENGE_READ_MORE;
}

enum challenge_reading challenge_read(struct slice in, enum challenge_end end, struct slice *body, char words[static CHALLENGE_WORDS])
{
    static const struct slice BEGIN = SLICE("HTTP/1.");
    struct answer_head head = {0};
    *body = (struct slice){0};
    words[0] = '\0';
    if (!slice_equal(slice_take(in, BEGIN.len), slice_take(BEGIN, in.len)))
        return portal(words, "it does not answer in HTTP");
    struct slice front = slice_take(in, CHALLENGE_HEADERS_MAX);
    enum result parsed = head_parse(front, &head);
    if (parsed == RESULT_OK) /* the body may reach beyond */
        head.rest = slice_skip(in, front.len - head.rest.len);
    if (parsed == RESULT_SYNTAX || (parsed == RESULT_MORE && in.len > CHALLENGE_HEADERS_MAX))
        return portal(words, "it answers in broken HTTP");
    if (head.status != 0 && head.status != STATUS_OK && (parsed == RESULT_OK || end != CHALLENGE_GOES_ON))
        return other_status(&head, words);
    return parsed == RESULT_OK ? body_read(&head, end, body, words) : CHALLENGE_READ_MORE;
}
