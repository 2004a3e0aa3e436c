/* server/outcome.h: XOUTCOME, from a client inside TLS to the store and back. */
#include "outcome.h"

#include "smtp/sasl.h"
#include "support/house.h"
#include "support/net_store.h"
#include "support/store_names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct scene {
    struct house house; /* the first: the service's context */
    struct world world;
    struct store_client *store; /* on the house's loop */
    struct outcome *outcome;
    bool leaves; /* the session is given up while the store is asked */
    unsigned asked;
};

static void on_event(void *context, struct service_session *session, const struct smtp_server_event *event)
{
    struct scene *s = context;
    char transid[SMTP_REPLY_TEXT_MAX];
    if (event->type == SMTP_SERVER_AUTH) {
        assert_int_equal(smtp_server_set_user(service_core(session), SLICE("bob")), RESULT_OK);
        service_answer(session, &SMTP_REPLY(235, 2, 7, 0, "Welcome"));
    } else if (event->type == SMTP_SERVER_OUTCOME) {
        assert_true(slice_to_cstr(event->data, transid, sizeof transid));
        const struct store_claim claim = names_plain(transid);
        s->outcome = outcome_new(s->store, &s->world.log, session, &claim, event->first, &s->outcome);
        assert_non_null(s->outcome);
        memset(transid, 'x', sizeof transid);
        s->asked++;
        if (s->leaves)
            outcome_abandon(&s->outcome);
    }
}

static void on_closed(void *context, struct service_session *session)
{
    struct scene *s = context;
    outcome_abandon(&s->outcome);
    house_on_closed(context, session);
}

/* A message for two, one of whom has it. */
static void keep_message(struct world *w)
{
    struct store_intake *intake = names_begin(w, 5, names_naming(names_plain("<n.0@d>"), 0));
    names_append(intake, 0, 1000);
    assert_int_equal(names_commit(w, intake), RESULT_OK);
    assert_int_equal(world_finish(w, 5, 0, STORE_DELIVERED, "250 2.0.0 taken", false), RESULT_OK);
}

static void begin(struct scene *s, struct net_end *client)
{
    struct service_config config = house_config(&s->house);
    config.smtp.auth_mechanisms = SASL_PLAIN;
    config.smtp.requires_auth = true;
    config.smtp.outcome = "3f9c 691200";
    config.handler = (struct service_handler){s, house_on_open, on_event, on_closed};
    world_make(&s->world);
    assert_int_equal(world_open(&s->world), RESULT_OK);
    keep_message(&s->world);
    house_open(&s->house, SERVICE_TLS, &config);
    assert_int_equal(store_client_open(&s->store, s->world.store, &s->house.net.loop), RESULT_OK);
    house_dial_tls(&s->house, client);
    house_greet(&s->house, client);
    net_end_write(client, "AUTH PLAIN AGJvYgBw\r\n");
    HOUSE_EXPECT(&s->house, client, "235 2.7.0 Welcome\r\n");
}

static void end(struct scene *s, struct net_end *client)
{
    house_hang_up(&s->house, client);
    NET_UNTIL(&s->house.net, s->house.closed == 1);
    net_store_close(&s->house.net, &s->store);
    house_close(&s->house);
    world_end(&s->world);
}

static void test_a_client_is_told(void **state)
{
    (void)state;
    struct scene s = {0};
    struct net_end client = {0};
    begin(&s, &client);
    net_end_write(&client, "XOUTCOME <n.0@d>\r\n");
    HOUSE_EXPECT(&s.house, &client,
                 "250-2.0.0 2 recipients from 0\r\n"
                 "250-2.0.0 delivered 0 0 carl@example.net mx.example 250 2.0.0 taken\r\n"
                 "250-2.0.0 queued 0 0 dora@example.net -\r\n"
                 "250 2.0.0 end\r\n");
    assert_null(s.outcome);
    net_end_write(&client, "XOUTCOME <n.0@d> 2\r\nXOUTCOME <n.1@d>\r\n");
    HOUSE_EXPECT(&s.house, &client, "250-2.0.0 2 recipients from 2\r\n250 2.0.0 end\r\n550 5.5.4 No transaction of this name was taken from you here\r\n");
    assert_int_equal(s.asked, 3);
    end(&s, &client);
}

static void on_counted(void *context, enum result result, const struct store_counts *counts)
{
    (void)counts;
    assert_int_equal(result, RESULT_OK);
    *(bool *)context = true;
}

/* The store's answers come in order: when the second is here, the first was, and nobody has heard it. */
static void test_nobody_is_told(void **state)
{
    (void)state;
    struct scene s = {.leaves = true};
    struct net_end client = {0};
    bool is_counted = false;
    begin(&s, &client);
    net_end_write(&client, "XOUTCOME <n.0@d>\r\n");
    NET_UNTIL(&s.house.net, s.asked == 1);
    assert_null(s.outcome);
    store_count(s.store, on_counted, &is_counted);
    NET_UNTIL(&s.house.net, is_counted);
    assert_int_equal(buffer_len(&client.got), 0);
    end(&s, &client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_client_is_told),
        cmocka_unit_test(test_nobody_is_told),
    };
    return cmocka_run_group_tests(tests, house_make_identity, house_drop_identity);
}
