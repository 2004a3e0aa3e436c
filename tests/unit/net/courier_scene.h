/* The sending side of a test of the courier: a message in a real store, a session with whoever the test puts there, and what came of it. */
#ifndef POSTERN_TESTS_UNIT_NET_COURIER_SCENE_H
#define POSTERN_TESTS_UNIT_NET_COURIER_SCENE_H

#include "support/net_store.h"
#include "support/store_world.h"

#include "net/courier.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MESSAGE = 9, LARGE = 1000 * 1000, NRCPT = 3 /* at most */ };

struct sender {
    struct netloop *net;
    struct world world;
    struct store_client *client; /* on that loop */
    struct outbound *outbound;
    struct courier *courier;
    struct store_job *job;
    char *body;
    size_t size;
    struct courier_result results[NRCPT];
    char replies[NRCPT][200];
    uint64_t pauses_at; /* octets at which the session is asked to pause; 0: never */
    bool has_asked, is_ready, is_done, is_paused, is_over;
};

static void sender_on_event(void *context, struct outbound *outbound, const struct outbound_event *event)
{
    struct sender *sender = context;
    bool is_smtp = event->type == OUTBOUND_SMTP;
    if (is_smtp && event->smtp.type == SMTP_CLIENT_BODY_WANTED && sender->pauses_at > 0 && event->smtp.offset >= sender->pauses_at && !sender->has_asked) {
        sender->has_asked = true;
        smtp_client_pause(outbound_core(outbound), loop_now_ms(&sender->net->loop));
    }
    if (sender->courier)
        courier_event(sender->courier, event);
    if (is_smtp && event->smtp.type == SMTP_CLIENT_PROVEN)
        smtp_client_login(outbound_core(outbound), loop_now_ms(&sender->net->loop));
    else if (is_smtp && event->smtp.type == SMTP_CLIENT_READY)
        sender->is_ready = true;
    else if (event->type == OUTBOUND_CLOSED)
        sender->outbound = NULL;
}

static void sender_on_done(void *context, struct courier *courier)
{
    struct sender *sender = context;
    assert_ptr_equal(courier, sender->courier);
    assert_false(sender->is_done);
    sender->is_done = true;
    sender->is_paused = courier_is_paused(courier);
    sender->is_over = courier_is_session_over(courier);
    for (size_t i = 0; i < courier_job(courier)->nrecipients; i++) {
        sender->results[i] = courier_results(courier)[i];
        slice_to_cstr(sender->results[i].reply, sender->replies[i], sizeof sender->replies[i]);
    }
}

/* A message of lines, in the store, and its job. */
static void sender_open(struct sender *sender, size_t nrcpt, size_t octets)
{
    sender->size = octets;
    sender->body = malloc(octets);
    assert_non_null(sender->body);
    world_make(&sender->world);
    assert_int_equal(world_open(&sender->world), RESULT_OK);
    world_fill(MESSAGE, sender->body, octets);
    memcpy(sender->body + octets - 2, "\r\n", 2);
    for (size_t i = 80; i + 2 < octets; i += 80)
        memcpy(sender->body + i, "\r\n", 2);
    assert_int_equal(world_put(&sender->world, MESSAGE, slice_of(sender->body, octets), nrcpt, 0), RESULT_OK);
    assert_int_equal(world_load(&sender->world, MESSAGE, (struct slice){0}, &sender->job), RESULT_OK);
}

/* A session on its way; is_ready comes. */
static void sender_connect(struct sender *sender, struct netloop *net, const struct sockaddr_storage *address)
{
    const struct outbound_target target = {.address = *address, .smtp = {.security = SMTP_SECURITY_NONE, .ehlo_name = SLICE("x.example")}};
    sender->net = net;
    assert_int_equal(store_client_open(&sender->client, sender->world.store, &net->loop), RESULT_OK);
    assert_int_equal(outbound_open(&sender->outbound, &net->loop, &target, (struct outbound_handler){sender_on_event, sender}, NULL), RESULT_OK);
}

static void sender_await_ready(struct sender *sender)
{
    NET_UNTIL(sender->net, sender->is_ready);
    sender->is_ready = false;
}

/* naming: as courier_start's. */
static void sender_start(struct sender *sender, const struct courier_naming *naming)
{
    sender->courier = courier_start(sender->client, sender->outbound, sender->job, naming, sender_on_done, sender);
    assert_non_null(sender->courier);
    sender->job = NULL;
    outbound_pump(sender->outbound);
}

static void sender_hang_up(struct sender *sender)
{
    courier_free(&sender->courier);
    store_job_free(&sender->job);
    if (sender->outbound)
        outbound_close(sender->outbound);
    NET_UNTIL(sender->net, !sender->outbound);
}

/* Hung up before; the loop is the test's to close. */
static void sender_close(struct sender *sender)
{
    net_store_drain(sender->net, sender->client);
    net_store_close(sender->net, &sender->client);
    world_end(&sender->world);
    free(sender->body);
}

#endif
