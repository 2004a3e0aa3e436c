/* What both dialogues with a proxy have in common; see tunnel.h.
 *
 * 1 Never more than TUNNEL_ANSWER_MAX octets are taken from the proxy, and none behind its answer.
 * 2 OPEN and REFUSED are final: nothing is taken, and nothing further is said. */
#include "net/tunnel_internal.h"

#include "base/utf8.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what the two use ---- */

void tunnel_refuse(struct tunnel *tunnel, const char *format, ...)
{
    va_list arguments;
    tunnel->state = TUNNEL_REFUSED;
    buffer_clear(&tunnel->output);
    va_start(arguments, format);
    vsnprintf(tunnel->words, sizeof tunnel->words, format, arguments);
    va_end(arguments);
}

void tunnel_clean(struct slice text, char *out, size_t size)
{
    size_t len = 0;
    while (text.len > 0) {
        uint32_t character = 0;
        size_t n = utf8_next(text, &character);
        bool is_kept = n > 0 && !utf8_is_control(character);
        struct slice piece = is_kept ? slice_take(text, n) : SLICE("?");
        if (len + piece.len >= size)
            break;
        memcpy(out + len, piece.ptr, piece.len);
        len += piece.len;
        text = slice_skip(text, n > 0 ? n : 1);
    }
    out[len] = '\0';
}

/* ---- making ---- */

static bool is_name(struct slice host)
{
    for (size_t i = 0; i < host.len; i++) {
        char c = host.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_'))
            return false;
    }
    return true;
}

/* A name in ASCII, or an address: what else there may be in a host could end the line that it is written into. */
static bool is_host(const char *host)
{
    struct in6_addr address;
    return is_name(slice_from_cstr(host)) || inet_pton(AF_INET6, host, &address) == 1;
}

static enum result check(const struct tunnel_config *config)
{
    if (config->host.len > TUNNEL_HOST_MAX || config->user.len > TUNNEL_CREDENTIAL_MAX || config->password.len > TUNNEL_CREDENTIAL_MAX)
        return RESULT_LIMIT;
    return config->host.len == 0 || config->port == 0 || memchr(config->host.ptr, '\0', config->host.len) ? RESULT_SYNTAX : RESULT_OK;
}

static enum result begin(struct tunnel *tunnel, const struct tunnel_config *config)
{
    memcpy(tunnel->host, config->host.ptr, config->host.len);
    tunnel->host[config->host.len] = '\0';
    if (!is_host(tunnel->host))
        return RESULT_SYNTAX;
    tunnel->port = config->port;
    tunnel->has_login = config->user.len > 0;
    return tunnel->via == PATH_SOCKS5 ? tunnel_socks5_begin(tunnel, config->user, config->password)
                                      : tunnel_http_begin(tunnel, config->user, config->password);
}

enum result tunnel_new(struct tunnel **out, const struct tunnel_config *config)
{
    assert(config->via == PATH_HTTP_CONNECT || config->via == PATH_SOCKS5);
    enum result result = check(config);
    *out = NULL;
    if (result != RESULT_OK)
        return result;
    struct tunnel *tunnel = calloc(1, sizeof *tunnel);
    if (!tunnel)
        return RESULT_MEMORY;
    tunnel->via = config->via;
    tunnel->login = BUFFER_SECRET(TUNNEL_OUTPUT_MAX);
    tunnel->output = BUFFER_SECRET(TUNNEL_OUTPUT_MAX);
    tunnel->answer = BUFFER(TUNNEL_ANSWER_MAX);
    result = begin(tunnel, config);
    if (result != RESULT_OK) {
        tunnel_free(&tunnel);
        return result;
    }
    *out = tunnel;
    return RESULT_OK;
}

void tunnel_free(struct tunnel **tunnel)
{
    struct tunnel *gone = *tunnel;
    *tunnel = NULL;
    if (!gone)
        return;
    buffer_free(&gone->login);
    buffer_free(&gone->output);
    buffer_free(&gone->answer);
    free(gone);
}

/* ---- the proxy's octets ---- */

/* How many octets from the front of `in` belong to what is being read; *is_whole: it then is complete. */
static size_t measure(const struct tunnel *tunnel, struct slice in, bool *is_whole)
{
    if (tunnel->via == PATH_HTTP_CONNECT) {
        ptrdiff_t end = slice_find(in, '\n');
        *is_whole = end >= 0;
        return end >= 0 ? (size_t)end + 1 : in.len;
    }
    size_t lacks = tunnel_socks5_lacks(tunnel);
    *is_whole = lacks <= in.len;
    return *is_whole ? lacks : in.len;
}

static void take_line(struct tunnel *tunnel)
{
    struct slice line = buffer_slice(&tunnel->answer);
    line.len--;
    if (line.len > 0 && line.ptr[line.len - 1] == '\r') /* RFC 9112 2.2: LF alone may be taken for a line's end */
        line.len--;
    tunnel_http_line(tunnel, line);
    buffer_clear(&tunnel->answer);
}

/* What is no HTTP has no lines, perhaps: it is known by its first octets. */
static bool begins_like_http(struct slice answer)
{
    struct slice version = SLICE("HTTP/");
    return slice_starts_with(version, slice_take(answer, version.len));
}

/* Something has been added to the answer. */
static void take(struct tunnel *tunnel, bool is_whole)
{
    if (tunnel->via == PATH_SOCKS5) {
        if (is_whole)
            tunnel_socks5_message(tunnel);
    } else if (tunnel->phase == TUNNEL_STATUS_LINE && !begins_like_http(buffer_slice(&tunnel->answer))) {
        tunnel_refuse(tunnel, "what answers is no HTTP proxy");
    } else if (is_whole) {
        take_line(tunnel);
    }
}

size_t tunnel_feed(struct tunnel *tunnel, struct slice in)
{
    size_t used = 0;
    while (tunnel->state == TUNNEL_TALKING && used < in.len) {
        bool is_whole = false;
        size_t n = measure(tunnel, slice_skip(in, used), &is_whole);
        assert(n > 0);
        if (n > TUNNEL_ANSWER_MAX - tunnel->answer_octets) {
            tunnel_refuse(tunnel, "the proxy's answer has no end");
            break;
        }
        if (buffer_append(&tunnel->answer, slice_take(slice_skip(in, used), n)) != RESULT_OK) {
            tunnel_refuse(tunnel, "out of memory");
            break;
        }
        tunnel->answer_octets += n;
        used += n;
        take(tunnel, is_whole);
    }
    return used;
}

struct slice tunnel_output(const struct tunnel *tunnel)
{
    return buffer_slice(&tunnel->output);
}

void tunnel_sent(struct tunnel *tunnel, size_t n)
{
    buffer_consume(&tunnel->output, n);
}

enum tunnel_state tunnel_state(const struct tunnel *tunnel)
{
    return tunnel->state;
}

const char *tunnel_words(const struct tunnel *tunnel)
{
    return tunnel->words;
}
