/* Runs tests/transcript/client/NN-title.smtp on the client core without sockets: each dialogue whole (every flight of the server in one piece), and
 * octet by octet. README.md beside this file tells the language. */
#include "crypto/crypto.h"
#include "support/guard.h"
#include "support/transcript_client.h"

#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TESTS_MAX = 2048, EVENTS_MAX = 256, START_MS = 1000000, OUTPUT_MAX = 16 * 1024 * 1024 };

struct run {
    const struct transcript_dialogue *dialogue;
    const char *path;
    bool is_whole;
};

struct player {
    const struct run *run;
    const struct transcript_step *step;
    struct smtp_client *client;
    struct buffer input;              /* said by the server, not fed yet */
    struct buffer output;             /* said by the client, not expected yet */
    struct buffer events[EVENTS_MAX]; /* "NAME words" */
    size_t nevents, nexpected;
    int64_t now_ms;
    struct transcript_sending sending;
};

static void fail_step(const struct player *p, const char *what, struct slice got)
{
    struct buffer shown = {0};
    char text[2048];
    transcript_escape(slice_take(got, 600), &shown);
    snprintf(text, sizeof text, "%s:%u (%s): %s\n  line: %c: %.*s\n  got:  %.*s", p->run->path, p->step ? p->step->line : p->run->dialogue->line,
             p->run->is_whole ? "whole" : "octet by octet", what, p->step ? (char)p->step->kind : '=',
             (int)(p->step ? slice_take(p->step->source, 600).len : 0), p->step ? p->step->source.ptr : "", SLICE_ARG(buffer_slice(&shown)));
    buffer_free(&shown);
    fail_msg("%s", text);
}

static void gather_events(struct player *p)
{
    struct smtp_client_event event;
    while (smtp_client_next(p->client, &event)) {
        assert_true(p->nevents < EVENTS_MAX);
        p->events[p->nevents] = (struct buffer){.max = OUTPUT_MAX};
        transcript_say_client_event(&event, &p->events[p->nevents++]);
    }
}

/* ---- the driver ---- */

/* Feeds a copy of the front of the input that ends at an inaccessible page and is gone before the next one. */
static void feed_piece(struct player *p)
{
    struct slice piece = guard_dup(slice_take(buffer_slice(&p->input), p->run->is_whole ? SIZE_MAX : 1));
    smtp_client_feed(p->client, piece, p->now_ms);
    gather_events(p);
    size_t len = piece.len;
    guard_free(&piece);
    buffer_consume(&p->input, len);
}

/* A flight of the server has arrived before anything of the client's answer to it leaves: what a fast server does at worst. */
static void pump(struct player *p)
{
    gather_events(p);
    while (buffer_len(&p->input) > 0)
        feed_piece(p);
    struct slice output = smtp_client_output(p->client);
    assert_int_equal(buffer_append(&p->output, output), RESULT_OK);
    smtp_client_sent(p->client, output.len, p->now_ms);
    gather_events(p);
}

/* ---- acts ---- */

static void send(struct player *p, struct slice words)
{
    struct smtp_transaction transaction;
    struct slice strange = {0};
    if (!transcript_parse_send(words, &p->sending, &transaction, &strange))
        fail_step(p, "not a word of send", strange);
    smtp_client_send(p->client, &transaction, p->now_ms);
}

static void ask_outcomes(struct player *p, struct slice words)
{
    struct smtp_outcome_question questions[SMTP_OUTCOMES_MAX];
    size_t n = transcript_parse_outcomes(words, questions, SMTP_OUTCOMES_MAX);
    smtp_client_ask_outcomes(p->client, questions, n, p->now_ms);
}

static void start_tls(struct player *p, struct slice binding)
{
    struct sasl_binding bindings[] = {{.name = SLICE("tls-exporter"), .data = binding}};
    assert_int_equal(smtp_client_tls_started(p->client, bindings, binding.len > 0, p->now_ms), RESULT_OK);
}

static void act(struct player *p)
{
    struct slice word, rest;
    slice_cut(p->step->octets, ' ', &word, &rest);
    if (slice_equal(word, SLICE("login")))
        smtp_client_login(p->client, p->now_ms);
    else if (slice_equal(word, SLICE("tls")))
        start_tls(p, rest);
    else if (slice_equal(word, SLICE("send")))
        send(p, rest);
    else if (slice_equal(word, SLICE("body")) || slice_equal(word, SLICE("last")))
        smtp_client_body(p->client, rest, word.ptr[0] == 'l', p->now_ms);
    else if (slice_equal(word, SLICE("device")))
        smtp_client_ask_device(p->client, rest, p->now_ms);
    else if (slice_equal(word, SLICE("outcomes")))
        ask_outcomes(p, rest);
    else if (slice_equal(word, SLICE("pause")))
        smtp_client_pause(p->client, p->now_ms);
    else if (slice_equal(word, SLICE("abort")))
        smtp_client_abort(p->client);
    else if (slice_equal(word, SLICE("quit")))
        smtp_client_quit(p->client, p->now_ms);
    else if (slice_equal(word, SLICE("eof")))
        smtp_client_eof(p->client);
    else
        fail_step(p, "not an act", p->step->octets);
    pump(p);
}

/* Time passes in two steps, so that a deadline that the core announces too late shows. */
static void pass_time(struct player *p)
{
    int64_t until_ms = p->now_ms + p->step->ms, deadline_ms = smtp_client_deadline_ms(p->client);
    if (deadline_ms <= until_ms && deadline_ms > p->now_ms) {
        p->now_ms = deadline_ms;
        smtp_client_tick(p->client, p->now_ms);
    }
    p->now_ms = until_ms;
    if (deadline_ms <= until_ms)
        smtp_client_tick(p->client, p->now_ms);
    pump(p);
}

/* ---- steps ---- */

static void expect_nothing_left(const struct player *p)
{
    if (buffer_len(&p->output) > 0)
        fail_step(p, "the client said what no C: line before this expects", buffer_slice(&p->output));
    if (p->nexpected < p->nevents)
        fail_step(p, "an event that no E: line before this expects", buffer_slice(&p->events[p->nexpected]));
}

static void expect_line(struct player *p)
{
    struct slice output = buffer_slice(&p->output);
    ptrdiff_t at = slice_find(output, '\n');
    if (at < 1 || output.ptr[at - 1] != '\r' || !transcript_match(p->step->source, slice_take(output, (size_t)at - 1)))
        fail_step(p, "expected another line", output);
    buffer_consume(&p->output, (size_t)at + 1);
}

static void expect_octets(struct player *p)
{
    if (!slice_starts_with(buffer_slice(&p->output), p->step->octets))
        fail_step(p, "expected other octets", buffer_slice(&p->output));
    buffer_consume(&p->output, p->step->octets.len);
}

static void expect_event(struct player *p)
{
    if (p->nexpected == p->nevents)
        fail_step(p, "expected an event, and there is none", buffer_slice(&p->output));
    if (!transcript_match_event(p->step->source, buffer_slice(&p->events[p->nexpected])))
        fail_step(p, "expected another event", buffer_slice(&p->events[p->nexpected]));
    p->nexpected++;
}

static void play_step(struct player *p, bool begins_flight, bool ends_flight)
{
    switch (p->step->kind) {
    case TRANSCRIPT_SERVER:
        if (begins_flight)
            expect_nothing_left(p);
        assert_int_equal(buffer_append(&p->input, p->step->octets), RESULT_OK);
        if (ends_flight)
            pump(p);
        break;
    case TRANSCRIPT_CLIENT:
        if (p->step->is_raw)
            expect_octets(p);
        else
            expect_line(p);
        break;
    case TRANSCRIPT_EVENT: expect_event(p); break;
    case TRANSCRIPT_ACT: expect_nothing_left(p); act(p); break;
    case TRANSCRIPT_TIME: expect_nothing_left(p); pass_time(p); break;
    }
}

/* ---- a dialogue ---- */

static void play(void **state)
{
    const struct run *run = *state;
    const struct transcript_dialogue *d = run->dialogue;
    const struct smtp_client_config config = transcript_client_config(d);
    struct player *p = calloc(1, sizeof *p);
    assert_non_null(p);
    *p = (struct player){.run = run, .now_ms = START_MS, .input = {.max = OUTPUT_MAX}, .output = {.max = OUTPUT_MAX}};
    p->client = smtp_client_new(&config, p->now_ms);
    assert_non_null(p->client);
    pump(p);
    for (size_t i = 0; i < d->nsteps; i++) {
        p->step = &d->steps[i];
        bool begins = i == 0 || d->steps[i - 1].kind != TRANSCRIPT_SERVER;
        bool ends = i + 1 == d->nsteps || d->steps[i + 1].kind != TRANSCRIPT_SERVER;
        play_step(p, begins, ends);
    }
    p->step = NULL;
    expect_nothing_left(p);
    smtp_client_free(&p->client);
    for (size_t i = 0; i < p->nevents; i++)
        buffer_free(&p->events[i]);
    buffer_free(&p->input);
    buffer_free(&p->output);
    free(p);
}

/* ---- all of them ---- */

static struct CMUnitTest tests[TESTS_MAX];
static struct run runs[TESTS_MAX];
static size_t ntests;

static void add_tests(const char *path, const struct transcript *transcript)
{
    for (size_t i = 0; i < 2 * transcript->ndialogues && ntests < TESTS_MAX; i++) {
        const struct transcript_dialogue *dialogue = &transcript->dialogues[i / 2];
        const char *file = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
        char *name = NULL;
        if (asprintf(&name, "%s: %.*s%s", file, SLICE_ARG(dialogue->title), i % 2 ? ", octet by octet" : "") < 0)
            abort();
        runs[ntests] = (struct run){.dialogue = dialogue, .path = path, .is_whole = i % 2 == 0};
        tests[ntests] = (struct CMUnitTest){.name = name, .test_func = play, .initial_state = &runs[ntests]};
        ntests++;
    }
}

int main(int argc, char **argv)
{
    static struct transcript transcripts[256];
    char pattern[512], why[256];
    glob_t files;
    snprintf(pattern, sizeof pattern, "%.*s/%s", (int)(strlen(__FILE__) - strlen("/run_client.c")), __FILE__, argc > 1 ? argv[1] : "client/*.smtp");
    if (crypto_init() != RESULT_OK || glob(pattern, 0, NULL, &files) != 0 || files.gl_pathc > 256) {
        fprintf(stderr, "no transcripts match %s\n", pattern);
        return 1;
    }
    for (size_t i = 0; i < files.gl_pathc; i++) {
        if (!transcript_load(files.gl_pathv[i], &transcripts[i], why, sizeof why)) {
            fprintf(stderr, "%s\n", why);
            return 1;
        }
        add_tests(files.gl_pathv[i], &transcripts[i]);
    }
    int failed = _cmocka_run_group_tests("transcripts of the client", tests, ntests, NULL, NULL);
    for (size_t i = 0; i < files.gl_pathc; i++)
        transcript_free(&transcripts[i]);
    for (size_t i = 0; i < ntests; i++)
        free((char *)(uintptr_t)tests[i].name);
    globfree(&files);
    return failed;
}
