#include "config/url.h"

#include "net/address.h"

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Into the arena, with a NUL behind it. A decoded control character is refused: no user name or password has one. */
static enum result percent_decode(struct arena *arena, struct slice text, struct slice *out)
{
    char *to = arena_alloc(arena, text.len + 1);
    size_t len = 0;
    if (!to)
        return RESULT_MEMORY;
    for (size_t i = 0; i < text.len; i++) {
        int value = (unsigned char)text.ptr[i];
        if (value == '%') {
            int high = i + 2 < text.len ? hex_digit(text.ptr[i + 1]) : -1;
            int low = i + 2 < text.len ? hex_digit(text.ptr[i + 2]) : -1;
            if (high < 0 || low < 0)
                return RESULT_SYNTAX;
            value = high * 16 + low;
            i += 2;
        }
        if (value < 32 || value == 127)
            return RESULT_SYNTAX;
        to[len++] = (char)value;
    }
    to[len] = '\0';
    *out = slice_of(to, len);
    return RESULT_OK;
}

static enum result parse_credentials(struct config_value *value, struct slice text, struct config_url *url)
{
    struct slice user, password;
    if (!slice_cut(text, ':', &user, &password) || user.len == 0 || password.len == 0) {
        value->why = "before the @ stand USER:PASSWORD; write @ as %40, : as %3A, / as %2F, % as %25";
        return RESULT_SYNTAX;
    }
    enum result result = percent_decode(value->arena, user, &url->user);
    if (result == RESULT_OK)
        result = percent_decode(value->arena, password, &url->password);
    if (result == RESULT_SYNTAX)
        value->why = "user or password hold a % without two hex digits behind it, or a control character";
    return result;
}

static const struct config_url_scheme *find_scheme(struct slice text, const struct config_url_scheme *schemes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (slice_starts_with_nocase(text, schemes[i].prefix))
            return &schemes[i];
    return NULL;
}

enum result config_url_parse(struct config_value *value, const struct config_url_scheme *schemes, size_t n, const char *prefixes, struct config_url *out)
{
    const struct config_url_scheme *scheme = find_scheme(value->text, schemes, n);
    struct slice host;
    *out = (struct config_url){0};
    if (!scheme) {
        value->why = prefixes;
        return RESULT_SYNTAX;
    }
    out->scheme = scheme->value;
    out->port = scheme->port;
    struct slice rest = slice_skip(value->text, scheme->prefix.len);
    ptrdiff_t at = slice_find_last(rest, '@');
    if (at >= 0) {
        enum result result = parse_credentials(value, slice_take(rest, (size_t)at), out);
        if (result != RESULT_OK)
            return result;
        rest = slice_skip(rest, (size_t)at + 1);
    }
    if (slice_ends_with_nocase(rest, SLICE("/")))
        rest = slice_take(rest, rest.len - 1);
    if (net_host_port_parse(rest, &host, &out->port) != RESULT_OK || host.len == 0 || out->port == 0) {
        value->why = "host and port are not well-formed";
        return RESULT_SYNTAX;
    }
    return arena_copy(value->arena, host, &out->host);
}
