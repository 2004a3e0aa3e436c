/* One way to a relay, tried by outbound alone, and what became of it in one line: what test_proxies.py asks of real proxies, without an agent that would choose.
 *
 *   dial VIA PROXY:PORT HOST PORT MODE ALPN CA [USER PASSWORD]
 *
 * VIA: http-connect, socks5; MODE: tls, starttls; ALPN: "", smtp, http/1.1; CA: the file that the relay's certificate leads to, for the name relay.example.
 * Prints "open TLSv1.3 ALPN", or "VERDICT PHASE: WORDS". Exit 0, or 1 when it could not even be tried. */
#include "net/address.h"
#include "net/outbound.h"

#include <stdio.h>
#include <string.h>

static void on_event(void *context, struct outbound *outbound, const struct outbound_event *event)
{
    (void)context;
    if (event->type == OUTBOUND_SMTP && event->smtp.type == SMTP_CLIENT_PROVEN) {
        const struct tls_info *tls = outbound_tls(outbound);
        printf("open %s %s\n", tls->version, tls->alpn);
        outbound_quit(outbound);
    } else if (event->type == OUTBOUND_FAILED) {
        printf("%s %s: %s\n", path_verdict_name(event->failure->verdict), event->failure->phase, event->failure->words);
    }
}

static int complain(const char *what)
{
    fprintf(stderr, "dial: %s\n", what);
    return 1;
}

static enum path_alpn alpn_of(const char *name)
{
    return strcmp(name, "smtp") == 0 ? PATH_ALPN_SMTP : strcmp(name, "http/1.1") == 0 ? PATH_ALPN_HTTP : PATH_ALPN_NONE;
}

static int try(struct outbound_target *target)
{
    struct outbound *outbound;
    uv_loop_t loop;
    if (uv_loop_init(&loop) != 0)
        return complain("no loop");
    enum result result = outbound_open(&outbound, &loop, target, (struct outbound_handler){on_event, NULL}, NULL);
    if (result == RESULT_OK || result == RESULT_SYNTAX)
        uv_run(&loop, UV_RUN_DEFAULT);
    tls_context_unref(&target->tls);
    return uv_loop_close(&loop) == 0 && result == RESULT_OK ? 0 : complain(result_name(result));
}

int main(int argc, char **argv)
{
    struct net_address proxy;
    uint64_t port;
    char why[256];
    if (argc != 8 && argc != 10)
        return complain("wrong number of words");
    if (net_address_parse(slice_from_cstr(argv[2]), &proxy) != RESULT_OK)
        return complain("the proxy is no ADDRESS:PORT");
    if (!slice_to_u64(slice_from_cstr(argv[4]), UINT16_MAX, &port))
        return complain("the port is no number");
    struct tunnel_config tunnel = {
        .via = strcmp(argv[1], "socks5") == 0 ? PATH_SOCKS5 : PATH_HTTP_CONNECT, .host = slice_from_cstr(argv[3]), .port = (uint16_t)port};
    if (argc == 10) {
        tunnel.user = slice_from_cstr(argv[8]);
        tunnel.password = slice_from_cstr(argv[9]);
    }
    struct outbound_target target = {
        .server_name = "relay.example",
        .alpn = alpn_of(argv[6]),
        .tunnel = &tunnel,
        .smtp = {.security = strcmp(argv[5], "tls") == 0 ? SMTP_SECURITY_TLS : SMTP_SECURITY_STARTTLS, .ehlo_name = SLICE("laptop.example")},
        .handshake_timeout_ms = 5000,
    };
    memcpy(&target.address, &proxy, sizeof proxy);
    if (tls_context_client(&target.tls, &(struct tls_client_config){.identity = TLS_IDENTITY_CA, .ca_file = argv[7]}, why, sizeof why) != RESULT_OK)
        return complain(why);
    return try(&target);
}
