/* HTTP CONNECT: RFC 9110 9.3.6, RFC 9112, Basic of RFC 7617. */
#include "net/tunnel_internal.h"

#include "crypto/crypto.h"

#include <stdio.h>
#include <string.h>

/* ---- the request ---- */

/* RFC 7617 2: no controls, and no colon in the name, which would end there. */
static bool is_basic(struct slice user, struct slice password)
{
    for (size_t i = 0; i < user.len; i++)
        if ((unsigned char)user.ptr[i] < 0x20 || user.ptr[i] == 0x7f || user.ptr[i] == ':')
            return false;
    for (size_t i = 0; i < password.len; i++)
        if ((unsigned char)password.ptr[i] < 0x20 || password.ptr[i] == 0x7f)
            return false;
    return true;
}

static enum result write_login(struct buffer *out, struct slice user, struct slice password)
{
    struct buffer both = BUFFER_SECRET(2 * TUNNEL_CREDENTIAL_MAX + 1);
    enum result result = buffer_append(&both, user);
    if (result == RESULT_OK)
        result = buffer_append_cstr(&both, ":");
    if (result == RESULT_OK)
        result = buffer_append(&both, password);
    if (result == RESULT_OK)
        result = buffer_append_cstr(out, "Proxy-Authorization: Basic ");
    if (result == RESULT_OK)
        result = crypto_base64_encode(buffer_slice(&both), out);
    if (result == RESULT_OK)
        result = buffer_append_cstr(out, "\r\n");
    buffer_free(&both);
    return result;
}

enum result tunnel_http_begin(struct tunnel *tunnel, struct slice user, struct slice password)
{
    bool is_ipv6 = strchr(tunnel->host, ':') != NULL;
    char authority[TUNNEL_HOST_MAX + 16]; /* RFC 9110 9.3.6: host and port, and nothing else; IPv6 in brackets (RFC 3986 3.2.2) */
    if (tunnel->has_login && !is_basic(user, password))
        return RESULT_SYNTAX;
    tunnel->phase = TUNNEL_STATUS_LINE;
    snprintf(authority, sizeof authority, is_ipv6 ? "[%s]:%u" : "%s:%u", tunnel->host, (unsigned)tunnel->port);
    enum result result = buffer_printf(&tunnel->output, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n", authority, authority);
    if (result == RESULT_OK && tunnel->has_login)
        result = write_login(&tunnel->output, user, password);
    return result == RESULT_OK ? buffer_append_cstr(&tunnel->output, "\r\n") : result;
}

/* ---- the answer ---- */

static void refuse_login(struct tunnel *tunnel)
{
    if (!tunnel->has_basic && tunnel->schemes[0])
        tunnel_refuse(tunnel, "the proxy wants a login that we don't speak: %s (%u)", tunnel->schemes, tunnel->status);
    else if (tunnel->has_login)
        tunnel_refuse(tunnel, "the proxy refuses the user name or the password (%u)", tunnel->status);
    else
        tunnel_refuse(tunnel, "the proxy wants a user name and password (%u)", tunnel->status);
}

/* Proxies are not of one mind: where squid says 503 for a server that can't be reached, tinyproxy says 500, and 401 to a wrong password, which is 407 elsewhere. */
static const char *words_of(unsigned status)
{
    switch (status) {
    case 400:
    case 405:
    case 501: return "the proxy does not know CONNECT";
    case 404:
    case 500:
    case 502:
    case 503: return "the proxy can't reach the relay";
    case 408:
    case 504: return "the proxy gets no answer from the relay";
    case 429: return "the proxy has too much to do";
    default: return status / 100 == 3 ? "the proxy sends us to a web page: log in to this network first" : "the proxy refuses";
    }
}

static void refuse(struct tunnel *tunnel)
{
    if (tunnel->status == 401 || tunnel->status == 407)
        refuse_login(tunnel);
    else if (tunnel->status == 403 || tunnel->status == 451)
        tunnel_refuse(tunnel, "the proxy does not allow port %u (%s)", (unsigned)tunnel->port, tunnel->said);
    else
        tunnel_refuse(tunnel, "%s (%s)", words_of(tunnel->status), tunnel->said);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* RFC 9112 4: HTTP-version SP status-code SP [reason]; the second space is missing at some. */
static bool read_status_line(struct tunnel *tunnel, struct slice line)
{
    struct slice version = SLICE("HTTP/1.");
    if (line.len < 12 || !slice_starts_with(line, version) || !is_digit(line.ptr[7]) || line.ptr[8] != ' ')
        return false;
    if (!is_digit(line.ptr[9]) || !is_digit(line.ptr[10]) || !is_digit(line.ptr[11]) || (line.len > 12 && line.ptr[12] != ' '))
        return false;
    tunnel->status = (unsigned)(line.ptr[9] - '0') * 100 + (unsigned)(line.ptr[10] - '0') * 10 + (unsigned)(line.ptr[11] - '0');
    tunnel_clean(slice_trim(slice_skip(line, 9)), tunnel->said, sizeof tunnel->said);
    return tunnel->status >= 100;
}

/* The name of the login at the front of a Proxy-Authenticate (RFC 9110 11.7.1). More may follow in the same field behind commas that can't be told from those between
 * parameters without reading these; so Basic there is looked for as a word. */
static void note_scheme(struct tunnel *tunnel, struct slice value)
{
    struct slice name = value, rest;
    size_t len = strlen(tunnel->schemes);
    slice_cut(value, ' ', &name, &rest);
    for (struct slice left = value; left.len > 0 && !tunnel->has_basic; left = slice_skip(left, 1))
        tunnel->has_basic = slice_starts_with_nocase(left, SLICE("Basic")) && (left.len == 5 || left.ptr[5] == ' ' || left.ptr[5] == ',');
    if (name.len > 0 && len + name.len + 3 < sizeof tunnel->schemes)
        tunnel_clean(name, tunnel->schemes + len + (size_t)snprintf(tunnel->schemes + len, 3, "%s", len > 0 ? ", " : ""), name.len + 1);
}

static void take_header(struct tunnel *tunnel, struct slice line)
{
    struct slice name, value;
    if (slice_cut(line, ':', &name, &value) && slice_equal_nocase(name, SLICE("Proxy-Authenticate")))
        note_scheme(tunnel, slice_trim(value));
    /* The others mean nothing here: in a 2xx to CONNECT even the lengths are to be ignored (RFC 9110 9.3.6). */
}

static void take_end_of_headers(struct tunnel *tunnel)
{
    if (tunnel->status / 100 == 1) /* RFC 9110 15.2: the answer proper follows */
        tunnel->phase = TUNNEL_STATUS_LINE;
    else if (tunnel->status / 100 == 2)
        tunnel->state = TUNNEL_OPEN;
    else
        refuse(tunnel);
}

void tunnel_http_line(struct tunnel *tunnel, struct slice line)
{
    if (tunnel->phase == TUNNEL_HEADERS && line.len == 0)
        take_end_of_headers(tunnel);
    else if (tunnel->phase == TUNNEL_HEADERS)
        take_header(tunnel, line);
    else if (read_status_line(tunnel, line))
        tunnel->phase = TUNNEL_HEADERS;
    else
        tunnel_refuse(tunnel, "what answers is no HTTP proxy");
}
