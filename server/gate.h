/* Taking mail in: the policy of the relay's listeners, as the handler of net/service.h. One struct gate for each loop.
 *
 *   AUTH         login.h
 *   XDEVICE      enrolment.h
 *   MAIL         the sender is one that the account may send as, or <> (then only to itself); with TRANSID, checkpoint.h
 *   RCPT         any full address; the queue finds out the rest
 *   XOUTCOME     outcome.h
 *   body         mta/intake.h; every address of From: and Sender: is one that the account may send as
 *   end of body  the store's commit, and only it, is the 250; then the delivery is told (on_queued)
 *
 * Nobody sends without a login: the core answers 530 on every port to everybody. What the client's address or EHLO name is stands in the log, never
 * in a message. */
#ifndef POSTERN_SERVER_GATE_H
#define POSTERN_SERVER_GATE_H

#include "login.h"
#include "conf.h"
#include "queued_letter.h"
#include "served.h"
#include "underway.h"

#include "mta/intake.h"

struct gate_services {
    struct login_services login;
    uv_loop_t *loop;
    const struct served *served;
    struct underway *underway;  /* of all loops */
    struct conf *conf; /* a reference */
    uint64_t (*next_id)(void *context);
    /* Takes `queued`; from this loop's thread. NULL instead of a letter: memory is out, look into the store for what is new. */
    void (*on_queued)(void *context, struct queued_letter *queued);
    _Atomic uint32_t *sessions; /* how many there are now, over all loops */
    void *context;
};

struct gate;

/* Takes the reference of conf. NULL: out of memory. */
struct gate *gate_new(const struct gate_services *services);
/* When all its sessions are closed and the store has answered. */
void gate_free(struct gate **gate);
/* For sessions to come. Takes the reference. */
void gate_set_conf(struct gate *gate, struct conf *conf);

struct service_handler gate_handler(struct gate *gate);

#endif
