/* What the files of the client core share: client.c (life, octets, time), client_session.c (greeting to AUTH, XDEVICE), client_early.c (the same in one flight with the
 * first message), client_transaction.c (MAIL to the reply to the message), client_body.c (its octets), client_resume.c (its name, going on in the middle, and the pause) and client_outcome.c (XOUTCOME). Nobody else includes this.
 *
 * Invariants; the tests name them by number.
 *   1 The same octets from the peer in any chunking give the same events and the same output.
 *   2 A reply counts only if the flight of commands that it answers has begun to leave, and a positive one to a message only if the whole
 *     message has left: who answers before he was asked is not the peer we think we talk to. An early EHLO, its AUTH, and what comes behind are three flights here, though
 *     they may leave as one. The greeting alone answers nothing and may come whenever it likes.
 *   3 The number of replies awaited is always the number of commands sent less those answered (client_awaited); a reply that nobody
 *     awaits ends the session, 421 included. Of an early session the greeting (where there is one), EHLO and AUTH are such commands, before all others.
 *   4 A transaction ends in exactly one SENT or in FAILED or CLOSED; a message that is given up never gets its last octet. Who fails as SMTP_FAIL_EARLY is sure that the peer took no message.
 *   5 No octet of a credential lies in memory after the exchange that needed it, nor of a token that the peer gave after the call behind DEVICE.
 *   6 An early session has said nothing before smtp_client_login.
 *   7 A message goes on in the middle only where we asked for it and the peer named the octet (355), and ends at its whole size, whatever its beginning; a paused one has had no last octet. */
#ifndef POSTERN_SMTP_CLIENT_INTERNAL_H
#define POSTERN_SMTP_CLIENT_INTERNAL_H

#include "base/arena.h"
#include "smtp/client.h"
#include "smtp/stuff.h"

enum { CLIENT_OUTPUT_LOW = 32 * 1024 }; /* octets that wait to be sent, above which no further command is put behind them, and no piece of a body is asked for */

enum client_state {
    CLIENT_GREETING,
    CLIENT_EHLO,
    CLIENT_HELO,
    CLIENT_STARTTLS,
    CLIENT_TLS,
    CLIENT_PROVEN,
    CLIENT_AUTH,
    CLIENT_READY,
    CLIENT_DEVICE,
    CLIENT_OUTCOME,
    CLIENT_ENVELOPE, /* some reply to MAIL, RCPT or DATA is missing; the body may be under way already */
    CLIENT_BODY,
    CLIENT_FINAL, /* all is said, replies are missing */
    CLIENT_QUIT,
    CLIENT_CLOSED,
    CLIENT_FAILED,
};

/* What the next reply answers, of those that may be awaited several at a time. */
enum client_command {
    CLIENT_COMMAND_NONE,
    CLIENT_COMMAND_GREETING, /* this one and the next two: of an early session */
    CLIENT_COMMAND_EHLO,
    CLIENT_COMMAND_AUTH,
    CLIENT_COMMAND_RSET,
    CLIENT_COMMAND_MAIL,
    CLIENT_COMMAND_RCPT,
    CLIENT_COMMAND_DATA,
    CLIENT_COMMAND_BDAT,
    CLIENT_COMMAND_DOT,
    CLIENT_COMMAND_PAUSE, /* the RSET behind a message that is left */
    CLIENT_COMMAND_OUTCOME,
};

/* How far one command has come. */
enum client_progress { CLIENT_UNSENT, CLIENT_ASKED, CLIENT_ANSWERED };

/* A session that takes for heard what the peer said the last time. All zero: it does not. */
struct client_early {
    bool is_on;
    enum client_progress greeting, ehlo, auth; /* the greeting is ASKED from the start, or never where STARTTLS has had it */
    uint64_t auth_at, end_at; /* where in the output AUTH begins, and what comes behind it */
    bool is_contradicted; /* what the running transaction relies on is gone, but it has left: the peer may yet take it */
};

struct client_transaction {
    struct smtp_transaction asked;
    bool uses_bdat;
    bool awaits_facts;    /* by what `early` said it can't go: nothing is said before EHLO's reply is in */
    bool has_name;        /* TRANSID is said */
    bool asks;            /* nothing follows MAIL before its reply */
    bool is_resumed;      /* 355 */
    bool wants_pause;
    unsigned relied;      /* capabilities without which what was said makes no sense */
    size_t nplanned;      /* recipients that go to the peer */
    bool has_local_recipients; /* some are refused here */
    enum client_progress rset, mail, data, dot, pause;
    size_t nrcpt_end;                /* recipients from here on wait for another transaction */
    size_t rcpt_asked, rcpt_answered; /* indices in the envelope: those before have been */
    size_t local;                    /* likewise, told by us where it is ours to tell */
    size_t naccepted;
    uint64_t nbdat_asked, nbdat_answered;
    size_t newest_octets; /* of the last BDAT asked */
    uint64_t start;  /* octets of the body that the peer held at the beginning */
    uint64_t octets; /* of the body so far, with those */
    struct smtp_stuff stuff;
    bool is_body_wanted; /* BODY_WANTED was given and not yet answered */
    bool is_body_whole;  /* the last piece is in the output */

    bool has_verdict;
    bool is_verdict_local;
    bool is_renamed;     /* MAIL was refused because of the name */
    bool breaks_session; /* the peer waits for the rest of a message that will not come */
    struct smtp_reply verdict;
    const char *verdict_phase;
};

struct smtp_client {
    struct smtp_client_config config; /* slices in the arena; not the credentials */
    struct arena arena;
    char *user, *password; /* NUL-terminated; password NULL once it is not needed any more */
    size_t user_len, password_len;
    char *device, *token; /* likewise */
    size_t device_len, token_len;
    bool uses_token, is_token_refused;
    struct {
        char device[SMTP_DEVICE_ID_MAX];
        uint8_t token[SASL_TOKEN];
    } given; /* by the peer, for the event */
    bool has_given;
    struct sasl_binding bindings[SMTP_CLIENT_BINDINGS_MAX];
    size_t nbindings;
    struct sasl_client *sasl;
    struct buffer response; /* of the machine, before base64 */
    bool owes_initial;      /* the initial response did not fit the AUTH command and waits in `response` */
    unsigned nchallenges;

    enum client_state state;
    bool is_tls;
    bool is_eof;
    bool has_said_hello; /* before the greeting */
    bool owes_event; /* the one of entering TLS, PROVEN, READY or CLOSED */
    bool needs_rset;
    enum smtp_failure failure; /* owed as FAILED, unless the state is CLIENT_FAILED already */
    bool has_failure_reply;
    const char *failure_phase;

    struct smtp_peer peer; /* epoch and ways in the arena */
    char peer_name[256];

    struct buffer in, out;
    bool may_have_reply;     /* a line has ended since the parser asked for more */
    size_t look_at_len;      /* of the input, at which the parser is asked even so */
    struct buffer text;      /* of the reply at hand */
    struct smtp_reply reply;
    struct buffer verdict_text;
    uint64_t octets_sent;
    uint64_t octets_sent_when_heard; /* octets_sent as it was when the last input came: a reply can only be about what had been sent by then */
    uint64_t last_octet_at; /* where the body put into the output so far ends */
    uint64_t flight_at; /* where in the output the commands begin of which one awaits the next reply */

    int64_t now_ms;
    int64_t progress_at_ms; /* a reply came, or octets left */

    struct client_early early;
    struct client_transaction t;
    struct {
        struct buffer lines; /* not said yet */
        size_t asked, answered;
    } questions; /* of XOUTCOME */
};

enum client_step { CLIENT_STEP_IDLE, CLIENT_STEP_AGAIN, CLIENT_STEP_EVENT };

void client_set_state(struct smtp_client *c, enum client_state state);
/* The session is over: FAILED is owed. Drops what waits to be sent, so that no half of a message is completed by chance. */
void client_fail(struct smtp_client *c, enum smtp_failure failure);
/* The same with the reply at hand. */
void client_fail_reply(struct smtp_client *c, enum smtp_failure failure);
const char *client_phase(const struct smtp_client *c);

/* The next whole reply is in c->reply. False: there is none, or the session has failed over it. A 421 is a failure here. */
bool client_take_reply(struct smtp_client *c);
/* Marks where the next command begins, if none is awaiting its reply. */
void client_begin_flight(struct smtp_client *c);
void client_put(struct smtp_client *c, struct slice octets);
void client_put_number(struct smtp_client *c, uint64_t number);

/* client_session.c */
enum client_step client_session_step(struct smtp_client *c, struct smtp_client_event *event);
/* EHLO alone, whatever the state. */
void client_put_hello(struct smtp_client *c);
void client_say_hello(struct smtp_client *c);
/* Copies name, epoch and ways. */
void client_keep_peer(struct smtp_client *c, const struct smtp_peer *peer);
void client_start_auth(struct smtp_client *c);
/* Whether device and token have the shape of such, and the channel the binding that they need. */
bool client_can_use_token(const struct smtp_client *c);
void client_say_token(struct smtp_client *c);
void client_on_auth_success(struct smtp_client *c);
void client_forget_credentials(struct smtp_client *c);
/* What the peer gave with DEVICE. */
void client_forget_given(struct smtp_client *c);
enum smtp_failure client_classify_foreign(struct slice in);

/* client_early.c */
bool client_early_begin(struct smtp_client *c);
void client_early_login(struct smtp_client *c);
/* The reply at hand answers this. */
void client_early_reply(struct smtp_client *c, enum client_command answered);
/* GREETING, EHLO, AUTH, or NONE. */
enum client_command client_early_awaited(const struct smtp_client *c);

/* client_transaction.c */
enum client_step client_transaction_step(struct smtp_client *c, struct smtp_client_event *event);
enum client_command client_awaited(const struct smtp_client *c);
/* Whether the peer may have the message: its last octet has left, and nothing said that it was for nobody. */
bool client_is_uncertain(const struct smtp_client *c);
bool client_has_transaction(const struct smtp_client *c);
/* Whether what the running transaction has said, if there is one, is right for such a peer too. */
bool client_transaction_suits(const struct smtp_client *c, const struct smtp_peer *peer);
/* EHLO's reply is in: a transaction that waited for it is looked at again. */
void client_transaction_reconsider(struct smtp_client *c);

bool client_is_envelope_asked(const struct client_transaction *t);
bool client_is_envelope_answered(const struct client_transaction *t);
/* The transaction ends with a reply of ours. */
void client_judge_locally(struct smtp_client *c, struct smtp_reply reply, const char *phase);

/* client_body.c */
bool client_wants_body(const struct smtp_client *c);
/* True: BODY_WANTED. Of a message that is all there the end alone is missing, and that is said without it. */
bool client_want_body(struct smtp_client *c, struct smtp_client_event *event);

/* client_resume.c */
/* Whether this can stand in a command. */
bool client_resume_is_name(struct slice transid);
/* What the peer offers is known: has the transaction a name? */
void client_resume_plan(struct smtp_client *c);
/* The parameters of MAIL. */
void client_resume_say_name(struct smtp_client *c);
/* The reply at hand refuses MAIL because of its name. */
bool client_resume_is_renamed(const struct smtp_client *c);
/* The reply at hand is a 355 to MAIL. False: it must not be, and the session has failed. */
bool client_resume_on_offset(struct smtp_client *c, struct smtp_client_event *event);
void client_resume_say_pause(struct smtp_client *c);
void client_resume_on_pause(struct smtp_client *c);
/* A pause was asked for, and nothing of the transaction is left at the peer that RSET would take away. */
bool client_resume_is_paused(const struct smtp_client *c);

/* client_outcome.c */
enum client_step client_on_outcome(struct smtp_client *c, struct smtp_client_event *event);

#endif
