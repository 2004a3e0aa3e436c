/* Runs the client's transcripts again, through the driver (net/outbound.h): over TCP, and inside TLS. README.md beside this file tells the language, and
 * which dialogues stay behind: those that move the clock, or that need what a real connection cannot give. */
#include "net/outbound.h"
#include "support/bare.h"
#include "support/certificates.h"
#include "support/netloop.h"
#include "support/transcript_client.h"

#include <glob.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

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
    struct outbound *outbound; /* NULL after CLOSED */
    bool is_connected;
    struct bare server;
    struct buffer events[EVENTS_MAX];
    size_t nevents, nexpected;
    struct transcript_sending sending;
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

static void gather(struct player *p, const struct smtp_client_event *event)
{
    assert_true(p->nevents < EVENTS_MAX);
    p->events[p->nevents] = (struct buffer){.max = OUTPUT_MAX};
    transcript_say_client_event(event, &p->events[p->nevents++]);
}

/* FAILED of the core is FAILED of the driver, with what the core said inside. */
static void gather_failure(struct player *p, const struct outbound_failure *failure)
{
    struct smtp_client_event event = {.type = SMTP_CLIENT_FAILED, .failure = failure->smtp, .phase = failure->phase, .is_uncertain = failure->is_uncertain,
                                      .reply = failure->reply.code ? &failure->reply : NULL};
    assert_true(failure->words[0] != '\0');
    gather(p, &event);
}

static void on_event(void *context, struct outbound *outbound, const struct outbound_event *event)
{
    struct player *p = context;
    (void)outbound;
    switch (event->type) {
    case OUTBOUND_CONNECTED: p->is_connected = true; break;
    case OUTBOUND_SMTP: gather(p, &event->smtp); break;
    case OUTBOUND_FAILED: gather_failure(p, event->failure); break;
    case OUTBOUND_CLOSED: p->outbound = NULL; break;
    }
}

/* ---- time goes on ---- */

static void move(struct player *p)
{
    uv_run(&p->net.loop, UV_RUN_NOWAIT);
    bare_move(&p->server);
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
            struct pollfd both[] = {{.fd = uv_backend_fd(&p->net.loop), .events = POLLIN}, {.fd = p->server.fd, .events = p->server.is_ended ? 0 : POLLIN}};
            poll(both, 2, 5);
        }
        if (time(NULL) > patience)
            fail_step(p, what, p->nexpected < p->nevents ? buffer_slice(&p->events[p->nexpected]) : buffer_slice(&p->server.in));
    }
}

/* ---- steps ---- */

static void expect_nothing_left(struct player *p)
{
    settle(p);
    if (buffer_len(&p->server.in) > 0)
        fail_step(p, "the client said what no C: line before this expects", buffer_slice(&p->server.in));
    if (p->nexpected < p->nevents)
        fail_step(p, "an event that no E: line before this expects", buffer_slice(&p->events[p->nexpected]));
}

static bool has_line(struct player *p)
{
    return slice_find(buffer_slice(&p->server.in), '\n') >= 0;
}

static void expect_line(struct player *p)
{
    wait_until(p, has_line, "expected a line");
    struct slice in = buffer_slice(&p->server.in), line = slice_take(in, (size_t)slice_find(in, '\n') + 1);
    bool ends_well = line.len >= 2 && line.ptr[line.len - 2] == '\r';
    if (!ends_well || !transcript_match(p->step->source, slice_take(line, line.len - 2)))
        fail_step(p, "expected another line", line);
    buffer_consume(&p->server.in, line.len);
}

static bool has_octets(struct player *p)
{
    return buffer_len(&p->server.in) >= p->step->octets.len;
}

static void expect_octets(struct player *p)
{
    wait_until(p, has_octets, "expected octets");
    if (!slice_starts_with(buffer_slice(&p->server.in), p->step->octets))
        fail_step(p, "expected other octets", buffer_slice(&p->server.in));
    buffer_consume(&p->server.in, p->step->octets.len);
}

static bool has_event(struct player *p)
{
    return p->nexpected < p->nevents;
}

static void expect_event(struct player *p)
{
    if (slice_equal(p->step->source, SLICE("STARTTLS")))
        return; /* the driver's own business */
    wait_until(p, has_event, "expected an event");
    if (!transcript_match_event(p->step->source, buffer_slice(&p->events[p->nexpected])))
        fail_step(p, "expected another event", buffer_slice(&p->events[p->nexpected]));
    p->nexpected++;
}

static bool is_secured(struct player *p)
{
    return p->server.is_secured && p->outbound && outbound_tls(p->outbound);
}

static void send_message(struct player *p, struct slice words)
{
    struct smtp_transaction transaction;
    struct slice strange = {0};
    if (!transcript_parse_send(words, &p->sending, &transaction, &strange))
        fail_step(p, "not a word of send", strange);
    smtp_client_send(outbound_core(p->outbound), &transaction, loop_now_ms(&p->net.loop));
}

static void ask_outcomes(struct smtp_client *core, struct slice words, int64_t now_ms)
{
    struct smtp_outcome_question questions[SMTP_OUTCOMES_MAX];
    size_t n = transcript_parse_outcomes(words, questions, SMTP_OUTCOMES_MAX);
    smtp_client_ask_outcomes(core, questions, n, now_ms);
}

static void act(struct player *p)
{
    struct slice word, rest;
    slice_cut(p->step->octets, ' ', &word, &rest);
    if (slice_equal(word, SLICE("tls"))) {
        bare_start_tls(&p->server, server_tls, NULL);
        wait_until(p, is_secured, "expected TLS");
        return;
    }
    if (slice_equal(word, SLICE("eof"))) {
        bare_end(&p->server);
        return;
    }
    struct smtp_client *core = outbound_core(p->outbound);
    int64_t now_ms = loop_now_ms(&p->net.loop);
    if (slice_equal(word, SLICE("login")))
        smtp_client_login(core, now_ms);
    else if (slice_equal(word, SLICE("send")))
        send_message(p, rest);
    else if (slice_equal(word, SLICE("body")) || slice_equal(word, SLICE("last")))
        smtp_client_body(core, rest, word.ptr[0] == 'l', now_ms);
    else if (slice_equal(word, SLICE("outcomes")))
        ask_outcomes(core, rest, now_ms);
    else if (slice_equal(word, SLICE("pause")))
        smtp_client_pause(core, now_ms);
    else if (slice_equal(word, SLICE("device")))
        smtp_client_ask_device(core, rest, now_ms);
    else if (slice_equal(word, SLICE("abort")))
        smtp_client_abort(core);
    else if (slice_equal(word, SLICE("quit")))
        smtp_client_quit(core, now_ms);
    else
        fail_step(p, "not an act", p->step->octets);
    outbound_pump(p->outbound);
}

static void play_step(struct player *p, bool begins_flight)
{
    switch (p->step->kind) {
    case TRANSCRIPT_SERVER:
        if (begins_flight)
            expect_nothing_left(p);
        bare_write(&p->server, p->step->octets);
        break;
    case TRANSCRIPT_CLIENT:
        if (p->step->is_raw)
            expect_octets(p);
        else
            expect_line(p);
        break;
    case TRANSCRIPT_EVENT: expect_event(p); break;
    case TRANSCRIPT_ACT:
        if (!slice_equal(p->step->source, SLICE("tls"))) /* then the ClientHello is there, or not yet */
            expect_nothing_left(p);
        act(p);
        break;
    case TRANSCRIPT_TIME: fail_step(p, "time cannot be moved here", p->step->source); break;
    }
}

/* ---- what can be run how ---- */

static bool has(const struct transcript_dialogue *d, const char *key)
{
    struct slice value;
    return transcript_option(d, key, &value);
}

static bool word_is_in(struct slice text, const char *word)
{
    return memmem(text.ptr, text.len, word, strlen(word)) != NULL;
}

/* Left behind: a moved clock, a channel binding of one's own choosing, and octets that a server says into a handshake. */
static bool can_run_step(const struct transcript_step *step, const struct transcript_step *next)
{
    struct slice word, rest;
    bool begins_tls = step->kind == TRANSCRIPT_EVENT && slice_equal(step->source, SLICE("STARTTLS"));
    slice_cut(step->source, ' ', &word, &rest);
    if (step->kind == TRANSCRIPT_TIME || (step->kind == TRANSCRIPT_ACT && slice_equal(word, SLICE("tls")) && rest.len > 0))
        return false;
    return !begins_tls || (next && next->kind == TRANSCRIPT_ACT && slice_equal(next->source, SLICE("tls")));
}

static bool can_run(const struct transcript_dialogue *d, bool is_tls)
{
    enum smtp_security security = transcript_client_config(d).security;
    bool is_free = security == SMTP_SECURITY_NONE && !has(d, "user") && !has(d, "cleartext_name");
    if (is_tls ? security != SMTP_SECURITY_TLS && !is_free : security == SMTP_SECURITY_TLS)
        return false;
    if (has(d, "device") && (is_tls || security != SMTP_SECURITY_NONE))
        return false; /* the token proves itself to the real channel */
    for (size_t i = 0; i < d->nsteps; i++) {
        const struct transcript_step *step = &d->steps[i];
        /* A real connection has a binding, so the client would take PLUS, or say that it would have. */
        bool binds = security != SMTP_SECURITY_NONE && step->kind == TRANSCRIPT_SERVER && (word_is_in(step->source, "SCRAM") || word_is_in(step->source, "HT-SHA"));
        bool falls_back = is_tls && step->kind == TRANSCRIPT_CLIENT && slice_starts_with(step->source, SLICE("HELO"));
        if (binds || falls_back || !can_run_step(step, i + 1 < d->nsteps ? step + 1 : NULL))
            return false;
    }
    return true;
}

/* ---- a dialogue ---- */

static bool is_connected(struct player *p)
{
    return p->is_connected;
}

static void begin(struct player *p, const struct transcript_dialogue *d)
{
    struct outbound_target target = {.server_name = "relay.example", .smtp = transcript_client_config(d), .linger_ms = 200};
    netloop_open(&p->net);
    int listener = netloop_listen(&target.address);
    if (p->run->is_tls) {
        target.smtp.security = SMTP_SECURITY_TLS;
        target.alpn = has(d, "speaks_first") ? PATH_ALPN_HTTP : PATH_ALPN_NONE; /* which is how the driver knows */
    }
    target.tls = client_tls;
    bare_open(&p->server, -1);
    assert_int_equal(outbound_open(&p->outbound, &p->net.loop, &target, (struct outbound_handler){on_event, p}, NULL), RESULT_OK);
    wait_until(p, is_connected, "expected a connection");
    bare_open(&p->server, accept(listener, NULL, NULL));
    close(listener);
    if (p->run->is_tls) {
        bare_start_tls(&p->server, server_tls, NULL);
        wait_until(p, is_secured, "expected TLS");
    }
}

static void finish(struct player *p)
{
    if (p->outbound)
        outbound_close(p->outbound);
    bare_close(&p->server);
    netloop_close(&p->net);
    assert_null(p->outbound);
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
        play_step(p, i == 0 || d->steps[i - 1].kind != TRANSCRIPT_SERVER);
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
    snprintf(pattern, sizeof pattern, "%.*s/%s", (int)(strlen(__FILE__) - strlen("/run_tcp_client.c")), __FILE__, argc > 1 ? argv[1] : "client/*.smtp");
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
    int failed = _cmocka_run_group_tests("transcripts of the client over TCP and TLS", tests, ntests, NULL, NULL);
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
