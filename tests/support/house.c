#include "support/house.h"

#include "support/certificates.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct tls_context *server_tls, *client_tls;

struct tls_context *house_client_tls(void)
{
    return client_tls;
}

int house_make_identity(void **state)
{
    (void)state;
    certificates_contexts(&server_tls, &client_tls);
    return 0;
}

int house_drop_identity(void **state)
{
    (void)state;
    tls_context_unref(&client_tls);
    tls_context_unref(&server_tls);
    return 0;
}

/* ---- the policy ---- */

bool house_on_open(void *context, struct service_session *session, void **session_context, const char **refusal)
{
    struct house *house = context;
    *session_context = house;
    *refusal = "closed for the night";
    house->newest = session;
    house->opened += !house->refuses;
    assert_null(service_core(session));
    return !house->refuses;
}

static void house_answer(struct house *house, struct service_session *session)
{
    static const struct smtp_reply yes = {.code = 250, .status = {2, 0, 0}, .text = {"yes", 3}};
    if (house->answers_later) {
        assert_true(house->nlater < HOUSE_LATER_MAX);
        house->later[house->nlater++] = session;
    } else {
        service_answer(session, &yes);
    }
}

void house_answer_one(struct house *house)
{
    static const struct smtp_reply yes = {.code = 250, .status = {2, 0, 0}, .text = {"later", 5}};
    assert_true(house->nlater > 0);
    service_answer(house->later[--house->nlater], &yes);
}

static void house_event(void *session_context, struct service_session *session, const struct smtp_server_event *event)
{
    static const char *const names[] = {"AUTH ", "RESPONSE ", "CANCELLED ", "DEVICE ", "OUTCOME ", "", "MAIL ", "RCPT ", "BEGIN ", "", "END ", "ENDED ", ""};
    struct house *house = session_context;
    assert_int_equal(buffer_append_cstr(&house->story, names[event->type]), RESULT_OK);
    switch (event->type) {
    case SMTP_SERVER_AUTH:
    case SMTP_SERVER_AUTH_RESPONSE:
    case SMTP_SERVER_OUTCOME:
    case SMTP_SERVER_DEVICE:
    case SMTP_SERVER_MAIL:
    case SMTP_SERVER_RCPT:
    case SMTP_SERVER_BODY_BEGIN:
    case SMTP_SERVER_BODY_END:
        house_answer(house, session);
        break;
    case SMTP_SERVER_BODY:
        assert_false(house->is_paused);
        house->body_octets += event->data.len;
        for (size_t i = 0; i < event->data.len; i++)
            house->body_sum += (unsigned char)event->data.ptr[i];
        house->is_paused = house->pauses;
        if (house->pauses)
            service_pause(session);
        break;
    case SMTP_SERVER_STARTTLS:
    case SMTP_SERVER_CLOSE:
        fail_msg("not for the handler");
        break;
    case SMTP_SERVER_AUTH_CANCELLED:
    case SMTP_SERVER_TRANSACTION_ENDED:
        break;
    }
}

void house_on_closed(void *session_context, struct service_session *session)
{
    struct house *house = session_context;
    (void)session;
    house->closed++;
}

static void house_closed(void *session_context, struct service_session *session)
{
    struct house *house = session_context;
    house_on_closed(house, session);
    for (size_t i = 0; i < house->nlater; i++)
        if (house->later[i] == session)
            house->later[i] = house->later[--house->nlater];
    assert_int_equal(buffer_append_cstr(&house->story, "CLOSED "), RESULT_OK);
}

void house_on_stopped(void *context)
{
    ((struct house *)context)->stopped++;
}

struct service_config house_config(struct house *house)
{
    return (struct service_config){.smtp = {.hostname = SLICE("relay.example")}, .tls = server_tls, .handler = {house, house_on_open, house_event, house_closed}};
}

void house_listen(struct house *house, enum service_mode mode)
{
    struct service_listener listener = {.mode = mode};
    uv_ip4_addr("127.0.0.1", 0, (struct sockaddr_in *)&listener.address);
    char why[256];
    if (service_listen(house->service, &listener, &house->address, why, sizeof why) != RESULT_OK)
        fail_msg("%s", why);
}

void house_open(struct house *house, enum service_mode mode, const struct service_config *config)
{
    *house = (struct house){0};
    netloop_open(&house->net);
    struct service_config own = config ? *config : house_config(house);
    own.handler.context = house;
    house->service = service_new(&house->net.loop, &own);
    assert_non_null(house->service);
    house_listen(house, mode);
}

void house_close(struct house *house)
{
    if (house->stopped == 0)
        service_stop(house->service, 0, house_on_stopped, house);
    NET_UNTIL(&house->net, house->stopped == 1);
    assert_int_equal(house->opened, house->closed);
    buffer_free(&house->story);
    netloop_close(&house->net);
}

bool house_story_is(const struct house *house, const char *story)
{
    return slice_equal(buffer_slice(&house->story), slice_from_cstr(story));
}

/* ---- clients ---- */

void house_dial(struct house *house, struct net_end *end)
{
    end->got = BUFFER(1024 * 1024);
    end->closes_at_end = true;
    assert_int_equal(stream_connect(&end->stream, &house->net.loop, (struct sockaddr *)&house->address, net_end_owner(end), NULL), RESULT_OK);
    NET_UNTIL(&house->net, end->told[STREAM_OPENED] + end->told[STREAM_FAILED] == 1);
}

void house_dial_tls(struct house *house, struct net_end *end)
{
    house_dial(house, end);
    assert_int_equal(stream_start_tls(end->stream, client_tls, "relay.example", false), RESULT_OK);
    NET_UNTIL(&house->net, end->told[STREAM_SECURED] + end->told[STREAM_FAILED] == 1);
    assert_int_equal(end->told[STREAM_SECURED], 1);
}

bool net_end_has(const struct net_end *end, const char *text)
{
    struct slice got = buffer_slice(&end->got);
    size_t len = strlen(text);
    return got.len >= len && memcmp(got.ptr + got.len - len, text, len) == 0;
}

void house_greet(struct house *house, struct net_end *end)
{
    HOUSE_EXPECT(house, end, " ESMTP Postern\r\n");
    net_end_write(end, "EHLO laptop.example\r\n");
    NET_UNTIL(&house->net, net_end_has(end, "\r\n") && memmem(buffer_slice(&end->got).ptr, buffer_len(&end->got), "\r\n250 ", 6));
    buffer_clear(&end->got);
}

void house_leave(struct house *house, struct net_end *end)
{
    buffer_clear(&end->got);
    net_end_write(end, "QUIT\r\n");
    NET_UNTIL(&house->net, end->stream == NULL);
    assert_true(slice_starts_with(buffer_slice(&end->got), SLICE("221 2.0.0 ")));
    assert_int_equal(end->told[STREAM_FAILED], 0);
    buffer_free(&end->got);
}

void house_hang_up(struct house *house, struct net_end *end)
{
    if (end->stream)
        stream_close(end->stream);
    NET_UNTIL(&house->net, end->stream == NULL);
    buffer_free(&end->got);
}
