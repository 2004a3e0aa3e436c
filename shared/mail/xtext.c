#include "mail/xtext.h"

#include "base/utf8.h"

/* RFC 3461 4: "!" to "~" but "+" and "=". */
static bool is_xchar(char c)
{
    return c >= '!' && c <= '~' && c != '+' && c != '=';
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* One octet off the front; false: the end, or no xtext. */
static bool take_octet(struct slice *rest, char *out)
{
    if (rest->len == 0)
        return false;
    *out = rest->ptr[0];
    if (is_xchar(*out)) {
        *rest = slice_skip(*rest, 1);
        return true;
    }
    if (*out != '+' || rest->len < 3)
        return false;
    int high = hex_value(rest->ptr[1]), low = hex_value(rest->ptr[2]);
    if (high < 0 || low < 0)
        return false;
    *out = (char)(high << 4 | low);
    *rest = slice_skip(*rest, 3);
    return true;
}

bool xtext_is_valid(struct slice xtext)
{
    char octet;
    while (take_octet(&xtext, &octet))
        ;
    return xtext.len == 0;
}

enum result xtext_encode(struct slice text, struct buffer *out)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t len = buffer_len(out);
    enum result result = RESULT_OK;
    for (size_t i = 0; i < text.len && result == RESULT_OK; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        const char escaped[3] = {'+', hex[c >> 4], hex[c & 15]};
        result = buffer_append(out, is_xchar(text.ptr[i]) ? slice_of(text.ptr + i, 1) : slice_of(escaped, 3));
    }
    if (result != RESULT_OK)
        buffer_truncate(out, len);
    return result;
}

enum result xtext_decode(struct slice xtext, struct buffer *out)
{
    size_t len = buffer_len(out);
    char octet;
    enum result result = xtext_is_valid(xtext) ? RESULT_OK : RESULT_SYNTAX;
    while (result == RESULT_OK && take_octet(&xtext, &octet))
        result = buffer_append(out, slice_of(&octet, 1));
    if (result != RESULT_OK)
        buffer_truncate(out, len);
    return result;
}

static bool is_atom(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!((s.ptr[i] | 0x20) >= 'a' && (s.ptr[i] | 0x20) <= 'z') && !(s.ptr[i] >= '0' && s.ptr[i] <= '9') && s.ptr[i] != '-')
            return false;
    return s.len > 0;
}

/* RFC 6533 3: "\x{20AC}". The number is not judged further: it is passed on as it stands, never decoded. */
static size_t embedded_character(struct slice s)
{
    ptrdiff_t end = slice_find(s, '}');
    if (!slice_starts_with(s, SLICE("\\x{")) || end < 5 || end > 9)
        return 0;
    for (ptrdiff_t i = 3; i < end; i++)
        if (hex_value(s.ptr[i]) < 0)
            return 0;
    return (size_t)end + 1;
}

/* utf-8-addr-xtext, and where SMTPUTF8 was given utf-8-addr-unitext: UTF-8 as it is, and "\x{...}". Both exclude "\" itself. */
static bool utf8_address_is_valid(struct slice s, bool allow_utf8)
{
    while (s.len > 0) {
        uint32_t character;
        size_t len = is_xchar(s.ptr[0]) && s.ptr[0] != '\\' ? 1 : embedded_character(s);
        if (len == 0 && allow_utf8 && (s.ptr[0] & 0x80)) {
            len = utf8_next(s, &character);
            len = len > 0 && utf8_is_control(character) ? 0 : len;
        }
        if (len == 0)
            return false;
        s = slice_skip(s, len);
    }
    return true;
}

bool orcpt_is_valid(struct slice orcpt, bool allow_utf8)
{
    struct slice type, address;
    if (!slice_cut(orcpt, ';', &type, &address) || !is_atom(type) || address.len == 0)
        return false;
    if (slice_equal_nocase(type, SLICE("utf-8")))
        return utf8_address_is_valid(address, allow_utf8);
    return xtext_is_valid(address);
}
