/* The server's side of an SMTP session (RFC 5321) without sockets, clock or disk.
 *
 * One core serves the relay's ports and the agent's localhost listener. Octets go in with smtp_server_feed, events come
 * out of smtp_server_next, decisions go in with smtp_server_answer, octets to send wait in smtp_server_output. The core
 * calls nobody back. The driver's whole pump:
 *
 *     do {
 *         used = smtp_server_feed(s, input, now_ms);          input is untouched and in place until next() is false
 *         while (smtp_server_next(s, &event)) handle(event);  stops by itself while an answer is owed
 *         input = slice_skip(input, used);
 *     } while (used > 0);
 *     write smtp_server_output(s); smtp_server_sent(s, n);
 *     arm a timer for smtp_server_deadline_ms(s); when it fires: smtp_server_tick(s, now_ms), pump again
 *
 * Pump again when input came, after an answer, and when output was sent. Bodies are not copied: the data of a BODY event points
 * into the input of the last feed. Pipelined commands are answered strictly in order: an event that owes an answer parks the session until
 * the answer is there, however long that takes, and input waits in the driver's hands meanwhile: feed takes nothing
 * while parked, while an event waits to be taken, and while more than SMTP_SERVER_OUTPUT_HIGH octets wait to be sent. A driver that holds
 * input back for reasons of its own (the store is slow) does not tick meanwhile, and says smtp_server_resumed when it goes on: that delay is ours.
 *
 * Which events owe an answer:
 *   AUTH, AUTH_RESPONSE   smtp_server_challenge, or smtp_server_answer with 235 (after smtp_server_set_user), 535, 454, 501 ...
 *   MAIL, RCPT, DEVICE, OUTCOME  smtp_server_answer; MAIL with a TRANSID that is known: smtp_server_resume instead, if it is to go on
 *   BODY_BEGIN            smtp_server_answer: any positive reply lets the body come (354 is then sent for DATA, nothing for BDAT); a
 *                         negative one is the reply to DATA, or to this BDAT, whose octets are read and dropped
 *   BODY_END              smtp_server_answer, which the driver gives only when the store has reported its commit
 *   BODY, TRANSACTION_ENDED, STARTTLS, CLOSE: none
 *
 * Sessions, by state (smtp_server_state_name). READY, MAIL, RCPT and BETWEEN take commands:
 *
 *   greeting -> ready                                     EHLO, HELO
 *   ready -> auth -> ready                                AUTH: answered, cancelled or broken
 *   ready -> ready                                        XDEVICE, once in a session
 *   ready -> ready                                        XOUTCOME
 *   ready -> mail -> rcpt                                 MAIL, the first RCPT accepted
 *   ready -> rcpt                                         MAIL that was answered by smtp_server_resume with recipients that are known
 *   rcpt -> data -> body-end -> ready                     DATA ... CRLF.CRLF, the answer to BODY_END
 *   data -> data-drop -> ready | closing                  a body refused half-way is read to its end
 *   rcpt -> chunk -> between -> chunk -> body-end         BDAT, each chunk, the LAST
 *   any command state, chunk -> chunk-drop -> ready | mail | greeting | closing   the octets of a refused BDAT
 *   mail, rcpt, between -> ready                          RSET, EHLO, a refusal of BODY_BEGIN
 *   any command state -> tls -> greeting                  STARTTLS; everything known is forgotten (RFC 3207 4.2)
 *   any -> closing                                        QUIT, a fatal error, too many of the smaller ones, time, eof, shut
 *
 * Octets before our greeting is sent are taken like any others: our own agent pipelines early (PIPECONNECT, schema/link.md), AUTH with all it has to say, MAIL,
 * RCPT and BDAT in one flight, and what early talkers in bad faith say (HTTP, a ClientHello) is known by its looks. Those get one reply and are closed.
 *
 * Invariants; the tests name them by number.
 *   1 Only CRLF.CRLF ends DATA. A bare CR, a bare LF or a NUL in a body (BINARYMIME excepted) or a command is refused: 550 or 500,
 *     the body is read to its true end and the session closed, because the two sides disagree about where lines end.
 *   2 No octet received before TLS is acted upon after it; octets behind STARTTLS in the same flight close the session with 554: the
 *     driver feeds whatever it has in the clear before it begins the handshake, and the core, in state tls, refuses it.
 *   3 The same octets in any chunking give the same events and the same output.
 *   4 At most one answer is owed at a time, and BODY_END is followed by no event until it is answered.
 *   5 Every transaction that had a MAIL event ends in exactly one TRANSACTION_ENDED or an answered BODY_END. is_refused stands in the former when what came of the body
 *     is against the rules of 1, too long in a line or in all: no part of it is worth to be kept for a later session (schema/link.md, CHECKPOINT).
 *   6 No mail without what the configuration requires: TLS (530 5.7.0 "Must issue a STARTTLS command first"), authentication (530 5.7.0).
 *   7 A refused or over-long body is read to its end and answered once; nothing of it is taken for commands. But when four times the size of the
 *     largest message has come since one was last accepted, whoever still sends what is refused gets that answer, and the session ends.
 *   8 What is held of a message (smtp_server_resume) and what comes are together at most size_max_octets. */
#ifndef POSTERN_SMTP_SERVER_H
#define POSTERN_SMTP_SERVER_H

#include "base/log.h"
#include "mail/envelope.h"
#include "smtp/reply.h"
#include "smtp/sasl.h"

enum { SMTP_SERVER_OUTPUT_HIGH = 16 * 1024 }; /* octets of output waiting, beyond which no input is taken */

/* Zero in a field means its default, given behind it. The core copies what it keeps, the log apart, which outlives it. */
struct smtp_server_config {
    struct slice hostname;       /* in the greeting and after EHLO */
    uint64_t size_max_octets;    /* of a message, announced with SIZE (RFC 1870); default 52,428,800 */
    uint32_t nrcpt_max;          /* recipients of a transaction; default 1,000; RFC 5321 4.5.3.1.8 demands 100; the next gets 452 4.5.3. A transaction that has more from before keeps them (smtp_server_resume) */
    uint32_t transactions_max;   /* of a session, then 421; default unlimited */
    uint32_t command_line_max;   /* octets with CRLF; default 512 + 1024 for the extensions' parameters (RFC 5321 4.5.3.1.4, 3461, 6531) + 88 (RFC 1845 2 (5)) */
    uint32_t auth_line_max;      /* octets with CRLF; default 12,288 (RFC 4954 4) */
    uint32_t text_line_max;      /* octets with CRLF in DATA; default 1,000 (RFC 5321 4.5.3.1.6); a longer one: 500 5.5.2 at the end */
    uint32_t errors_max;         /* broken or misplaced commands that are borne, the next gets 421 4.7.0 and close; a message accepted forgives; default 20 */
    uint32_t auth_failures_max;  /* that many 5yz to AUTH, and 421 4.7.0 follows the last; default 3 */
    uint32_t idle_commands_max;  /* NOOP, RSET, VRFY, HELP, EHLO without a transaction between; default 200, then 421 */
    uint32_t unknown_outcomes_max; /* XOUTCOME answered 550, likewise; default 65,536: an agent whose relay has lost its database asks about all that it had handed over, and with a copy of none it has no message to send between */
    unsigned auth_mechanisms;    /* set of enum sasl_mechanism offered when AUTH is allowed; 0: no AUTH. -PLUS and HT only where the channel has what they bind to */
    int64_t command_timeout_ms;  /* default 300,000 (RFC 5321 4.5.3.2.7) */
    int64_t data_timeout_ms;     /* between two pieces of a body; default 180,000 */
    int64_t pre_auth_timeout_ms; /* from the start to success of AUTH, where authentication is required; default 60,000 */
    uint64_t body_rate_min;      /* octets per second over a body, after data_timeout_ms of grace; default 0: off */
    bool offers_starttls;
    bool allows_auth_without_tls; /* only for loopback listeners and SCRAM-less clients on them */
    bool requires_tls;
    bool requires_auth;
    bool offers_device;          /* XDEVICE, to who has logged in by name and password inside TLS */
    bool offers_checkpoint;      /* CHECKPOINT (RFC 1845), inside TLS: MAIL may name its transaction */
    bool offers_pipeconnect;     /* PIPECONNECT, inside TLS: octets before our greeting are welcome */
    bool offers_smtputf8, offers_binarymime; /* off where the next hop is known to lack them */
    const char *outcome;         /* parameters of XOUTCOME, announced inside TLS; NULL: not offered; outlives the core */
    const char *ways;            /* parameters of XWAYS, announced inside TLS; NULL: none; outlives the core */
    const struct log *log;       /* state changes, at debug level; may be NULL */
    struct slice session_id;     /* for the log */
};

enum smtp_server_event_type {
    SMTP_SERVER_AUTH,              /* mechanism, has_data, data: the initial response out of base64 */
    SMTP_SERVER_AUTH_RESPONSE,     /* data */
    SMTP_SERVER_AUTH_CANCELLED,    /* the client sent "*" or broke the exchange; already answered: drop the SASL state */
    SMTP_SERVER_DEVICE,            /* XDEVICE, data: the device's label, out of xtext: smtp_server_answer with 250 2.0.0 "ID TOKEN" */
    SMTP_SERVER_OUTCOME,           /* XOUTCOME, data: the transid, first: the recipient to begin with: smtp_server_answer, on several lines */
    SMTP_SERVER_STARTTLS,          /* send all output, then handshake, then smtp_server_tls_started */
    SMTP_SERVER_MAIL,              /* envelope: sender and parameters; size_octets as declared, 0 if not; data: TRANSID, empty if not given; is_whole: XWHOLE */
    SMTP_SERVER_RCPT,              /* recipient */
    SMTP_SERVER_BODY_BEGIN,        /* envelope: whole, with the recipients that were accepted in this session, perhaps none after smtp_server_resume; is_bdat */
    SMTP_SERVER_BODY,              /* data: octets of the message, dots unstuffed; valid until the next call */
    SMTP_SERVER_BODY_END,          /* size_octets: as passed on in BODY events, without what was held; has_8bit. After BDAT the last line may lack its CRLF */
    SMTP_SERVER_TRANSACTION_ENDED, /* RSET, EHLO, refusal, size, disconnection ...: drop what was gathered, or keep it under its name; is_refused: not even that, the core has refused the body */
    SMTP_SERVER_CLOSE,             /* send all output and close; no event comes after it */
};

/* Every session has room for a few of these, so what no two events need at once shares its place. */
struct smtp_server_event {
    enum smtp_server_event_type type;
    union {
        unsigned mechanism; /* AUTH: enum sasl_mechanism */
        uint32_t first;     /* OUTCOME */
    };
    bool has_data;
    bool is_bdat;
    bool is_whole;
    bool is_refused;
    bool has_8bit; /* BODY_END: some octet of the body was above 127, whatever BODY= said; 7BIT with such octets is accepted */
    struct slice data;
    union {
        const struct envelope *envelope;
        const struct envelope_recipient *recipient; /* RCPT */
    };
    uint64_t size_octets;
};

struct smtp_server;

/* What the channel can be bound by: -PLUS is offered with any binding, HT with "tls-exporter" alone. */
enum smtp_server_binding { SMTP_SERVER_NO_BINDING, SMTP_SERVER_SOME_BINDING, SMTP_SERVER_EXPORTER };
enum smtp_server_binding smtp_server_binding_of(const struct sasl_binding *bindings, size_t nbindings);

/* NULL: out of memory. is_tls: the connection is inside TLS from its first octet. */
struct smtp_server *smtp_server_new(const struct smtp_server_config *config, bool is_tls, enum smtp_server_binding binding, int64_t now_ms);
void smtp_server_free(struct smtp_server **server);

/* How many octets were taken. Less than all: call again when next() has run dry or the answer has been given. */
size_t smtp_server_feed(struct smtp_server *server, struct slice in, int64_t now_ms);
/* False: idle, or parked for an answer. Slices in the event are valid until the next call of any function here. */
bool smtp_server_next(struct smtp_server *server, struct smtp_server_event *event);
bool smtp_server_is_parked(const struct smtp_server *server);
/* The answer to the event that parked the session. A 421 closes the session after it, whatever was asked. The client's time to go on
 * counts from now_ms. */
void smtp_server_answer(struct smtp_server *server, const struct smtp_reply *reply, int64_t now_ms);
/* The answer to MAIL when the transaction is known (RFC 1845): 355 with the octets of the message that are here; what comes with DATA or BDAT is behind them, and counts with them towards the largest
 * size. is_told false: 250 is said in place of 355 (XWHOLE), and the octets come from the first. Either way nrcpt recipients are known already, so that the body may come without RCPT; those that come
 * are events as usual, at least nrcpt of them whatever nrcpt_max says now, but if there are any known already BODY_BEGIN names none: the driver has the record. */
/* is_over: the message is here and has got its reply. What still comes of it is not measured, and is the driver's to drop. A half whose declared size is above the configured one gets 552, and ends with is_refused. */
void smtp_server_resume(struct smtp_server *server, bool is_told, bool is_over, uint64_t held_octets, size_t nrcpt, int64_t now_ms);
/* 334 with data, which is turned into base64 here. */
void smtp_server_challenge(struct smtp_server *server, struct slice data, int64_t now_ms);
/* Call before answering 235: the name counts as authenticated from then on. Copied. RESULT_OK, RESULT_MEMORY. */
MUST_CHECK enum result smtp_server_set_user(struct smtp_server *server, struct slice user);
void smtp_server_tls_started(struct smtp_server *server, enum smtp_server_binding binding, int64_t now_ms);
/* Ends the session from outside: 421 4.3.2 or the reply given (NULL: the former), at the next point where a reply may stand: at once
 * between commands and in AUTH, with the answer when parked, at its end in a body, and without words in a handshake. */
void smtp_server_shut(struct smtp_server *server, const struct smtp_reply *reply);
/* The peer's half of the connection is gone, and all that came before was fed: TRANSACTION_ENDED if one was open, then CLOSE. When parked it takes effect with
 * the answer, so that a client that sends all and half-closes still gets its replies. */
void smtp_server_eof(struct smtp_server *server);
/* The connection is dead and no answer will be given any more. What is owed is forgotten, and so are events that nobody took; TRANSACTION_ENDED and
 * AUTH_CANCELLED come for what the driver was told of, but not for a transaction whose BODY_END it took: that is the store's. Then CLOSE. */
void smtp_server_abandon(struct smtp_server *server);

struct slice smtp_server_output(const struct smtp_server *server);
void smtp_server_sent(struct smtp_server *server, size_t n);
/* When tick must be called at the latest, or INT64_MAX. While parked there is none: the delay is ours. */
int64_t smtp_server_deadline_ms(const struct smtp_server *server);
void smtp_server_tick(struct smtp_server *server, int64_t now_ms);
/* The driver held input back since it last called with a time, and goes on now: the client's clocks stood still meanwhile. */
void smtp_server_resumed(struct smtp_server *server, int64_t now_ms);

/* Facts for Received: and logs. Empty or false until known. */
struct slice smtp_server_helo(const struct smtp_server *server);
struct slice smtp_server_user(const struct smtp_server *server);
/* How many commands have been understood or refused so far: whoever sends the next has as a rule read the last reply. */
uint64_t smtp_server_ncommands(const struct smtp_server *server);
/* "ESMTPSA", "UTF8SMTPSA" ... (RFC 3848, RFC 6531 4.3); "SMTP" after HELO. */
const char *smtp_server_protocol(const struct smtp_server *server);
const char *smtp_server_state_name(const struct smtp_server *server);

#endif
