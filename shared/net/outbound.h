/* The client's driver: one connection to one address, an SMTP client core (smtp/client.h) on it, joined by a pump. The agent's paths and the relay's deliveries are made of these.
 *
 * Life: connecting -> connected (held, when the target says so, until outbound_proceed) [-> tunneling] -> securing <-> talking -> closed. Tunneling is the dialogue with a proxy
 * (net/tunnel.h), where the target has one; what comes behind its answer is the relay's. The handler gets:
 *   OUTBOUND_CONNECTED   TCP stands, to the proxy where there is one; if hold_at_connect, nothing further happens until outbound_proceed
 *   OUTBOUND_SMTP        an event of the core: PROVEN, READY, RECIPIENT, BODY_WANTED, SENT, CLOSED; answer with the core's functions through outbound_core, then call
 *                        outbound_pump (unless inside the handler, which is pumped anyway)
 *   OUTBOUND_FAILED      the end, by any cause: `failure` says which
 *   OUTBOUND_CLOSED      exactly once, last: the memory goes after the callback
 * After FAILED the connection is ended by itself and CLOSED follows; calls in between do nothing. Events come from the loop only, never from inside a call, outbound_pump included.
 * Octets are offered to the kernel at the end of the turn, and the core's body is asked for (BODY_WANTED) only while the connection keeps up, so at most some 200 KiB wait.
 *
 * PROVEN means: the identity that the target demands has been proved inside TLS (identity ANY and mode NONE excepted) and EHLO is done. */
#ifndef POSTERN_NET_OUTBOUND_H
#define POSTERN_NET_OUTBOUND_H

#include "net/stream.h"
#include "net/tunnel.h"
#include "path/path.h"
#include "smtp/client.h"

struct outbound_target {
    struct sockaddr_storage address;
    struct tls_context *tls;          /* a reference is taken; NULL only with SMTP_SECURITY_NONE */
    const char *server_name;          /* for SNI and the CA path; copied */
    enum path_alpn alpn;              /* what TLS offers, at once or after STARTTLS. A server that knows nothing of ALPN is welcome; one that takes none of ours is PATH_TLS_FAILED */
    const struct tunnel_config *tunnel; /* NULL: direct. Else `address` is the proxy's, and the dialogue with it comes first, after outbound_proceed where held; copied */
    struct smtp_client_config smtp;   /* speaks_first is set here where http/1.1 is offered and TLS comes first: if it was agreed on (schema/link.md). security, names, credentials: copied, and wiped with the session; session_id may be empty */
    int64_t connect_timeout_ms;       /* default 30,000 */
    int64_t handshake_timeout_ms;     /* TLS, and before it likewise the dialogue with the proxy; default 15,000 */
    int64_t silence_ms;               /* once connected: what is sent and not acknowledged for so long ends it (stream_limit_silence); default: the system's, a quarter of an hour */
    int64_t linger_ms;                /* how long the peer's FIN is waited for at the end; default 1,000 */
    bool hold_at_connect;
    bool (*accepts_address)(const void *context, const struct sockaddr *address); /* checked on the connected address; NULL: all */
    const void *accepts_context;
};

enum outbound_event_type { OUTBOUND_CONNECTED, OUTBOUND_SMTP, OUTBOUND_FAILED, OUTBOUND_CLOSED };

enum {
    OUTBOUND_WORDS = 344,
    OUTBOUND_UNSENT_MAX = 128 * 1024, /* octets that the kernel may hold unsent: two pieces of a body */
};

/* The cause in the words of paths, with what is known beneath. */
struct outbound_failure {
    enum path_verdict verdict;
    enum smtp_failure smtp;         /* SMTP_FAIL_NONE when the session was not what failed */
    enum tls_failure tls;
    struct smtp_reply reply;        /* code 0: none */
    bool is_uncertain;              /* the message's last octet was sent, no reply came */
    bool is_permanent;              /* trying again the same way is useless until a person acts: wrong credentials, wrong certificate */
    const char *phase;              /* "connect", "proxy", "TLS handshake", "greeting", "AUTH", "end of data" ... */
    char words[OUTBOUND_WORDS];     /* one sentence for a person */
    char whose[TLS_WHOSE];          /* PATH_WRONG_CERTIFICATE: what the certificate calls itself and its issuer, "portal.hotel.example, issued by Hotel CA"; "": not known */
};

struct outbound_event {
    enum outbound_event_type type;
    struct smtp_client_event smtp;
    const struct outbound_failure *failure;
};

struct outbound;
struct outbound_handler {
    void (*on_event)(void *context, struct outbound *outbound, const struct outbound_event *event);
    void *context;
};

/* RESULT_OK: events follow, never from inside this call. RESULT_MEMORY, RESULT_IO; RESULT_SYNTAX, RESULT_LIMIT: the tunnel's host or credentials can't be written in the proxy's protocol. */
MUST_CHECK enum result outbound_open(struct outbound **out, uv_loop_t *loop, const struct outbound_target *target, struct outbound_handler handler, const struct log *log);
void outbound_set_handler(struct outbound *outbound, struct outbound_handler handler);
void outbound_proceed(struct outbound *outbound);
struct smtp_client *outbound_core(struct outbound *outbound); /* NULL until the core may speak: after CONNECTED, and after TLS where that comes first */
uv_loop_t *outbound_loop(const struct outbound *outbound);
/* Sends what the core has to say; its events follow. Does nothing before there is a core, and after FAILED. */
void outbound_pump(struct outbound *outbound);
/* What is to blame if it is given up now for want of time. NULL: nothing yet, it is held or proven. Valid as long as the outbound. */
const struct outbound_failure *outbound_stall(struct outbound *outbound);
/* QUIT when the core's state allows it, then an orderly end; only OUTBOUND_CLOSED follows. */
void outbound_quit(struct outbound *outbound);
/* An orderly end without QUIT (losers of a race: FIN, no RST, before AUTH); only OUTBOUND_CLOSED follows. */
void outbound_close(struct outbound *outbound);
/* At once, and nothing more of what was said arrives: a message given up must not come through later, when the network is back and the kernel sends again. Only OUTBOUND_CLOSED follows. */
void outbound_reset(struct outbound *outbound);
const char *outbound_id(const struct outbound *outbound);
const char *outbound_peer(const struct outbound *outbound); /* the proxy, where there is one */
/* Our end of the connection. RESULT_OK; RESULT_IO: there is none. */
MUST_CHECK enum result outbound_own_address(const struct outbound *outbound, struct sockaddr_storage *out);
const struct tls_info *outbound_tls(const struct outbound *outbound);

#endif
