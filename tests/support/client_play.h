/* A driver for the SMTP client core without sockets: a test plays the server, and reads what the core said and told.
 *
 *   struct play p;
 *   play_open(&p, &(struct smtp_client_config){.ehlo_name = SLICE("laptop.example")});
 *   play_server(&p, "220 mx.example\r\n");
 *   assert_string_equal(play_said(&p), "EHLO laptop.example\r\n");
 *   play_server(&p, "250 mx.example\r\n");
 *   assert_string_equal(play_told(&p), "PROVEN\n");
 *
 * Between two calls the play is at rest: no event is waiting, the output has been taken. An event is a line:
 *
 *   STARTTLS, PROVEN, READY, BODY, CLOSED
 *   RESUMED 655360                          BODY goes on there
 *   OUTCOME 0: 550 5.5.4 unknown
 *   DEVICE d1                               or the reply, when there was none
 *   RECIPIENT 0: 250 2.1.5 ok               "(ours)" at the end: is_local
 *   SENT accepted: 250 ok [end of data]     accepted, deferred, refused, paused, rename, nobody
 *   FAILED shut [MAIL FROM]: 421 bye        "uncertain" behind the phase
 *
 * By itself the play logs in (after PROVEN) unless told otherwise, and hands out the body of the message in pieces; it starts no
 * transaction, and stops at STARTTLS until play_tls. */
#ifndef POSTERN_TESTS_SUPPORT_CLIENT_PLAY_H
#define POSTERN_TESTS_SUPPORT_CLIENT_PLAY_H

#include "base/buffer.h"
#include "smtp/client.h"

struct play {
    struct smtp_client *client; /* NULL: out of memory */
    int64_t now_ms;
    struct buffer said, told;
    struct slice body;
    size_t piece;          /* octets of one smtp_client_body; 0: as many as may be */
    size_t body_at;
    bool waits_at_proven;
    bool keeps_body;       /* BODY_WANTED is left to the test: play_body */
    bool keeps_output;     /* nothing is taken from the output but by play_take */
    size_t output_max;     /* the most that ever waited */
};

void play_open(struct play *p, const struct smtp_client_config *config);
/* A session in READY with a peer that announced `extensions`: lines of EHLO, each "250-...\r\n". What was said and told so far is cleared. */
void play_open_ready(struct play *p, const char *extensions);
void play_close(struct play *p);

/* Octets from the server. */
void play_feed(struct play *p, struct slice octets);
void play_server(struct play *p, const char *octets);
void play_eof(struct play *p);
void play_tls(struct play *p, const struct sasl_binding *bindings, size_t nbindings);
/* The message's size, if the transaction has none, is the body's. */
void play_send(struct play *p, const struct smtp_transaction *transaction, struct slice body);
void play_device(struct play *p, struct slice label);
void play_outcomes(struct play *p, const struct smtp_outcome_question *questions, size_t n);
void play_pause(struct play *p);
/* The next piece. */
void play_body(struct play *p);
void play_quit(struct play *p);
/* Lets time pass, and ticks. */
void play_wait(struct play *p, int64_t ms);
/* Takes at most n octets of the output. */
void play_take(struct play *p, size_t n);
/* Events and output until nothing moves. */
void play_pump(struct play *p);

/* What came since the last call of the same. Valid until the next call of any. */
const char *play_said(struct play *p);
const char *play_told(struct play *p);

#endif
