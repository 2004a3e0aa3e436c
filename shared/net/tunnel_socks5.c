/* SOCKS5: RFC 1928, with name and password by RFC 1929. */
#include "net/tunnel_internal.h"

#include <arpa/inet.h>
#include <string.h>

enum { VERSION = 5, LOGIN_VERSION = 1, CONNECT = 1, METHOD_NONE = 0, METHOD_PASSWORD = 2, METHOD_GSSAPI = 1, METHOD_REFUSED = 0xff };
enum { TYPE_IPV4 = 1, TYPE_NAME = 3, TYPE_IPV6 = 4 };

/* ---- what we say ---- */

static enum result add_octets(struct buffer *out, const uint8_t *octets, size_t n)
{
    return buffer_append(out, slice_of(octets, n));
}

/* A length and so many octets. */
static enum result add_counted(struct buffer *out, struct slice text)
{
    uint8_t len = (uint8_t)text.len;
    enum result result = add_octets(out, &len, 1);
    return result == RESULT_OK ? buffer_append(out, text) : result;
}

/* RFC 1929 2: both are of 1 to 255 octets. */
static enum result keep_login(struct tunnel *tunnel, struct slice user, struct slice password)
{
    enum result result = add_octets(&tunnel->login, (const uint8_t[]){LOGIN_VERSION}, 1);
    if (password.len == 0)
        return RESULT_SYNTAX;
    if (result == RESULT_OK)
        result = add_counted(&tunnel->login, user);
    return result == RESULT_OK ? add_counted(&tunnel->login, password) : result;
}

enum result tunnel_socks5_begin(struct tunnel *tunnel, struct slice user, struct slice password)
{
    static const uint8_t without[] = {VERSION, 1, METHOD_NONE}, with[] = {VERSION, 2, METHOD_NONE, METHOD_PASSWORD};
    tunnel->phase = TUNNEL_METHOD;
    if (!tunnel->has_login)
        return add_octets(&tunnel->output, without, sizeof without);
    enum result result = keep_login(tunnel, user, password);
    return result == RESULT_OK ? add_octets(&tunnel->output, with, sizeof with) : result;
}

static enum result add_destination(struct tunnel *tunnel)
{
    struct in_addr v4;
    struct in6_addr v6;
    struct buffer *out = &tunnel->output;
    uint8_t type = inet_pton(AF_INET, tunnel->host, &v4) == 1 ? TYPE_IPV4 : inet_pton(AF_INET6, tunnel->host, &v6) == 1 ? TYPE_IPV6 : TYPE_NAME;
    enum result result = add_octets(out, &type, 1);
    if (result != RESULT_OK)
        return result;
    switch (type) {
    case TYPE_IPV4: return buffer_append(out, slice_of(&v4, sizeof v4));
    case TYPE_IPV6: return buffer_append(out, slice_of(&v6, sizeof v6));
    default: return add_counted(out, slice_from_cstr(tunnel->host));
    }
}

static void ask(struct tunnel *tunnel)
{
    uint8_t port[] = {(uint8_t)(tunnel->port >> 8), (uint8_t)tunnel->port};
    enum result result = add_octets(&tunnel->output, (const uint8_t[]){VERSION, CONNECT, 0}, 3);
    if (result == RESULT_OK)
        result = add_destination(tunnel);
    if (result == RESULT_OK)
        result = add_octets(&tunnel->output, port, sizeof port);
    if (result != RESULT_OK)
        tunnel_refuse(tunnel, "out of memory");
    tunnel->phase = TUNNEL_REPLY;
}

static void log_in(struct tunnel *tunnel)
{
    if (buffer_append(&tunnel->output, buffer_slice(&tunnel->login)) != RESULT_OK)
        tunnel_refuse(tunnel, "out of memory");
    buffer_free(&tunnel->login);
    tunnel->phase = TUNNEL_LOGIN;
}

/* ---- what the proxy says ---- */

size_t tunnel_socks5_lacks(const struct tunnel *tunnel)
{
    struct slice has = buffer_slice(&tunnel->answer);
    const unsigned char *octets = (const unsigned char *)has.ptr;
    size_t needs = 2; /* the version and a code: what is wrong in them is told at once */
    if (tunnel->phase == TUNNEL_REPLY && has.len >= 2) {
        needs = 5;
        if (has.len >= 5)
            needs = octets[3] == TYPE_IPV4 ? 10 : octets[3] == TYPE_IPV6 ? 22 : octets[3] == TYPE_NAME ? 7u + octets[4] : 5;
    }
    return has.len >= needs ? 0 : needs - has.len;
}

static void refuse_stranger(struct tunnel *tunnel, struct slice answer)
{
    bool is_http = slice_starts_with(answer, SLICE("HT")) || slice_starts_with(answer, SLICE("<"));
    tunnel_refuse(tunnel, is_http ? "what answers is no SOCKS5 proxy: it speaks HTTP" : "what answers is no SOCKS5 proxy");
}

static void take_method(struct tunnel *tunnel, unsigned method)
{
    if (method == METHOD_NONE)
        ask(tunnel);
    else if (method == METHOD_PASSWORD && tunnel->has_login)
        log_in(tunnel);
    else if (method == METHOD_REFUSED && tunnel->has_login)
        tunnel_refuse(tunnel, "the proxy takes neither nobody nor a user name and password");
    else if (method == METHOD_REFUSED)
        tunnel_refuse(tunnel, "the proxy wants a user name and password");
    else
        tunnel_refuse(tunnel, "the proxy asks for a login that was not offered (method %u)", method);
}

/* RFC 1928 6. */
static void refuse_reply(struct tunnel *tunnel, unsigned code)
{
    switch (code) {
    case 1: tunnel_refuse(tunnel, "the proxy could not connect: general failure (SOCKS reply 1)"); return;
    case 2: tunnel_refuse(tunnel, "the proxy does not allow port %u (SOCKS reply 2)", (unsigned)tunnel->port); return;
    case 3: tunnel_refuse(tunnel, "the proxy can't reach the relay: network unreachable (SOCKS reply 3)"); return;
    case 4: tunnel_refuse(tunnel, "the proxy can't reach the relay: host unreachable (SOCKS reply 4)"); return;
    case 5: tunnel_refuse(tunnel, "the proxy can't reach the relay: connection refused (SOCKS reply 5)"); return;
    case 6: tunnel_refuse(tunnel, "the proxy gets no answer from the relay: TTL expired (SOCKS reply 6)"); return;
    case 7: tunnel_refuse(tunnel, "the proxy does not know CONNECT (SOCKS reply 7)"); return;
    case 8: tunnel_refuse(tunnel, "the proxy does not know this kind of address (SOCKS reply 8)"); return;
    default: tunnel_refuse(tunnel, "the proxy refuses (SOCKS reply %u)", code); return;
    }
}

/* The address that the proxy has bound is of any type, and of no interest. */
static void take_reply(struct tunnel *tunnel, struct slice answer)
{
    unsigned type = answer.len >= 4 ? (unsigned char)answer.ptr[3] : 0;
    if (answer.ptr[1] != 0) {
        refuse_reply(tunnel, (unsigned char)answer.ptr[1]);
    } else if (answer.len >= 5 && type != TYPE_IPV4 && type != TYPE_IPV6 && type != TYPE_NAME) {
        tunnel_refuse(tunnel, "the proxy's answer makes no sense (address of type %u)", type);
    } else if (answer.len >= 7 && tunnel_socks5_lacks(tunnel) == 0) {
        tunnel->state = TUNNEL_OPEN;
    }
}

void tunnel_socks5_message(struct tunnel *tunnel)
{
    struct slice answer = buffer_slice(&tunnel->answer);
    unsigned first = (unsigned char)answer.ptr[0], second = (unsigned char)answer.ptr[1];
    if (tunnel->phase != TUNNEL_LOGIN && first != VERSION) {
        refuse_stranger(tunnel, answer);
    } else if (tunnel->phase == TUNNEL_REPLY) {
        take_reply(tunnel, answer);
        return; /* that is read in parts */
    } else if (tunnel->phase == TUNNEL_METHOD) {
        take_method(tunnel, second);
    } else if (second == 0) { /* RFC 1929 2; servers write one version or the other before it */
        ask(tunnel);
    } else {
        tunnel_refuse(tunnel, "the proxy refuses the user name or the password");
    }
    buffer_clear(&tunnel->answer);
}
