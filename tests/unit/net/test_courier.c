/* A courier between a real store and a server that answers as it is told. */
#include "courier_scene.h"

#include "support/house.h"

struct scene {
    struct house house; /* first: it is the handler's context */
    struct sender sender;
    bool dies_at_body, dies_at_end; /* the server */
    const char *mail_reply, *end_reply;
};

/* ---- the server ---- */

static void answer(struct service_session *session, const char *line)
{
    struct buffer text = BUFFER(SMTP_REPLY_TEXT_MAX);
    char octets[100];
    struct smtp_reply reply;
    size_t used;
    snprintf(octets, sizeof octets, "%s\r\n", line);
    assert_int_equal(smtp_reply_parse(slice_from_cstr(octets), &text, &reply, &used), RESULT_OK);
    service_answer(session, &reply);
    buffer_free(&text);
}

static const char *for_recipient(struct slice address)
{
    if (slice_equal(slice_take(address, 2), SLICE("r1")))
        return "550 5.1.1 no such user";
    return slice_equal(slice_take(address, 2), SLICE("r2")) ? "451 4.2.1 later" : "250 2.1.5 well";
}

static void stop_at_once(struct scene *s)
{
    service_stop(s->house.service, 0, house_on_stopped, &s->house);
    s->house.service = NULL;
}

static void on_server_event(void *context, struct service_session *session, const struct smtp_server_event *event)
{
    struct scene *s = context;
    switch (event->type) {
    case SMTP_SERVER_MAIL: answer(session, s->mail_reply); break;
    case SMTP_SERVER_RCPT: answer(session, for_recipient(event->recipient->address)); break;
    case SMTP_SERVER_BODY_BEGIN: answer(session, "354 2.0.0 go on"); break;
    case SMTP_SERVER_BODY:
        s->house.body_octets += event->data.len;
        for (size_t i = 0; i < event->data.len; i++)
            s->house.body_sum += (unsigned char)event->data.ptr[i];
        if (s->dies_at_body && s->house.service)
            service_pause(session);
        break;
    case SMTP_SERVER_BODY_END:
        if (!s->dies_at_end)
            answer(session, s->end_reply);
        s->house.answers_later = true; /* seen */
        break;
    default: break;
    }
}

/* ---- the client ---- */

static void open_scene(struct scene *s, size_t nrcpt, size_t octets)
{
    struct service_config config = {.smtp = {.hostname = SLICE("mx.example"), .offers_smtputf8 = true}, .handler = {s, house_on_open, on_server_event, house_on_closed}};
    *s = (struct scene){.mail_reply = "250 2.1.0 well", .end_reply = "250 2.0.0 taken"};
    sender_open(&s->sender, nrcpt, octets);
    house_open(&s->house, SERVICE_PLAIN, &config);
    sender_connect(&s->sender, &s->house.net, &s->house.address);
    sender_await_ready(&s->sender);
}

static void start(struct scene *s)
{
    sender_start(&s->sender, NULL);
}

static void close_scene(struct scene *s)
{
    sender_hang_up(&s->sender);
    sender_close(&s->sender);
    if (!s->house.service)
        NET_UNTIL(&s->house.net, s->house.stopped == 1);
    house_close(&s->house);
}

static void assert_result(const struct scene *s, size_t i, enum attempt_result result, bool is_local, const char *reply)
{
    assert_int_equal(s->sender.results[i].result, result);
    assert_int_equal(s->sender.results[i].seq, i);
    assert_int_equal(s->sender.results[i].is_local, is_local);
    assert_non_null(strstr(s->sender.replies[i], reply));
}

/* ---- what it brings ---- */

static void each_recipient_has_its_result(void **state)
{
    struct scene s;
    (void)state;
    open_scene(&s, 3, 500);
    start(&s);
    NET_UNTIL(&s.house.net, s.sender.is_done);
    assert_result(&s, 0, ATTEMPT_ACCEPTED, false, "250 2.0.0 taken");
    assert_result(&s, 1, ATTEMPT_REFUSED, false, "550 5.1.1 no such user");
    assert_result(&s, 2, ATTEMPT_DEFERRED, false, "451 4.2.1 later");
    assert_false(s.sender.is_over);
    assert_int_equal(s.house.body_octets, 500);
    NET_UNTIL(&s.house.net, s.sender.is_ready); /* for the next message */
    close_scene(&s);
}

static void a_large_body_goes_chunk_by_chunk(void **state)
{
    struct scene s;
    uint64_t sum = 0;
    (void)state;
    open_scene(&s, 1, LARGE);
    assert_true(s.sender.job->message.nchunks > 10 && s.sender.job->body.len == 0);
    start(&s);
    NET_UNTIL(&s.house.net, s.sender.is_done);
    assert_result(&s, 0, ATTEMPT_ACCEPTED, false, "250 2.0.0 taken");
    assert_int_equal(courier_octets(s.sender.courier), LARGE);
    assert_int_equal(s.house.body_octets, LARGE);
    struct slice body = world_body(&s.sender.world, MESSAGE);
    for (size_t i = 0; i < body.len; i++)
        sum += (unsigned char)body.ptr[i];
    free((void *)(uintptr_t)body.ptr);
    assert_int_equal(s.house.body_sum, sum);
    close_scene(&s);
}

static void a_refused_sender_is_refused_for_all(void **state)
{
    struct scene s;
    (void)state;
    open_scene(&s, 3, 500);
    s.mail_reply = "550 5.7.1 not you";
    start(&s);
    NET_UNTIL(&s.house.net, s.sender.is_done);
    for (size_t i = 0; i < 3; i++)
        assert_result(&s, i, ATTEMPT_REFUSED, false, "550 5.7.1 not you");
    close_scene(&s);
}

static void a_message_put_off_is_put_off_for_the_accepted(void **state)
{
    struct scene s;
    (void)state;
    open_scene(&s, 2, 500);
    s.end_reply = "452 4.3.1 full";
    start(&s);
    NET_UNTIL(&s.house.net, s.sender.is_done);
    assert_result(&s, 0, ATTEMPT_DEFERRED, false, "452 4.3.1 full");
    assert_result(&s, 1, ATTEMPT_REFUSED, false, "550 5.1.1 no such user");
    close_scene(&s);
}

/* ---- when it breaks ---- */

static void a_connection_that_dies_in_mid_body_is_nobodys_answer(void **state)
{
    struct scene s;
    (void)state;
    open_scene(&s, 2, LARGE);
    s.dies_at_body = true;
    start(&s);
    NET_UNTIL(&s.house.net, s.house.body_octets > 0);
    stop_at_once(&s);
    NET_UNTIL(&s.house.net, s.sender.is_done);
    assert_true(s.sender.is_over);
    assert_int_equal(s.sender.results[0].result, ATTEMPT_DEFERRED);
    assert_true(s.sender.results[0].is_local);
    assert_result(&s, 1, ATTEMPT_REFUSED, false, "550 5.1.1 no such user");
    close_scene(&s);
}

static void a_connection_that_dies_after_the_last_octet_is_uncertain(void **state)
{
    struct scene s;
    (void)state;
    open_scene(&s, 1, 500);
    s.dies_at_end = true;
    start(&s);
    NET_UNTIL(&s.house.net, s.house.answers_later);
    stop_at_once(&s);
    NET_UNTIL(&s.house.net, s.sender.is_done);
    assert_int_equal(s.sender.results[0].result, ATTEMPT_UNCERTAIN);
    assert_true(s.sender.is_over && s.sender.results[0].is_local);
    close_scene(&s);
}

static void a_body_that_cannot_be_read_ends_the_session_before_its_last_octet(void **state)
{
    struct scene s;
    (void)state;
    open_scene(&s, 1, LARGE);
    assert_int_equal(world_remove(&s.sender.world, MESSAGE), RESULT_OK);
    start(&s);
    NET_UNTIL(&s.house.net, s.sender.is_done);
    assert_result(&s, 0, ATTEMPT_DEFERRED, true, "451 4.3.0 the message is damaged");
    assert_int_equal(s.sender.results[0].trouble, COURIER_DAMAGED);
    assert_true(s.sender.is_over);
    NET_UNTIL(&s.house.net, !s.sender.outbound);
    assert_false(s.house.answers_later); /* the server saw no end */
    close_scene(&s);
}

/* Given up after any number of turns of the loop: with a chunk on its way, in the session's hands, or none. */
static void it_can_be_given_up_at_any_moment(void **state)
{
    (void)state;
    for (int turns = 0; turns < 40; turns += turns < 10 ? 1 : 5) {
        struct scene s;
        open_scene(&s, 1, LARGE);
        start(&s);
        netloop_arm(&s.house.net);
        for (int i = 0; i < turns && !s.sender.is_done; i++)
            assert_true(netloop_step(&s.house.net));
        close_scene(&s); /* which runs the loop to its end */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_recipient_has_its_result),
        cmocka_unit_test(a_large_body_goes_chunk_by_chunk),
        cmocka_unit_test(a_refused_sender_is_refused_for_all),
        cmocka_unit_test(a_message_put_off_is_put_off_for_the_accepted),
        cmocka_unit_test(a_connection_that_dies_in_mid_body_is_nobodys_answer),
        cmocka_unit_test(a_connection_that_dies_after_the_last_octet_is_uncertain),
        cmocka_unit_test(a_body_that_cannot_be_read_ends_the_session_before_its_last_octet),
        cmocka_unit_test(it_can_be_given_up_at_any_moment),
    };
    return cmocka_run_group_tests_name("courier", tests, NULL, NULL);
}
