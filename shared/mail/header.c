#include "mail/header.h"

#include <string.h>

/* Octets of the line at the front with its CRLF; all when there is none. */
static size_t line_len(struct slice s)
{
    size_t from = 0;
    for (;;) {
        ptrdiff_t lf = slice_find(slice_skip(s, from), '\n');
        if (lf < 0)
            return s.len;
        from += (size_t)lf + 1;
        if (from >= 2 && s.ptr[from - 2] == '\r')
            return from;
    }
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* RFC 5322 2.2: printable ASCII without the colon; 4.5: then perhaps white space. */
static bool split_name(struct slice line, struct slice *name, size_t *colon)
{
    size_t end = 0;
    while (end < line.len && line.ptr[end] > ' ' && line.ptr[end] <= '~' && line.ptr[end] != ':')
        end++;
    *name = slice_take(line, end);
    while (end < line.len && is_blank(line.ptr[end]))
        end++;
    *colon = end;
    return name->len > 0 && end < line.len && line.ptr[end] == ':';
}

static bool is_empty_line(struct slice s)
{
    return slice_starts_with(s, SLICE("\r\n"));
}

enum result header_next(struct slice *rest, struct header_field *out)
{
    size_t colon;
    if (rest->len == 0 || is_empty_line(*rest))
        return RESULT_NOT_FOUND;
    size_t len = line_len(*rest);
    if (!split_name(slice_take(*rest, len), &out->name, &colon))
        return RESULT_SYNTAX;
    while (len < rest->len && is_blank(rest->ptr[len]))
        len += line_len(slice_skip(*rest, len));
    out->raw = slice_take(*rest, len);
    out->value = slice_skip(out->raw, colon + 1);
    if (out->value.len >= 2 && memcmp(out->value.ptr + out->value.len - 2, "\r\n", 2) == 0)
        out->value.len -= 2;
    *rest = slice_skip(*rest, len);
    return RESULT_OK;
}

bool header_find(struct slice header, struct slice name, struct header_field *out)
{
    while (header_next(&header, out) == RESULT_OK)
        if (slice_equal_nocase(out->name, name))
            return true;
    return false;
}

size_t header_section_len(struct slice message)
{
    size_t len = 0;
    while (len < message.len && !is_empty_line(slice_skip(message, len)))
        len += line_len(slice_skip(message, len));
    return len;
}

/* Eight octets at a time: whole bodies pass through here. */
bool mail_has_8bit(struct slice text)
{
    static const uint64_t high_bits = UINT64_C(0x8080808080808080);
    uint64_t eight;
    for (; text.len >= sizeof eight; text = slice_skip(text, sizeof eight)) {
        memcpy(&eight, text.ptr, sizeof eight);
        if (eight & high_bits)
            return true;
    }
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] & 0x80)
            return true;
    return false;
}
