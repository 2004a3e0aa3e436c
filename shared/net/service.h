/* The server's driver: listeners on one loop, and for each connection a stream and an SMTP server core (smtp/server.h), joined by a pump.
 *
 * The program's policy is the handler: it gets the core's events (AUTH, MAIL, RCPT, BODY...) and answers at once or later with service_answer and its
 * kin; meanwhile the session is parked. STARTTLS, CLOSE and time are handled here. A service belongs to one loop thread; a relay has one per
 * loop, with the same addresses (SO_REUSEPORT).
 *
 * TRANSACTION_ENDED and then on_closed come for a session whose connection died; when BODY_END waits for its answer, on_closed alone: what becomes of the message
 * is the handler's to know. An answer that comes between the death and on_closed is dropped; after on_closed the session is gone, and the handler forgets it there.
 *
 * Events come from the loop only, and from inside service_* calls never. What is answered in on_event, or in one turn of the loop, leaves in one segment.
 *
 * A connection that is too many gets 421 (on a TLS port nothing: a handshake is what we can't afford then) before anything is allocated for it. Running out of
 * descriptors is logged once; the connections that can't be served are closed, and accepting goes on. A client that begins with TLS on a STARTTLS port is served,
 * when its ClientHello is there before our greeting has gone; nobody is kept waiting for that.
 *
 * Inside TLS whose ALPN came out as http/1.1 the client speaks first: an HTTP request gets a web server's answer and the end, anything else is SMTP. A firewall that
 * lets nothing through but the web sees nothing else, and neither does who knocks with a browser. With smtp, or without ALPN, we greet as ever.
 *
 * Behind a PROXY header all is as it would be for the client whom it names: limits, on_open, service_peer, service_peer_address. Connections of others than the
 * proxies are closed, and so are those without a header. LOCAL, UNKNOWN and a header that names the proxy's very socket are
 * the proxy's own: they count for no address. */
#ifndef POSTERN_NET_SERVICE_H
#define POSTERN_NET_SERVICE_H

#include "net/stream.h"
#include "smtp/server.h"

/* HTTP: no SMTP at all, but the challenge of net/challenge.h and a word to whoever else asks; the handler never hears of it. */
enum service_mode { SERVICE_PLAIN, SERVICE_STARTTLS, SERVICE_TLS, SERVICE_HTTP };
const char *service_mode_name(enum service_mode mode);

struct service_listener {
    struct sockaddr_storage address;
    enum service_mode mode;
    bool takes_proxy_header; /* every connection begins with a PROXY header (net/proxy_header.h), whose address is the client's from then on */
};

struct service;
struct service_session;

struct service_handler {
    void *context;
    /* Before the client's first octet, and before TLS (service_core and service_tls are NULL yet): false refuses the connection with 421 and words (may be NULL), and no on_closed
     * follows. Set *session_context for the calls below. */
    bool (*on_open)(void *context, struct service_session *session, void **session_context, const char **refusal);
    void (*on_event)(void *session_context, struct service_session *session, const struct smtp_server_event *event);
    void (*on_closed)(void *session_context, struct service_session *session);
};

struct service_config {
    struct smtp_server_config smtp;        /* template; offers_starttls, requires_tls are set per listener mode: TLS modes require TLS, PLAIN does not */
    struct tls_context *tls;               /* NULL: no TLS modes */
    uint32_t sessions_max;                 /* of this service; default 1,000; beyond it 421 4.3.2 */
    uint32_t sessions_per_address_max;     /* default 0: no limit; IPv6 counted by /64 */
    int64_t handshake_timeout_ms;          /* of the PROXY header, of TLS, and of the first octets inside http/1.1; default 10,000 */
    /* challenge_answer of net/challenge.h, by which HTTP listeners answer who asks for CHALLENGE_PATH; NULL: nobody is answered. Each costs a signature: */
    enum result (*answer_challenge)(const struct tls_context *server, struct slice nonce, struct buffer *out);
    uint32_t challenges_per_s;             /* of this service; default 50, and a quarter of it for one address; beyond it 503 */
    int64_t paused_look_ms;                /* while a session is paused nothing is read: how often it is looked whether the connection still is; default 5,000 */
    int64_t linger_ms;                     /* how long the client's FIN is waited for after our last words; default 2,000 */
    bool reuse_port;
    const struct net_prefix *proxies;      /* who may send PROXY headers; copied; none: loopback */
    size_t nproxies;
    struct service_handler handler;
    const struct log *log;
};

/* NULL: out of memory. */
struct service *service_new(uv_loop_t *loop, const struct service_config *config);
/* Whether service_listen could be the first to listen there: with reuse_port it would not notice another program of the same user. Results and words
 * as service_listen's. */
MUST_CHECK enum result service_probe(const struct sockaddr_storage *address, char *why, size_t why_size);
/* RESULT_OK, RESULT_EXISTS (port in use), RESULT_DENIED (privileged port), RESULT_NOT_FOUND (no such address here), RESULT_IO; why gets words with the address. bound, if not NULL,
 * gets the real port (for port 0). */
MUST_CHECK enum result service_listen(struct service *service, const struct service_listener *listener, struct sockaddr_storage *bound, char *why, size_t why_size);
/* New sessions use it from now on; takes a reference. */
void service_set_tls(struct service *service, struct tls_context *tls);
/* For reload: the template for new sessions. */
void service_set_smtp(struct service *service, const struct smtp_server_config *smtp);
/* Stops listening, tells idle sessions 421, lets those in mid-transaction end within grace_ms, then on_stopped; then the memory is gone. */
void service_stop(struct service *service, int64_t grace_ms, void (*on_stopped)(void *), void *context);
size_t service_sessions(const struct service *service);

/* To be called by the handler, for the event that waits. */
void service_answer(struct service_session *session, const struct smtp_reply *reply);
void service_challenge(struct service_session *session, struct slice data);
/* The answer to MAIL by smtp_server_resume. */
void service_resume_transaction(struct service_session *session, bool is_told, bool is_over, uint64_t held_octets, size_t nrcpt);
/* Back-pressure in mid-body: no more BODY events until resumed, and the client's time stands still. A connection that is reset meanwhile is noticed. */
void service_pause(struct service_session *session);
void service_resume(struct service_session *session);

struct smtp_server *service_core(struct service_session *session); /* NULL before the handshake of a TLS port is done */
const char *service_id(const struct service_session *session);   /* for logs: "s3f9k2" */
const struct tls_info *service_tls(const struct service_session *session); /* NULL: no TLS */
/* To be called just before an answer: will it be read? service_is_read: the client has closed the connection, and that shows that it had read the answer and all before it; false: nobody knows, as of
 * most clients (stream_is_read), and of all who come through a proxy. To be asked at any time, in on_closed at last. */
void service_mark(struct service_session *session);
bool service_is_read(const struct service_session *session);
/* To be looked at (poll), by whichever thread, until the transaction has ended; -1: there is none. */
int service_socket(const struct service_session *session);
const char *service_peer(const struct service_session *session); /* address and port; for the log only, never for a message */
MUST_CHECK enum result service_peer_address(const struct service_session *session, struct sockaddr_storage *out);

#endif
