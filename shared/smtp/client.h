/* The client's side of an SMTP session (RFC 5321) without sockets, clock or disk: uplink, smarthost and MX delivery.
 *
 * Same shape as smtp/server.h: feed, next, act, output, deadline; nobody is called back. The driver's pump:
 *
 *     smtp_client_feed(c, input, now_ms);
 *     while (smtp_client_next(c, &event)) handle(event);
 *     write smtp_client_output(c); smtp_client_sent(c, n, now_ms) at once for what the connection took, before more is fed:
 *                                  a reply to what was never sent is refused
 *     arm a timer for smtp_client_deadline_ms(c); when it fires: smtp_client_tick(c, now_ms), pump again
 *
 * Events:
 *
 *   STARTTLS     send all output, handshake and check the peer's identity, then smtp_client_tls_started. Octets that came behind the 220
 *                in the clear are an attack (CVE-2011-0411 and its kin) and end the session with SMTP_FAIL_INJECTED.
 *   PROVEN       greeting, EHLO and TLS as the configuration demands are done; nothing secret has been said. The session waits:
 *                smtp_client_login to go on, smtp_client_quit to leave politely. This is where a race is won.
 *   READY        authenticated, if credentials were given: smtp_client_send starts a transaction.
 *   BODY_WANTED  smtp_client_body with the next octets of the message (any length up to SMTP_CLIENT_CHUNK_MAX) and whether they are the last.
 *                It comes when the output has room for a piece. Where the peer offers PIPELINING and CHUNKING the first one follows smtp_client_send
 *                at once, so that a small message costs one round trip; the second waits until a recipient has been accepted. Pieces as
 *                large as may be make the fewest commands. SENT waits for the piece that was asked for; only FAILED may overtake it.
 *   RECIPIENT    the reply for one recipient, or ours for it (`is_local`): an address that can't be written, or one more than the peer takes
 *                at a time (452 4.5.3: send another transaction). All come before SENT. If MAIL is refused there are none of the peer's.
 *   RESUMED      355: the peer holds `offset` octets of the message (RFC 1845); the body goes on behind them. Where that is all of it no BODY_WANTED follows: its end
 *                is said without help.
 *   OUTCOME      the answer to one question of smtp_client_ask_outcomes, `question` its place; READY follows the last. `reply` is the peer's, and smtp/outcome.h reads the text of a 250.
 *   DEVICE       the answer to smtp_client_ask_device; READY follows.
 *   SENT         the transaction is over: `reply` is the reply to the message if it got that far; outcome says what it means. READY follows
 *                unless the session is broken.
 *   FAILED       the session is over without our wish: failure, phase, reply if there was one; is_uncertain if the message's
 *                last octet had been sent and no reply came (the next hop may have it). What then is left in the output may be sent, if
 *                that costs nothing, before the connection is closed. An open transaction has no SENT.
 *   CLOSED       after QUIT was answered or the peer closed after it.
 *
 * Commands are pipelined where the peer offers it (RFC 2920), bodies go as BDAT where it offers CHUNKING (RFC 3030),
 * else as DATA with dots stuffed. 8-bit, UTF-8 and binary needs that the peer lacks end the transaction before any octet is
 * sent: SENT with SMTP_SENT_REFUSED and a 5.6.x reply of our own (`is_local`).
 *
 * States (smtp_client_state_name):
 *   greeting -> ehlo [-> helo] [-> starttls -> tls -> ehlo] -> proven -> [auth ->] ready <-> envelope -> body -> final -> ready
 *   ready <-> device (XDEVICE), outcome (XOUTCOME);  any -> quit -> closed;  any -> failed
 * A transaction with a name (RFC 1845, schema/link.md) that asks first waits in `envelope` for the reply to MAIL:
 *   MAIL -> 250: as ever;  355 N: RESUMED -> RCPT and the body from N on;  554 5.5.4: SENT (RENAME)
 *   envelope, body -> smtp_client_pause: RSET behind the piece under way -> its reply: SENT (PAUSED) -> ready
 * An early session (config.early) leaves the beginning out: greeting, or tls -> proven -> ready <-> envelope ... in which the replies to what was left out are awaited behind the scenes,
 * in order: the greeting where there is one, EHLO, AUTH, then those to the message. */
#ifndef POSTERN_SMTP_CLIENT_H
#define POSTERN_SMTP_CLIENT_H

#include "base/log.h"
#include "mail/envelope.h"
#include "smtp/reply.h"
#include "smtp/sasl.h"

enum {
    SMTP_CLIENT_CHUNK_MAX = 64 * 1024,    /* octets of one smtp_client_body */
    SMTP_CLIENT_OUTPUT_MAX = 128 * 1024,  /* octets that may wait in the output */
    SMTP_CLIENT_QUIT_TIMEOUT_MS = 10000,
    SMTP_CLIENT_NAMED_TIMEOUT_MS = 120000, /* in a transaction with a name and BDAT, where the times below are longer */
    SMTP_CLIENT_BINDINGS_MAX = 4,
    SMTP_WAYS_MAX = 480,                  /* octets of XWAYS' parameters that are kept, in whole words */
    SMTP_DEVICE_ID_MAX = 64,              /* letters and digits of a device's id */
    SMTP_DEVICE_LABEL_MAX = 64,           /* octets */
    SMTP_EPOCH_MAX = 64,                  /* letters and digits of XOUTCOME's epoch */
    SMTP_OUTCOMES_MAX = 16,               /* questions of one smtp_client_ask_outcomes */
};

enum smtp_security {
    SMTP_SECURITY_NONE,          /* never TLS */
    SMTP_SECURITY_OPPORTUNISTIC, /* STARTTLS where offered */
    SMTP_SECURITY_STARTTLS,      /* STARTTLS or nothing */
    SMTP_SECURITY_TLS,           /* inside TLS from the first octet */
};

/* A set: what EHLO announced on the present layer. */
enum smtp_capability {
    SMTP_CAP_PIPELINING = 1 << 0,
    SMTP_CAP_SIZE = 1 << 1,
    SMTP_CAP_8BITMIME = 1 << 2,
    SMTP_CAP_SMTPUTF8 = 1 << 3,
    SMTP_CAP_DSN = 1 << 4,
    SMTP_CAP_ENHANCEDSTATUSCODES = 1 << 5,
    SMTP_CAP_CHUNKING = 1 << 6,
    SMTP_CAP_BINARYMIME = 1 << 7,
    SMTP_CAP_STARTTLS = 1 << 8,
    SMTP_CAP_AUTH = 1 << 9,
    SMTP_CAP_LIMITS = 1 << 10,
    SMTP_CAP_PIPECONNECT = 1 << 11, /* commands may come before the greeting (schema/link.md) */
    SMTP_CAP_XDEVICE = 1 << 12,     /* gives tokens to devices */
    SMTP_CAP_XWAYS = 1 << 13,       /* tells its ways */
    SMTP_CAP_CHECKPOINT = 1 << 14,  /* RFC 1845: transactions have names */
    SMTP_CAP_XOUTCOME = 1 << 15,    /* tells what became of them */
};

struct smtp_peer {
    unsigned capabilities;
    unsigned mechanisms;      /* enum sasl_mechanism */
    uint64_t size_max_octets; /* 0: none told */
    uint64_t nrcpt_max;       /* LIMITS RCPTMAX (RFC 9422); 0: none told */
    uint64_t transactions_max; /* LIMITS MAILMAX; 0: none told */
    struct slice name;        /* first word after 250 of EHLO or HELO, at most 255 octets */
    struct slice epoch;       /* XOUTCOME's, at most SMTP_EPOCH_MAX octets; empty: none told */
    uint64_t outcome_s;       /* how long it tells, seconds */
    struct slice ways;        /* parameters of XWAYS as they stand, at most SMTP_WAYS_MAX octets */
};

struct smtp_client_config {
    enum smtp_security security;
    struct slice ehlo_name;           /* copied */
    struct slice ehlo_name_cleartext; /* before TLS, where EHLO must not name us; empty: ehlo_name */
    struct slice user, password;      /* empty user: no AUTH; copied and wiped with the core */
    struct slice device, token;       /* of an earlier SMTP_CLIENT_DEVICE: tried first, by HT-SHA-256-EXPR, where that is offered; empty: none. Copied and wiped likewise */
    /* What this very peer said after TLS the last time, PIPECONNECT among it: once TLS and identity stand (smtp_client_tls_started) the session is PROVEN without a round trip, and EHLO, AUTH and
     * the first message leave in one flight. Needs device and token, and PIPECONNECT, PIPELINING and HT-SHA-256-EXPR in it, and "tls-exporter" among the bindings; where one is missing the session is an
     * ordinary one. What then differs from it in a way that matters ends the session with SMTP_FAIL_EARLY: forget it and try again without. Copied; NULL: none. */
    const struct smtp_peer *early;
    bool speaks_first;                /* EHLO goes before the greeting is there (inside TLS with ALPN http/1.1, where the relay waits to hear which protocol it is) */
    bool allows_auth_without_tls;     /* SCRAM only, even then */
    int64_t greeting_timeout_ms;      /* default 300,000 (RFC 5321 4.5.3.2) */
    int64_t command_timeout_ms;       /* default 300,000 */
    int64_t body_timeout_ms;          /* no octet accepted by the connection for so long; default 180,000 */
    int64_t final_timeout_ms;         /* default 600,000 */
    uint8_t nonce[18];                /* fresh randomness for SCRAM */
    const struct log *log;
    struct slice session_id;
};

/* Why a session ended without our wish. Transient for the message unless said otherwise. */
enum smtp_failure {
    SMTP_FAIL_NONE,
    SMTP_FAIL_GREETING,         /* the greeting refused us (4yz, 5yz): reply */
    SMTP_FAIL_FOREIGN,          /* what answered does not speak SMTP */
    SMTP_FAIL_HTTP,             /* it speaks HTTP: a captive portal or a web proxy */
    SMTP_FAIL_EHLO,             /* EHLO and HELO refused: reply */
    SMTP_FAIL_STARTTLS_MISSING, /* not offered */
    SMTP_FAIL_STARTTLS_MASKED,  /* something of its length stands in its place, as some firewalls do ("XXXXXXXX") */
    SMTP_FAIL_STARTTLS_REFUSED, /* offered, then refused: reply */
    SMTP_FAIL_INJECTED,         /* octets in the clear behind the 220 of STARTTLS */
    SMTP_FAIL_AUTH_MISSING,     /* no mechanism that we may use: see peer.mechanisms */
    SMTP_FAIL_AUTH_REFUSED,     /* 5yz: the credentials are wrong; reply. Without one: they can't be right (empty, controls, too long; a token of another size) and were not sent */
    SMTP_FAIL_AUTH_LATER,       /* 4yz: reply */
    SMTP_FAIL_AUTH_FORGED,      /* the server could not prove that it knows the password */
    SMTP_FAIL_EARLY,            /* the peer is not what `early` said, or refuses the token (smtp_client_is_token_refused): nothing was accepted. reply if there was one */
    SMTP_FAIL_PROTOCOL,         /* a reply that is none, too long, or out of place */
    SMTP_FAIL_TIMEOUT,
    SMTP_FAIL_EOF,              /* the peer closed */
    SMTP_FAIL_SHUT,             /* 421 in mid-session: reply */
    SMTP_FAIL_ABORTED,          /* we gave up in the middle of a message: smtp_client_abort, or a body that is not what was declared */
    SMTP_FAIL_MEMORY,
};
const char *smtp_failure_name(enum smtp_failure failure);

enum smtp_sent {
    SMTP_SENT_ACCEPTED, /* 2yz to the message; each accepted recipient is the next hop's care now */
    SMTP_SENT_DEFERRED, /* 4yz to MAIL, DATA or the message */
    SMTP_SENT_REFUSED,  /* 5yz likewise, or a need of the message that the peer lacks */
    SMTP_SENT_PAUSED,   /* smtp_client_pause: the peer keeps what it has; no reply */
    SMTP_SENT_RENAME,   /* the name stands for another transaction there (554 5.5.4): nothing was taken, send it under another name */
    SMTP_SENT_NOBODY,   /* every recipient was refused: the RECIPIENT events tell; no message was sent */
};

struct smtp_transaction {
    const struct envelope *envelope; /* outlives the transaction */
    uint64_t size_octets;            /* exact, for SIZE= and for the last BDAT */
    bool has_8bit;                   /* some octet of the body is above 127 */
    bool is_binary;                  /* BINARYMIME as received: NULs or lines without CRLF */
    bool needs_smtputf8;             /* an address or a header holds UTF-8 */
    struct slice transid;            /* with angle brackets; outlives the transaction; said where the peer offers CHECKPOINT; empty: none */
    bool asks_first;                 /* the peer may hold some of it: MAIL waits for its reply, and a 355 tells where to go on. Else XWHOLE: all of it goes, at once. It may hold all of it, so that SIZE is the peer's to judge then, not ours */
};

enum smtp_client_event_type {
    SMTP_CLIENT_STARTTLS,
    SMTP_CLIENT_PROVEN,
    SMTP_CLIENT_READY,
    SMTP_CLIENT_DEVICE,
    SMTP_CLIENT_OUTCOME,
    SMTP_CLIENT_RESUMED,
    SMTP_CLIENT_RECIPIENT,
    SMTP_CLIENT_BODY_WANTED,
    SMTP_CLIENT_SENT,
    SMTP_CLIENT_FAILED,
    SMTP_CLIENT_CLOSED,
};

struct smtp_client_event {
    enum smtp_client_event_type type;
    size_t recipient;                /* index in the envelope */
    size_t question;                 /* OUTCOME */
    uint64_t offset;                 /* RESUMED; BODY_WANTED: octets of the message before those that are wanted */
    const struct smtp_reply *reply;  /* NULL where there was none; valid until the next call, but for _output, _sent, _deadline_ms and the facts */
    enum smtp_sent sent;
    bool is_local;                   /* reply was made here, not by the peer */
    enum smtp_failure failure;
    const char *phase;               /* "greeting", "EHLO", "AUTH", "MAIL FROM", "end of data" ... for words to people */
    bool is_uncertain;
    struct slice device, token;      /* DEVICE: valid until the next call, then wiped; without a reply. device empty: the peer gave none, `reply` says why */
};

struct smtp_client;

struct smtp_client *smtp_client_new(const struct smtp_client_config *config, int64_t now_ms); /* NULL: out of memory */
void smtp_client_free(struct smtp_client **client);

/* Takes everything unless the session is over. */
size_t smtp_client_feed(struct smtp_client *client, struct slice in, int64_t now_ms);
bool smtp_client_next(struct smtp_client *client, struct smtp_client_event *event);
/* The connection is gone; FAILED follows unless we were leaving. */
void smtp_client_eof(struct smtp_client *client);

/* bindings are copied. RESULT_OK, RESULT_LIMIT, RESULT_MEMORY. */
MUST_CHECK enum result smtp_client_tls_started(struct smtp_client *client, const struct sasl_binding *bindings, size_t nbindings, int64_t now_ms);
/* For SMTP_SECURITY_TLS the bindings are told at the start, before the greeting is fed, with the same function. With config.early PROVEN follows at once, here and after STARTTLS. */
void smtp_client_login(struct smtp_client *client, int64_t now_ms);
/* Asks the peer to know this device by a token from now on (XDEVICE). label: for people, UTF-8, at most SMTP_DEVICE_LABEL_MAX octets. Only in READY, when the peer offers XDEVICE and AUTH was by name and
 * password. DEVICE follows. A refusal, or an answer that is no token, is no failure of the session. */
void smtp_client_ask_device(struct smtp_client *client, struct slice label, int64_t now_ms);
/* What became of transactions (XOUTCOME): so many questions in one flight, at least one, at most SMTP_OUTCOMES_MAX. Only in READY, when the peer offers XOUTCOME, of an early session too. Copied. OUTCOME follows for each, in order. A refusal is no failure of the session. */
struct smtp_outcome_question {
    struct slice transid;
    uint32_t first;
};
void smtp_client_ask_outcomes(struct smtp_client *client, const struct smtp_outcome_question *questions, size_t n, int64_t now_ms);
/* Another message is more urgent: ends the running transaction at the next border of a BDAT, by RSET, so that it can be resumed under its name (asks_first). SENT with SMTP_SENT_PAUSED follows, unless it
 * was too late (the last piece is in the output), the transaction has no name there, or its body goes as DATA: then it takes its course. A verdict on its way is told in place of PAUSED. A piece that was asked
 * for need not be given any more. Outside of the session's events the pump is to be run after it. */
void smtp_client_pause(struct smtp_client *client, int64_t now_ms);
/* A person wants the running message not to be sent: as smtp_client_pause; where that can't be done and the last octet has not left, the session ends in the middle of it (FAILED, SMTP_FAIL_ABORTED). Where it
 * has left, or a verdict is on its way, the transaction takes its course. */
void smtp_client_withdraw(struct smtp_client *client, int64_t now_ms);
/* Whether AUTH was, or is being, done by the device's token. Where the peer refuses the token (5yz) and there are user and password, these are tried in the same session, and this is false from then on. */
bool smtp_client_uses_token(const struct smtp_client *client);
/* The peer has said 535 to the token, or it can't be one: it is dead, forget it. To be asked at READY and at FAILED; it stays so. */
bool smtp_client_is_token_refused(const struct smtp_client *client);
/* Whether the flight that config.early allows has been, or will be, used and EHLO is not answered yet: smtp_client_peer then tells what `early` said. When it turns false the facts are those just heard. */
bool smtp_client_is_early(const struct smtp_client *client);
/* Only in READY. */
void smtp_client_send(struct smtp_client *client, const struct smtp_transaction *transaction, int64_t now_ms);
/* Only after BODY_WANTED. The octets are copied to the output, dot-stuffed where needed. `octets` may be empty only with is_last. */
void smtp_client_body(struct smtp_client *client, struct slice octets, bool is_last, int64_t now_ms);
/* The body can't be had any more (our disk failed): the transaction is given up so that the peer never takes half a message: the
 * session ends without the final dot. FAILED follows. */
void smtp_client_abort(struct smtp_client *client);
/* Politely (QUIT, and SMTP_CLIENT_QUIT_TIMEOUT_MS for its answer) in PROVEN and READY; else without a word. CLOSED follows. */
void smtp_client_quit(struct smtp_client *client, int64_t now_ms);

struct slice smtp_client_output(const struct smtp_client *client);
void smtp_client_sent(struct smtp_client *client, size_t n, int64_t now_ms);
int64_t smtp_client_deadline_ms(const struct smtp_client *client); /* INT64_MAX: none */
void smtp_client_tick(struct smtp_client *client, int64_t now_ms);

/* Of the message of the running transaction, or of the one under which the session has failed: so many octets at least are the peer's by its own word, by 355 and the replies to BDAT; 0 without CHUNKING, and when it
 * refuses the message. */
uint64_t smtp_client_taken_octets(const struct smtp_client *client);
/* The last octet of the running transaction's message has been sent, and its verdict has not come: if the session ended now, the next hop might have it (FAILED's is_uncertain). For who gives a living session up. */
bool smtp_client_is_uncertain(const struct smtp_client *client);
const struct smtp_peer *smtp_client_peer(const struct smtp_client *client);
const char *smtp_client_state_name(const struct smtp_client *client);

#endif
