/* The inside of an outbound connection, for outbound*.c alone. */
#ifndef POSTERN_NET_OUTBOUND_INTERNAL_H
#define POSTERN_NET_OUTBOUND_INTERNAL_H

#include "net/outbound.h"
#include "net/session_id.h"

enum { OUTBOUND_REPLY_TEXT = 512 };

enum outbound_state {
    OUTBOUND_STATE_CONNECTING,
    OUTBOUND_STATE_CONNECTED, /* held */
    OUTBOUND_STATE_TUNNELING, /* talking with the proxy */
    OUTBOUND_STATE_SECURING,  /* TLS, at once or after STARTTLS */
    OUTBOUND_STATE_TALKING,
    OUTBOUND_STATE_ENDING,    /* FAILED was told, or the owner wants no more: only CLOSED follows */
};

struct outbound {
    uv_loop_t *loop;
    struct stream *stream;
    struct smtp_client *core;
    struct tls_context *tls;
    char *server_name;
    struct tunnel *tunnel; /* until the proxy has said yes; NULL: direct, or open */
    enum path_via via;
    enum path_alpn alpn;
    struct smtp_client_config smtp; /* its texts lie in `texts`, and its `early` is this one, until the core has copied them */
    struct smtp_peer early;
    char *texts;
    size_t texts_len;
    struct outbound_handler handler;
    const struct log *log;
    enum outbound_state state;
    bool (*accepts_address)(const void *, const struct sockaddr *);
    const void *accepts_context;
    bool holds;
    bool is_leaving; /* outbound_quit: the core's last words are no longer the owner's business */
    bool is_pumping, needs_pump;
    bool has_been_proven;
    int64_t connect_timeout_ms, handshake_timeout_ms, silence_ms, linger_ms;
    int64_t phase_by_ms;  /* end of connecting, or of the handshake; INT64_MAX: none */
    int64_t timer_at_ms;
    int64_t opened_at_ms;
    uint64_t octets_of_proxy;   /* that came before the relay's first */
    uint64_t octets_before_tls; /* likewise of the peer, before TLS's first */
    uv_timer_t timer;
    uv_idle_t idle;
    unsigned pending_closes;
    struct outbound_failure failure;
    char reply_text[OUTBOUND_REPLY_TEXT];
    char id[SESSION_ID_TEXT];
};

/* outbound_failure.c: fill outbound->failure. */
void outbound_blame_connect(struct outbound *outbound, int uv_code);
void outbound_blame_stream(struct outbound *outbound, const struct stream_error *error, struct slice input);
void outbound_blame_timeout(struct outbound *outbound);
void outbound_blame_smtp(struct outbound *outbound, const struct smtp_client_event *event);
/* The proxy has refused. */
void outbound_blame_tunnel(struct outbound *outbound);
void outbound_blame_memory(struct outbound *outbound);
void outbound_blame_address(struct outbound *outbound);

#endif
