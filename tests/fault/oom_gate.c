/* A relay's session with a named transaction when memory runs out, from MAIL to the 250 and on to XOUTCOME: no 250 for what is not there, no session that hangs, nothing leaked; and with memory back
 * the same transaction goes through under its name, once, whatever had become of it before. */
#include "gate.h"

#include "support/house.h"
#include "support/net_store.h"
#include "support/oom.h"
#include "support/store_names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { LINE = 80, BODY = 150 * 1000 / LINE * LINE, FIRST = 90 * 1000 / LINE * LINE, ALLOCATIONS_MAX = 3000 };

/* ---- the relay ---- */

struct scene {
    struct house house; /* first: the handler's context */
    struct world world;
    struct store_client *store; /* on the house's loop */
    struct mailbox *mailbox;
    struct sentry *sentry;
    struct verifier *verifier;
    struct conf *conf;
    struct served served;
    struct underway *underway;
    struct gate *gate;
    struct service_handler handler; /* the gate's */
    _Atomic uint32_t accounts_version, sessions;
    uint64_t next_id;
    unsigned nqueued;
    struct net_end client;
    char reply[4096]; /* the last one */
    /* The transaction under way. */
    char transid[64];
    char taken[64]; /* the words of its 250, once they were read */
};

static const struct crypto_password_cost cheap = {.passes = 1, .memory_kib = 64};

static uint64_t next_id(void *context)
{
    return ++((struct scene *)context)->next_id;
}

static void on_queued(void *context, struct queued_letter *queued)
{
    struct scene *s = context;
    s->nqueued++;
    queued_letter_free(&queued);
}

static bool on_open(void *context, struct service_session *session, void **session_context, const char **refusal)
{
    struct scene *s = context;
    bool is_open = s->handler.on_open(s->handler.context, session, session_context, refusal);
    s->house.opened += is_open;
    return is_open;
}

static struct scene *the_scene; /* a session's context is the gate's own */

static void on_event(void *context, struct service_session *session, const struct smtp_server_event *event)
{
    the_scene->handler.on_event(context, session, event);
}

static void on_closed(void *context, struct service_session *session)
{
    the_scene->house.closed++;
    the_scene->handler.on_closed(context, session);
}

static void add_anna(struct world *w)
{
    struct world_done done = {0};
    char hash[CRYPTO_PASSWORD_HASH_MAX];
    const struct slice send_as[] = {SLICE("anna@example.org")};
    assert_int_equal(crypto_password_hash(SLICE("secret"), cheap, hash), RESULT_OK);
    struct store_account account = {.name = SLICE("anna"), .is_enabled = true, .password_hash = slice_from_cstr(hash),
                                    .scram = {.salt = {1}, .salt_len = 1, .iterations = 4096}, .send_as = send_as, .nsend_as = 1};
    store_account_put(w->client, &account, true, world_on_done, &done);
    assert_int_equal(world_wait_done(w, &done), RESULT_OK);
}

static void open_gate(struct scene *s)
{
    struct gate_services services = {
        .login = {.store = s->store, .mailbox = s->mailbox, .sentry = s->sentry, .verifier = s->verifier, .log = &s->world.log,
                  .accounts_version = &s->accounts_version, .dummy_hash = "$argon2id$x"},
        .loop = &s->house.net.loop,
        .served = &s->served,
        .underway = s->underway,
        .conf = conf_ref(s->conf),
        .next_id = next_id,
        .on_queued = on_queued,
        .sessions = &s->sessions,
        .context = s,
    };
    s->gate = gate_new(&services);
    assert_non_null(s->gate);
    s->handler = gate_handler(s->gate);
}

static void open_scene(struct scene *s)
{
    static const struct dirs dirs = {.config_file = "relay.conf", .keys = "/nowhere"};
    struct config_error error = {0};
    *s = (struct scene){.accounts_version = 1, .served = {.started_ns = uv_hrtime()}};
    the_scene = s;
    assert_int_equal(crypto_init(), RESULT_OK);
    assert_int_equal(conf_load_text(&s->conf, &dirs, "relay.conf", SLICE("[relay]\nname = relay.example\n"), &error), RESULT_OK);
    world_make(&s->world);
    assert_int_equal(world_open(&s->world), RESULT_OK);
    add_anna(&s->world);
    struct service_config config = house_config(&s->house);
    conf_smtp(s->conf, &(struct conf_told){.outcome = "3f9c 691200"}, &s->world.log, &config.smtp);
    config.linger_ms = 50;
    config.handler = (struct service_handler){s, on_open, on_event, on_closed};
    house_open(&s->house, SERVICE_TLS, &config);
    assert_int_equal(store_client_open(&s->store, s->world.store, &s->house.net.loop), RESULT_OK);
    assert_int_equal(mailbox_open(&s->mailbox, &s->house.net.loop), RESULT_OK);
    s->underway = underway_new();
    assert_non_null(s->underway);
    assert_int_equal(sentry_new(&s->sentry, &(struct sentry_limits){0}), RESULT_OK);
    assert_int_equal(verifier_start(&s->verifier, s->sentry, 1, 8), RESULT_OK);
    open_gate(s);
}

static void close_scene(struct scene *s)
{
    service_stop(s->house.service, 0, house_on_stopped, &s->house);
    NET_UNTIL(&s->house.net, s->house.stopped == 1);
    verifier_stop(&s->verifier);
    mailbox_close(&s->mailbox);
    net_store_close(&s->house.net, &s->store);
    gate_free(&s->gate);
    sentry_free(&s->sentry);
    underway_free(&s->underway);
    conf_unref(&s->conf);
    house_close(&s->house);
    world_end(&s->world);
}

/* ---- the client ---- */

/* The code of the reply that ends what has come, 0 as long as none does. */
static int whole_reply(const struct scene *s)
{
    struct slice got = buffer_slice(&s->client.got), line;
    uint64_t code;
    while (slice_cut(got, '\n', &line, &got)) {
        if (line.len > 4 && line.ptr[3] == ' ' && got.len == 0 && slice_to_u64(slice_take(line, 3), 599, &code))
            return (int)code;
    }
    return 0;
}

/* The next reply's code, its text in s->reply; 0: the session has ended without one. */
static int await(struct scene *s)
{
    int code;
    NET_UNTIL(&s->house.net, !s->client.stream || whole_reply(s));
    code = whole_reply(s);
    if (!slice_to_cstr(buffer_slice(&s->client.got), s->reply, sizeof s->reply))
        fail_msg("a long reply");
    buffer_clear(&s->client.got);
    return code;
}

/* The client shares the loop's thread; its own memory is not what fails. */
static void transmit(struct scene *s, struct slice octets)
{
    oom_suspend();
    if (s->client.stream)
        assert_int_not_equal(stream_write(s->client.stream, octets), RESULT_MEMORY);
    oom_resume();
}

static int say(struct scene *s, const char *command)
{
    transmit(s, slice_from_cstr(command));
    return await(s);
}

static void hang_up(struct scene *s)
{
    if (s->client.stream || buffer_len(&s->client.got) > 0)
        house_hang_up(&s->house, &s->client);
    buffer_free(&s->client.got);
    s->client = (struct net_end){0};
    NET_UNTIL(&s->house.net, s->house.closed == s->house.opened);
}

/* Up to the login; memory is there for that. */
static void log_in(struct scene *s)
{
    oom_suspend();
    hang_up(s);
    house_dial_tls(&s->house, &s->client);
    assert_int_equal(await(s), 220);
    assert_int_equal(say(s, "EHLO laptop.example\r\n"), 250);
    assert_int_equal(say(s, "AUTH PLAIN AGFubmEAc2VjcmV0\r\n"), 235);
    oom_resume();
}

/* ---- the transaction ---- */

static const char HEADER[] = "From: anna@example.org\r\nSubject: x\r\n\r\n";
enum { HEADER_CAME = sizeof HEADER - 1, SIZE = HEADER_CAME + BODY };

static const char *message_octets(void)
{
    static char octets[SIZE];
    memcpy(octets, HEADER, HEADER_CAME);
    memset(octets + HEADER_CAME, 'x', BODY);
    for (size_t at = HEADER_CAME + LINE - 2; at < SIZE; at += LINE)
        memcpy(octets + at, "\r\n", 2);
    return octets;
}

static int say_body(struct scene *s, size_t from, size_t to)
{
    char line[64];
    snprintf(line, sizeof line, "BDAT %zu%s\r\n", to - from, to == SIZE ? " LAST" : "");
    transmit(s, slice_from_cstr(line));
    transmit(s, slice_of(message_octets() + from, to - from));
    int code = await(s);
    if (code == 250 && to == SIZE) {
        const char *words = strstr(s->reply, "queued as ");
        assert_non_null(words);
        char taken[sizeof s->taken];
        snprintf(taken, sizeof taken, "%.13s", words + strlen("queued as "));
        assert_true(s->taken[0] == '\0' || strcmp(s->taken, taken) == 0); /* what was said once is said again */
        memcpy(s->taken, taken, sizeof taken);
    }
    return code;
}

/* One transaction of the name, to the octet `to`; whether all of it was answered as if nothing had failed. */
static bool transact(struct scene *s, const char *options, size_t to)
{
    char line[160];
    uint64_t from = 0;
    snprintf(line, sizeof line, "MAIL FROM:<anna@example.org> TRANSID=%s%s\r\n", s->transid, options);
    int code = say(s, line);
    if (code == 355)
        assert_true(slice_to_u64(slice_of(s->reply + 4, strcspn(s->reply + 4, " ")), SIZE, &from));
    if (code != 250 && code != 355)
        return false;
    if (say(s, "RCPT TO:<bob@one.example>\r\n") != 250 || say(s, "RCPT TO:<carl@two.example>\r\n") != 250)
        return false;
    return say_body(s, from < to ? from : to, to) == 250;
}

static bool ask_outcome(struct scene *s)
{
    char line[160];
    if (say(s, "RSET\r\n") != 250)
        return false;
    snprintf(line, sizeof line, "XOUTCOME %s\r\n", s->transid);
    int code = say(s, line);
    if (code != 250 && code != 0 && code != 550 && code / 100 != 4)
        fail_msg("%s", s->reply);
    assert_true(code != 550 || !s->taken[0]); /* it was taken, so it is known */
    return code == 250 && strstr(s->reply, "2 recipients from 0");
}

static void assert_is_there_once(struct scene *s, int64_t nbefore, unsigned nqueued_before)
{
    assert_int_equal(world_number(&s->world, "SELECT count(*) FROM message"), nbefore + 1);
    assert_int_equal(world_number(&s->world, "SELECT count(*) FROM intake"), 0);
    assert_int_equal(s->nqueued, nqueued_before + 1);
    assert_true(world_number(&s->world, "SELECT size FROM message ORDER BY id DESC LIMIT 1") > SIZE);
}

/* With memory again: what the client has to do until it is through, as an agent does it. */
static void go_on(struct scene *s)
{
    log_in(s);
    assert_true(transact(s, "", SIZE));
    assert_true(s->taken[0]);
    assert_true(ask_outcome(s));
    hang_up(s);
}

struct way {
    struct scene scene;
    const char *options;
    bool is_cut; /* the connection ends in mid-body, and another goes on */
    uint32_t nruns;
};

static void scenario(void *context)
{
    struct way *way = context;
    struct scene *s = &way->scene;
    oom_suspend();
    int64_t nbefore = world_number(&s->world, "SELECT count(*) FROM message");
    unsigned nqueued = s->nqueued;
    snprintf(s->transid, sizeof s->transid, "<%u%c@agent.example>", ++way->nruns, way->is_cut ? 'c' : way->options[0] ? 'w' : 'a');
    s->taken[0] = '\0';
    oom_resume();
    log_in(s);
    bool goes_well = !way->is_cut || transact(s, way->options, FIRST);
    if (way->is_cut)
        log_in(s);
    goes_well = transact(s, way->options, SIZE) && goes_well;
    if (!way->is_cut) /* the reply was lost, say: it is read from the record */
        goes_well = transact(s, way->options, SIZE) && goes_well;
    goes_well = ask_outcome(s) && goes_well;
    assert_true(goes_well || oom_has_failed());
    oom_suspend();
    hang_up(s);
    assert_true(!s->taken[0] || world_number(&s->world, "SELECT count(*) FROM message") == nbefore + 1);
    go_on(s);
    assert_is_there_once(s, nbefore, nqueued);
    oom_resume();
}

static void run_way_with(const char *options, bool is_cut, size_t (*loop)(size_t max, void (*scenario)(void *), void *context))
{
    static struct way way;
    way = (struct way){.options = options, .is_cut = is_cut};
    open_scene(&way.scene);
    size_t n = loop(ALLOCATIONS_MAX, scenario, &way);
    print_message("%zu allocations\n", n);
    assert_in_range(n, 20, ALLOCATIONS_MAX);
    close_scene(&way.scene);
}

static void run_way(const char *options, bool is_cut)
{
    run_way_with(options, is_cut, oom_loop_varying);
}

static void a_whole_one(void **state)
{
    (void)state;
    run_way(" XWHOLE", false);
}

static void one_that_asks(void **state)
{
    (void)state;
    run_way("", false);
}

static void one_in_two_halves(void **state)
{
    (void)state;
    run_way("", true);
}

/* Where the store looks the name up, keeps the half and reads it, and tells of its recipients. */
static void one_in_two_halves_on_all_threads(void **state)
{
    (void)state;
    run_way_with("", true, oom_loop_everywhere);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_one),
        cmocka_unit_test(one_that_asks),
        cmocka_unit_test(one_in_two_halves),
        cmocka_unit_test(one_in_two_halves_on_all_threads),
    };
    return cmocka_run_group_tests_name("gate without memory", tests, house_make_identity, house_drop_identity);
}
