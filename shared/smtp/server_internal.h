/* What the files of the server core share; nobody else includes it. server.c is the pump, server_line.c the lines, server_command.c the commands, server_auth.c AUTH,
 * server_device.c XDEVICE, server_outcome.c XOUTCOME, server_body.c DATA and BDAT. */
#ifndef POSTERN_SMTP_SERVER_INTERNAL_H
#define POSTERN_SMTP_SERVER_INTERNAL_H

#include "smtp/command.h"
#include "smtp/data.h"
#include "smtp/server.h"

enum smtp_server_state {
    SMTP_SERVER_GREETING,  /* no EHLO or HELO yet */
    SMTP_SERVER_READY,     /* no transaction */
    SMTP_SERVER_HAS_MAIL,  /* a sender, no recipient */
    SMTP_SERVER_HAS_RCPT,  /* or some that the driver knows, of a transaction that goes on */
    SMTP_SERVER_BETWEEN,   /* BDAT chunks were taken, the last is to come */
    SMTP_SERVER_IN_AUTH,
    SMTP_SERVER_IN_TLS,    /* from STARTTLS to smtp_server_tls_started */
    SMTP_SERVER_DATA,
    SMTP_SERVER_DATA_DROP, /* the verdict is known, the end is not */
    SMTP_SERVER_CHUNK,
    SMTP_SERVER_CHUNK_DROP,
    SMTP_SERVER_BODY_DONE, /* BODY_END is not answered yet */
    SMTP_SERVER_CLOSING,
};

/* The answer that the session is parked for. */
enum smtp_server_owed {
    SMTP_OWED_NOTHING,
    SMTP_OWED_AUTH,
    SMTP_OWED_DEVICE,
    SMTP_OWED_OUTCOME,
    SMTP_OWED_MAIL,
    SMTP_OWED_RCPT,
    SMTP_OWED_BODY_BEGIN,
    SMTP_OWED_BODY_END,
};

/* What is to happen at the next point where a reply may stand. */
enum smtp_server_ending { SMTP_ENDING_NONE, SMTP_ENDING_EOF, SMTP_ENDING_SHUT };

enum {
    SMTP_SERVER_EVENTS = 4,               /* the most that one step makes: BODY, AUTH_CANCELLED or TRANSACTION_ENDED, CLOSE */
    SMTP_SERVER_OUTPUT_MAX = 128 * 1024,  /* octets; never met, as input stops at SMTP_SERVER_OUTPUT_HIGH */
};

struct smtp_server {
    struct smtp_server_config config; /* its slices point to names */
    enum smtp_server_state state;
    enum smtp_server_owed owed;
    enum smtp_server_ending ending;
    unsigned nevents;
    struct smtp_reply ending_reply; /* its text is on the heap; no code: the usual one */
    struct smtp_server_event events[SMTP_SERVER_EVENTS];

    struct buffer line;   /* a command line that came in pieces; no memory between lines */
    struct buffer output; /* no memory when all is sent */

    bool is_tls, has_binding, has_exporter, is_esmtp, is_authenticated;
    bool is_by_password;  /* authenticated, or trying to be, by what a person knows */
    bool has_device;      /* XDEVICE was answered */
    bool line_has_cr;     /* the last octet of `line` was a CR, which is not in the buffer */
    bool line_is_long;    /* it is read to its end and dropped */
    bool is_too_large;    /* by MAIL's SIZE */
    bool is_unmeasured;   /* the message is here already, what comes of it is dropped */
    bool has_transaction; /* a MAIL event was given that no TRANSACTION_ENDED or answer to BODY_END has closed */
    bool chunk_is_last;
    bool is_known;        /* the transaction has recipients from an earlier session; those that are taken again are not in `envelope` */
    struct slice helo, user; /* on the heap */
    struct buffer secret;    /* what AUTH said, out of base64; or XDEVICE, out of xtext */

    struct arena arena;   /* of the transaction; no memory without one */
    struct envelope envelope;
    size_t rcpt_capacity;
    struct envelope_recipient candidate; /* of the RCPT event that is not answered; its text is in candidate_text */
    struct buffer candidate_text;        /* or the transid of an OUTCOME event that is not answered */

    struct smtp_data data;
    uint64_t held_octets;                /* of the message, here since an earlier session */
    uint64_t body_octets;                /* of the message so far, in this session */
    uint64_t taken_octets;               /* of bodies, as they came, since a message was last accepted */
    uint64_t chunk_octets, chunk_left;   /* of this BDAT */
    uint32_t nknown_left; /* of is_known: so many may be taken again */
    enum smtp_server_state after_drop;   /* CHUNK_DROP: where to go on */
    const struct smtp_reply *verdict;    /* DATA_DROP, CHUNK_DROP: the reply at the end */
    struct smtp_reply refusal;           /* what the driver said of a BDAT, for verdict; its text is on the heap */

    unsigned nechoes; /* commands without a transaction that may be refused yet without counting, because they were pipelined behind a MAIL that was */
    unsigned nerrors, nauth_failures, nidle, nunknown_outcomes, ntransactions;
    uint64_t ncommands;
    int64_t now_ms;
    int64_t start_ms;      /* of the session */
    int64_t since_ms;      /* the client owes us something from here on */
    int64_t body_start_ms; /* of this DATA or chunk */
    uint64_t body_start_octets; /* taken_octets then */
    char names[];          /* config.hostname, config.session_id */
};

/* ---- server.c ---- */
void server_set_state(struct smtp_server *server, enum smtp_server_state state);
struct smtp_server_event *server_add_event(struct smtp_server *server, enum smtp_server_event_type type);
/* Writes a reply. Without memory for it the session ends. */
void server_reply(struct smtp_server *server, const struct smtp_reply *reply);
/* A reply to a command that was wrong, which counts: beyond errors_max it becomes 421 and the end. What only follows from an earlier refusal
 * (server_mail_first, pipelined) does not. */
void server_refuse(struct smtp_server *server, const struct smtp_reply *reply);
/* Ends the session, with words or (NULL) without. */
void server_close(struct smtp_server *server, const struct smtp_reply *reply);
/* Ends it now if eof or shut asked for that and a reply may stand here. */
void server_end_if_wished(struct smtp_server *server);
/* TRANSACTION_ENDED if one is open; its memory is given back either way. */
void server_end_transaction(struct smtp_server *server);
/* Copies to the heap, for what lives as long as the session. */
MUST_CHECK enum result server_keep(struct slice *kept, struct slice text);
void server_forget(struct slice *kept);

/* ---- server_line.c ---- */
/* Takes from the front of `in` up to the end of one line, in the states that take commands and in AUTH. */
size_t server_take_line(struct smtp_server *server, struct slice in);
extern const struct smtp_reply server_foreign;

/* ---- server_command.c ---- */
void server_command(struct smtp_server *server, struct slice line);
void server_mail_answered(struct smtp_server *server, const struct smtp_reply *reply);
void server_mail_resumed(struct smtp_server *server, bool is_told, bool is_over, uint64_t held_octets, size_t nrcpt);
void server_rcpt_answered(struct smtp_server *server, const struct smtp_reply *reply);
extern const struct smtp_reply server_no_memory, server_short_of_memory, server_mail_first, server_auth_first;

/* ---- server_auth.c ---- */
/* The set that EHLO offers now. */
unsigned server_mechanisms(const struct smtp_server *server);
void server_auth(struct smtp_server *server, const struct smtp_command *command);
void server_auth_line(struct smtp_server *server, struct slice line);
/* Ends an exchange by our own word. */
void server_auth_break(struct smtp_server *server, const struct smtp_reply *reply);
void server_auth_answered(struct smtp_server *server, const struct smtp_reply *reply);

/* ---- server_device.c ---- */
void server_device(struct smtp_server *server, const struct smtp_command *command);
void server_device_answered(struct smtp_server *server, const struct smtp_reply *reply);

/* One more question about a name that is not known. True: as below. */
bool server_asks_in_vain(struct smtp_server *server);
/* One more command without a message. True: it was one too many, and the session is over. */
bool server_idles(struct smtp_server *server);

/* ---- server_outcome.c ---- */
void server_outcome(struct smtp_server *server, const struct smtp_command *command);
void server_outcome_answered(struct smtp_server *server, const struct smtp_reply *reply);

/* ---- server_body.c ---- */
void server_data(struct smtp_server *server);
/* refusal: NULL, or why it may not come now; its octets are dropped then. */
void server_bdat(struct smtp_server *server, const struct smtp_command *command, const struct smtp_reply *refusal);
/* Takes from the front of `in`, in states DATA to CHUNK_DROP. */
size_t server_take_body(struct smtp_server *server, struct slice in);
void server_body_begin_answered(struct smtp_server *server, const struct smtp_reply *reply);
void server_body_end_answered(struct smtp_server *server, const struct smtp_reply *reply);

#endif
