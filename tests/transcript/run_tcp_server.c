/* Runs the server's transcripts again, through the driver (net/service.h): over TCP, and inside TLS. README.md beside this file tells the language, and
 * which dialogues stay behind: those that move the clock, or that need what a real connection cannot give. */
#include "net/service_internal.h"
#include "support/bare.h"
#include "support/certificates.h"
#include "support/netloop.h"
#include "support/transcript_server.h"

#include <glob.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { TESTS_MAX = 2048, EVENTS_MAX = 256, OUTPUT_MAX = 16 * 1024 * 1024, PATIENCE_S = 10, SETTLE_ROUNDS = 4 };

struct run {
    const struct transcript_dialogue *dialogue;
    const char *path;
    bool is_tls;
};

struct player {
    const struct run *run;
    const struct transcript_step *step;
    struct netloop net;
    struct service *service;
    struct service_session *session; /* NULL after on_closed */
    bool was_opened, is_stopped;
    struct bare client;
    struct buffer events[EVENTS_MAX];
    size_t nevents, nexpected;
};

static struct tls_context *server_tls, *client_tls;

static void fail_step(const struct player *p, const char *what, struct slice got)
{
    struct buffer shown = {0};
    char text[2048];
    transcript_escape(slice_take(got, 600), &shown);
    snprintf(text, sizeof text, "%s:%u (%s): %s\n  line: %c: %.*s\n  got:  %.*s", p->run->path, p->step ? p->step->line : p->run->dialogue->line,
             p->run->is_tls ? "TLS" : "TCP", what, p->step ? (char)p->step->kind : '=', (int)(p->step ? slice_take(p->step->source, 600).len : 0),
             p->step ? p->step->source.ptr : "", SLICE_ARG(buffer_slice(&shown)));
    buffer_free(&shown);
    fail_msg("%s", text);
}

/* ---- the handler ---- */

static bool on_open(void *context, struct service_session *session, void **session_context, const char **refusal)
{
    struct player *p = context;
    (void)refusal;
    p->session = session;
    p->was_opened = true;
    *session_context = p;
    return true;
}

/* Inside TLS the protocol's name has an S more; what a dialogue says of it stays as it is. */
static void take_s_off(struct buffer *event)
{
    struct slice text = buffer_slice(event);
    char *at = memmem(text.ptr, text.len, "SMTPS", 5);
    if (!at)
        return;
    size_t rest = text.len - (size_t)(at + 5 - text.ptr);
    memmove(at + 4, at + 5, rest);
    buffer_truncate(event, text.len - 1);
}

static void on_event(void *context, struct service_session *session, const struct smtp_server_event *event)
{
    struct player *p = context;
    bool joins = event->type == SMTP_SERVER_BODY && p->nevents > p->nexpected &&
                 slice_starts_with(buffer_slice(&p->events[p->nevents - 1]), SLICE("BODY "));
    if (joins) {
        assert_int_equal(buffer_append(&p->events[p->nevents - 1], event->data), RESULT_OK);
        return;
    }
    assert_true(p->nevents < EVENTS_MAX);
    p->events[p->nevents] = (struct buffer){.max = OUTPUT_MAX};
    transcript_say_server_event(service_core(session), event, &p->events[p->nevents]);
    if (event->type == SMTP_SERVER_BODY_END && p->run->is_tls && !transcript_has(p->run->dialogue, "tls"))
        take_s_off(&p->events[p->nevents]);
    p->nevents++;
}

static void on_closed(void *context, struct service_session *session)
{
    struct player *p = context;
    assert_ptr_equal(p->session, session);
    p->session = NULL;
}

static void on_stopped(void *context)
{
    ((struct player *)context)->is_stopped = true;
}

/* ---- time goes on ---- */

static void move(struct player *p)
{
    uv_run(&p->net.loop, UV_RUN_NOWAIT);
    bare_move(&p->client);
}

static void settle(struct player *p)
{
    for (int i = 0; i < SETTLE_ROUNDS; i++)
        move(p);
}

static void wait_until(struct player *p, bool (*is_so)(struct player *), const char *what)
{
    time_t patience = time(NULL) + PATIENCE_S;
    for (unsigned round = 0; !is_so(p); round++) {
        move(p);
        if (round > 50) {
            struct pollfd both[] = {{.fd = uv_backend_fd(&p->net.loop), .events = POLLIN}, {.fd = p->client.fd, .events = p->client.is_ended ? 0 : POLLIN}};
            poll(both, 2, 5);
        }
        if (time(NULL) > patience)
            fail_step(p, what, p->nexpected < p->nevents ? buffer_slice(&p->events[p->nexpected]) : buffer_slice(&p->client.in));
    }
}

/* ---- steps ---- */

static void expect_nothing_left(struct player *p)
{
    settle(p);
    if (buffer_len(&p->client.in) > 0)
        fail_step(p, "the server said what no S: line before this expects", buffer_slice(&p->client.in));
    if (p->nexpected < p->nevents)
        fail_step(p, "an event that no E: line before this expects", buffer_slice(&p->events[p->nexpected]));
}

static bool has_line(struct player *p)
{
    return slice_find(buffer_slice(&p->client.in), '\n') >= 0;
}

static struct slice take_line(struct player *p)
{
    wait_until(p, has_line, "expected a line");
    struct slice in = buffer_slice(&p->client.in);
    return slice_take(in, (size_t)slice_find(in, '\n') + 1);
}

static void expect_line(struct player *p)
{
    struct slice line = take_line(p);
    bool ends_well = line.len >= 2 && line.ptr[line.len - 2] == '\r';
    if (!ends_well || !transcript_match(p->step->source, slice_take(line, line.len - 2)))
        fail_step(p, "expected another line", line);
    buffer_consume(&p->client.in, line.len);
}

static void expect_whole_reply(struct player *p)
{
    bool is_last = false;
    while (!is_last) {
        struct slice line = take_line(p);
        if (line.len < 6 || !slice_equal(slice_take(line, 3), p->step->source))
            fail_step(p, "expected another reply", line);
        is_last = line.ptr[3] == ' ';
        buffer_consume(&p->client.in, line.len);
    }
}

static bool has_octets(struct player *p)
{
    return buffer_len(&p->client.in) >= p->step->octets.len;
}

static void expect_output(struct player *p)
{
    if (p->step->is_whole_reply) {
        expect_whole_reply(p);
    } else if (!p->step->is_raw) {
        expect_line(p);
    } else {
        wait_until(p, has_octets, "expected octets");
        if (!slice_starts_with(buffer_slice(&p->client.in), p->step->octets))
            fail_step(p, "expected other octets", buffer_slice(&p->client.in));
        buffer_consume(&p->client.in, p->step->octets.len);
    }
}

static bool matches(const struct player *p)
{
    struct slice event = buffer_slice(&p->events[p->nexpected]), body = SLICE("BODY ");
    return slice_starts_with(p->step->source, body) && slice_starts_with(event, body)
               ? transcript_match(slice_skip(p->step->source, body.len), slice_skip(event, body.len))
               : transcript_match_event(p->step->source, event);
}

/* A body comes in pieces: it is whole when it matches, or when something else has come behind it. */
static bool has_event(struct player *p)
{
    if (p->nexpected == p->nevents)
        return false;
    return !slice_starts_with(buffer_slice(&p->events[p->nexpected]), SLICE("BODY ")) || matches(p) || p->nexpected + 1 < p->nevents;
}

static bool is_over(struct player *p)
{
    return p->client.is_ended || p->client.has_failed;
}

static void expect_event(struct player *p)
{
    if (slice_equal(p->step->source, SLICE("CLOSE"))) {
        wait_until(p, is_over, "expected the end of the connection"); /* the driver's own business: the client sees it */
        return;
    }
    if (slice_equal(p->step->source, SLICE("STARTTLS")))
        return; /* likewise */
    wait_until(p, has_event, "expected an event");
    if (!matches(p))
        fail_step(p, "expected another event", buffer_slice(&p->events[p->nexpected]));
    p->nexpected++;
}

static bool is_secured(struct player *p)
{
    return p->client.is_secured && p->session && service_tls(p->session);
}

static bool is_parked(struct player *p)
{
    return p->session && service_core(p->session) && smtp_server_is_parked(service_core(p->session));
}

static void act(struct player *p)
{
    struct slice word, rest, text = p->step->octets;
    struct smtp_reply reply;
    struct transcript_resume resume;
    slice_cut(text, ' ', &word, &rest);
    if (transcript_parse_resume(text, &resume)) {
        wait_until(p, is_parked, "no event waits for an answer");
        service_resume_transaction(p->session, resume.is_told, resume.is_over, resume.held_octets, resume.nrcpt);
    } else if (slice_equal(word, SLICE("user"))) {
        assert_int_equal(smtp_server_set_user(service_core(p->session), rest), RESULT_OK);
    } else if (slice_equal(word, SLICE("challenge"))) {
        service_challenge(p->session, rest);
    } else if (slice_equal(word, SLICE("tls"))) {
        bare_start_tls(&p->client, client_tls, "relay.example");
        wait_until(p, is_secured, "expected TLS");
    } else if (slice_equal(word, SLICE("eof"))) {
        bare_end(&p->client);
    } else if (slice_equal(word, SLICE("shut"))) {
        service_session_shut(p->session);
    } else {
        if (!transcript_parse_reply(text, &reply))
            fail_step(p, "not an act", text);
        wait_until(p, is_parked, "no event waits for an answer");
        service_answer(p->session, &reply);
    }
}

static void play_step(struct player *p, bool begins_flight)
{
    switch (p->step->kind) {
    case TRANSCRIPT_CLIENT:
        if (begins_flight && !(p->step == p->run->dialogue->steps && transcript_has(p->run->dialogue, "early")))
            expect_nothing_left(p);
        bare_write(&p->client, p->step->octets);
        break;
    case TRANSCRIPT_SERVER: expect_output(p); break;
    case TRANSCRIPT_EVENT: expect_event(p); break;
    case TRANSCRIPT_ACT: expect_nothing_left(p); act(p); break;
    case TRANSCRIPT_TIME: fail_step(p, "time cannot be moved here", p->step->source); break;
    }
}

/* ---- what can be run how ---- */

static bool word_is_in(struct slice text, const char *word)
{
    return memmem(text.ptr, text.len, word, strlen(word)) != NULL;
}

/* Dialogues that need a moved clock, words for shut, or that look into a handshake stay behind. */
static bool can_run_step(const struct transcript_step *step, const struct transcript_step *next)
{
    struct slice word, rest;
    bool begins_tls = step->kind == TRANSCRIPT_EVENT && slice_equal(step->source, SLICE("STARTTLS"));
    slice_cut(step->octets, ' ', &word, &rest);
    if (step->kind == TRANSCRIPT_TIME || (step->kind == TRANSCRIPT_ACT && slice_equal(word, SLICE("shut")) && rest.len > 0))
        return false;
    while (begins_tls && next && next->kind == TRANSCRIPT_SERVER)
        next++;
    return !begins_tls || (next && next->kind == TRANSCRIPT_ACT && slice_starts_with(next->source, SLICE("tls")));
}

/* A port that offers STARTTLS requires it: what a dialogue does in the clear without requires_tls would be refused. */
static bool does_business_in_the_clear(const struct transcript_dialogue *d)
{
    static const char *const business[] = {"MAIL", "AUTH", "RCPT", "DATA", "BDAT", "VRFY"};
    for (size_t i = 0; i < d->nsteps && !(d->steps[i].kind == TRANSCRIPT_ACT && slice_starts_with(d->steps[i].source, SLICE("tls"))); i++)
        for (size_t k = 0; k < sizeof business / sizeof business[0]; k++)
            if (d->steps[i].kind == TRANSCRIPT_CLIENT && slice_starts_with(d->steps[i].source, slice_from_cstr(business[k])))
                return true;
    return false;
}

static bool can_run(const struct transcript_dialogue *d, bool is_tls)
{
    struct slice auth = {0};
    bool starttls = transcript_has(d, "starttls"), tls = transcript_has(d, "tls");
    transcript_option(d, "auth", &auth);
    if (is_tls ? starttls || transcript_has(d, "requires_tls") || (auth.len > 0 && !tls) : tls)
        return false;
    if (tls && !transcript_has(d, "exporter") && (word_is_in(auth, "HT") || (word_is_in(auth, "PLUS") && !transcript_has(d, "binding"))))
        return false; /* a real connection has both bindings */
    if (!is_tls && (starttls != transcript_has(d, "requires_tls")) && (!starttls || does_business_in_the_clear(d)))
        return false;
    for (size_t i = 0; i < d->nsteps; i++) {
        if (is_tls && !tls && d->steps[i].kind == TRANSCRIPT_CLIENT && slice_starts_with(d->steps[i].source, SLICE("STARTTLS")))
            return false;
        bool no_binding = d->steps[i].kind == TRANSCRIPT_ACT && slice_equal(d->steps[i].source, SLICE("tls")) && word_is_in(auth, "PLUS");
        if (no_binding || !can_run_step(&d->steps[i], i + 1 < d->nsteps ? &d->steps[i + 1] : NULL))
            return false;
    }
    return true;
}

/* ---- a dialogue ---- */

static void open_service(struct player *p, const struct transcript_dialogue *d, struct sockaddr_storage *address)
{
    struct service_listener listener = {.mode = p->run->is_tls ? SERVICE_TLS : transcript_has(d, "starttls") ? SERVICE_STARTTLS : SERVICE_PLAIN};
    struct service_config config = {.smtp = transcript_server_config(d), .tls = server_tls, .handler = {p, on_open, on_event, on_closed}, .linger_ms = 500};
    char why[128];
    p->service = service_new(&p->net.loop, &config);
    uv_ip4_addr("127.0.0.1", 0, (struct sockaddr_in *)&listener.address);
    assert_non_null(p->service);
    if (service_listen(p->service, &listener, address, why, sizeof why) != RESULT_OK)
        fail_msg("%s", why);
}

static void begin(struct player *p, const struct transcript_dialogue *d)
{
    struct sockaddr_storage address;
    netloop_open(&p->net);
    open_service(p, d, &address);
    bare_open(&p->client, bare_dial(&address));
    if (p->run->is_tls) {
        bare_start_tls(&p->client, client_tls, "relay.example");
        wait_until(p, is_secured, "expected TLS");
    }
    if (!transcript_has(d, "no_greeting")) {
        struct slice line = take_line(p);
        assert_true(slice_starts_with(line, SLICE("220 relay.example ESMTP")));
        buffer_consume(&p->client.in, line.len);
    }
}

static void finish(struct player *p)
{
    bare_close(&p->client);
    service_stop(p->service, 0, on_stopped, p);
    netloop_close(&p->net);
    assert_true(p->is_stopped && p->was_opened && !p->session);
    for (size_t i = 0; i < p->nevents; i++)
        buffer_free(&p->events[i]);
    free(p);
}

static void play(void **state)
{
    const struct run *run = *state;
    const struct transcript_dialogue *d = run->dialogue;
    struct player *p = calloc(1, sizeof *p);
    assert_non_null(p);
    p->run = run;
    begin(p, d);
    for (size_t i = 0; i < d->nsteps; i++) {
        p->step = &d->steps[i];
        play_step(p, i == 0 || d->steps[i - 1].kind != TRANSCRIPT_CLIENT);
    }
    p->step = NULL;
    expect_nothing_left(p);
    finish(p);
}

/* ---- all of them ---- */

static struct CMUnitTest tests[TESTS_MAX];
static struct run runs[TESTS_MAX];
static size_t ntests, nleft;

static void add_tests(const char *path, const struct transcript *transcript)
{
    const char *file = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    for (size_t i = 0; i < 2 * transcript->ndialogues && ntests < TESTS_MAX; i++) {
        const struct transcript_dialogue *dialogue = &transcript->dialogues[i / 2];
        char *name = NULL;
        if (!can_run(dialogue, i % 2)) {
            nleft++;
            continue;
        }
        if (asprintf(&name, "%s: %.*s, %s", file, SLICE_ARG(dialogue->title), i % 2 ? "TLS" : "TCP") < 0)
            abort();
        runs[ntests] = (struct run){.dialogue = dialogue, .path = path, .is_tls = i % 2};
        tests[ntests] = (struct CMUnitTest){.name = name, .test_func = play, .initial_state = &runs[ntests]};
        ntests++;
    }
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN); /* as the programs do: a peer may be gone before the last word */
    static struct transcript transcripts[256];
    char pattern[512], why[256];
    glob_t files;
    snprintf(pattern, sizeof pattern, "%.*s/%s", (int)(strlen(__FILE__) - strlen("/run_tcp_server.c")), __FILE__, argc > 1 ? argv[1] : "server/*.smtp");
    if (glob(pattern, 0, NULL, &files) != 0 || files.gl_pathc > 256) {
        fprintf(stderr, "no transcripts match %s\n", pattern);
        return 1;
    }
    certificates_contexts(&server_tls, &client_tls);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        if (!transcript_load(files.gl_pathv[i], &transcripts[i], why, sizeof why)) {
            fprintf(stderr, "%s\n", why);
            return 1;
        }
        add_tests(files.gl_pathv[i], &transcripts[i]);
    }
    int failed = _cmocka_run_group_tests("transcripts of the server over TCP and TLS", tests, ntests, NULL, NULL);
    printf("%zu of %zu stay behind\n", nleft, nleft + ntests);
    for (size_t i = 0; i < files.gl_pathc; i++)
        transcript_free(&transcripts[i]);
    for (size_t i = 0; i < ntests; i++)
        free((char *)(uintptr_t)tests[i].name);
    globfree(&files);
    tls_context_unref(&client_tls);
    tls_context_unref(&server_tls);
    return failed;
}
