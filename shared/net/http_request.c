#include "net/http_request.h"

#include <string.h>

/* RFC 9110 9.3, RFC 5789, RFC 9113 3.4 (the preface of HTTP/2, spoken by who did not heed ALPN), RFC 4918 9.1. */
static const char *const methods[] = {"GET ", "HEAD ", "POST ", "PUT ", "DELETE ", "CONNECT ", "OPTIONS ", "TRACE ", "PATCH ", "PRI ", "PROPFIND "};

enum result http_request_begins(struct slice in)
{
    bool may_become = false;
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        struct slice method = slice_from_cstr(methods[i]);
        if (slice_starts_with(in, method))
            return RESULT_OK;
        may_become = may_become || slice_starts_with(method, in);
    }
    return may_become ? RESULT_MORE : RESULT_SYNTAX;
}

/* ---- the request line ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* RFC 9110 5.6.2 */
static bool is_token(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!is_digit(s.ptr[i]) && !is_letter(s.ptr[i]) && (s.ptr[i] == '\0' || !strchr("!#$%&'*+-.^_`|~", s.ptr[i])))
            return false;
    return s.len > 0;
}

static bool is_visible(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] < 0x21 || s.ptr[i] > 0x7e)
            return false;
    return s.len > 0;
}

static enum result parse_version(struct slice text)
{
    if (text.len != 8 || !slice_starts_with(text, SLICE("HTTP/")) || !is_digit(text.ptr[5]) || text.ptr[6] != '.' || !is_digit(text.ptr[7]))
        return RESULT_SYNTAX;
    return text.ptr[5] == '1' ? RESULT_OK : RESULT_VERSION;
}

/* "/path?query", "http://host/path?query" (RFC 9112 3.2.2: to be taken from anybody), or what we look no further into. */
static void split_target(struct slice target, struct http_request *out)
{
    static const struct slice scheme = {"http://", 7};
    if (slice_starts_with_nocase(target, scheme)) {
        target = slice_skip(target, scheme.len);
        while (target.len > 0 && target.ptr[0] != '/')
            target = slice_skip(target, 1);
    }
    slice_cut(target, '?', &out->path, &out->query);
}

static enum result parse_request_line(struct slice line, struct http_request *out)
{
    struct slice target, version, rest;
    if (!slice_cut(line, ' ', &out->method, &rest) || !slice_cut(rest, ' ', &target, &version))
        return RESULT_SYNTAX;
    if (!is_token(out->method) || out->method.len > HTTP_METHOD_MAX || !is_visible(target))
        return RESULT_SYNTAX;
    split_target(target, out);
    return parse_version(version);
}

/* ---- the fields ---- */

static bool is_value(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((s.ptr[i] >= 0 && s.ptr[i] < 0x20 && s.ptr[i] != '\t') || s.ptr[i] == 0x7f)
            return false;
    return true;
}

/* A blank at the front would be a folded line (RFC 9112 5.2), and one before the colon a way to smuggle (5.1): neither is a token. */
static bool parse_field(struct slice line, unsigned *hosts)
{
    struct slice name, value;
    if (!slice_cut(line, ':', &name, &value) || !is_token(name) || !is_value(value))
        return false;
    *hosts += slice_equal_nocase(name, SLICE("Host"));
    return true;
}

/* The line before the next CRLF. RESULT_SYNTAX: a CR or LF that is none. */
static enum result take_line(struct slice in, size_t *at, struct slice *line)
{
    struct slice rest = slice_skip(in, *at);
    for (size_t i = 0; i < rest.len; i++) {
        if (rest.ptr[i] == '\n')
            return RESULT_SYNTAX;
        if (rest.ptr[i] != '\r')
            continue;
        if (i + 1 == rest.len)
            return RESULT_MORE;
        if (rest.ptr[i + 1] != '\n')
            return RESULT_SYNTAX;
        *line = slice_take(rest, i);
        *at += i + 2;
        return RESULT_OK;
    }
    return RESULT_MORE;
}

static enum result parse_fields(struct slice in, size_t *at, unsigned *hosts)
{
    struct slice line;
    enum result result;
    while ((result = take_line(in, at, &line)) == RESULT_OK && line.len > 0)
        if (!parse_field(line, hosts))
            return RESULT_SYNTAX;
    return result;
}

enum result http_request_parse(struct slice in, struct http_request *out)
{
    struct slice line;
    struct slice seen = slice_take(in, HTTP_REQUEST_MAX);
    unsigned hosts = 0;
    *out = (struct http_request){0};
    enum result result = take_line(seen, &out->len, &line);
    if (result == RESULT_OK)
        result = parse_request_line(line, out);
    if (result == RESULT_OK)
        result = parse_fields(seen, &out->len, &hosts);
    if (result == RESULT_MORE && seen.len == HTTP_REQUEST_MAX)
        return RESULT_LIMIT;
    /* RFC 9112 3.2: exactly one Host; HTTP/1.0 had none. */
    if (result == RESULT_OK && (hosts > 1 || (hosts == 0 && line.ptr[line.len - 1] != '0')))
        return RESULT_SYNTAX;
    return result;
}
