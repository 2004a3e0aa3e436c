/* Paths from their text. What is parsed is written again and compared: so there is one text for each path, and nothing else is accepted. */
#include "path/path.h"

/* A number in decimal, up to max. */
static bool parse_number(struct slice text, uint64_t max, uint64_t *out)
{
    return text.len <= 10 && slice_to_u64(text, max, out);
}

/* "192.0.2.1:465", "[2001:db8::1]:465", "*:465". */
static bool parse_endpoint(struct slice text, struct path_address *address, uint16_t *port)
{
    uint64_t number;
    ptrdiff_t colon = slice_find_last(text, ':');
    if (colon <= 0 || !parse_number(slice_skip(text, (size_t)colon + 1), UINT16_MAX, &number))
        return false;
    struct slice host = slice_take(text, (size_t)colon);
    *port = (uint16_t)number;
    *address = (struct path_address){0};
    if (slice_equal(host, SLICE("*")))
        return true;
    if (host.len > 2 && host.ptr[0] == '[')
        host = slice_take(slice_skip(host, 1), host.len - 2);
    return path_address_parse(host, address);
}

static bool parse_mode(struct slice text, enum path_mode *out)
{
    *out = slice_equal(text, SLICE("tls")) ? PATH_TLS : PATH_STARTTLS;
    return *out == PATH_TLS || slice_equal(text, SLICE("starttls"));
}

static bool parse_via(struct slice text, struct path *out)
{
    struct slice via;
    slice_cut(text, ' ', &via, &text);
    out->via = slice_equal(via, SLICE("socks5")) ? PATH_SOCKS5 : PATH_HTTP_CONNECT;
    return (out->via == PATH_SOCKS5 || slice_equal(via, SLICE("http-connect"))) && parse_endpoint(text, &out->proxy.address, &out->proxy.port);
}

static bool parse_path(struct slice text, struct path *out)
{
    struct slice word;
    *out = (struct path){0};
    slice_cut(text, ' ', &word, &text);
    if (!parse_endpoint(word, &out->address, &out->port))
        return false;
    slice_cut(text, ' ', &word, &text);
    if (!parse_mode(word, &out->mode))
        return false;
    slice_cut(text, ' ', &word, &text);
    if (slice_equal(word, SLICE("smtp")) || slice_equal(word, SLICE("http/1.1"))) {
        out->alpn = word.ptr[0] == 's' ? PATH_ALPN_SMTP : PATH_ALPN_HTTP;
        slice_cut(text, ' ', &word, &text);
    }
    return word.len == 0 || (slice_equal(word, SLICE("via")) && parse_via(text, out));
}

enum result path_parse(struct slice text, struct path *out)
{
    char again[PATH_TEXT];
    if (text.len >= sizeof again || !parse_path(text, out))
        return RESULT_SYNTAX;
    path_format(out, again, sizeof again);
    return slice_equal(text, slice_from_cstr(again)) ? RESULT_OK : RESULT_SYNTAX;
}
