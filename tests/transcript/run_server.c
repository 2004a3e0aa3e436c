/* Runs tests/transcript/server/NN-title.smtp on the server core without sockets: each dialogue whole, and octet by octet. README.md beside this file
 * tells the language. */
#include "support/guard.h"
#include "support/transcript_server.h"

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
    struct smtp_server *server;
    struct buffer input;            /* said by the client, not taken yet */
    struct buffer output;           /* said by the server, not expected yet */
    struct buffer events[EVENTS_MAX]; /* "NAME words", or "BODY " and the octets as they are */
    size_t nevents, nexpected;
    int64_t now_ms;
};

static void fail_step(const struct player *p, const char *what, struct slice got)
{
    struct buffer shown = {0};
    transcript_escape(slice_take(got, 600), &shown);
    char text[2048];
    snprintf(text, sizeof text, "%s:%u (%s): %s\n  line: %c: %.*s\n  got:  %.*s", p->run->path, p->step ? p->step->line : p->run->dialogue->line,
             p->run->is_whole ? "whole" : "octet by octet", what, p->step ? (char)p->step->kind : '=',
             (int)(p->step ? slice_take(p->step->source, 600).len : 0), p->step ? p->step->source.ptr : "", SLICE_ARG(buffer_slice(&shown)));
    buffer_free(&shown);
    fail_msg("%s", text);
}

static void gather_event(struct player *p, const struct smtp_server_event *event)
{
    bool joins = event->type == SMTP_SERVER_BODY && p->nevents > p->nexpected &&
                 slice_starts_with(buffer_slice(&p->events[p->nevents - 1]), SLICE("BODY "));
    if (joins) {
        assert_int_equal(buffer_append(&p->events[p->nevents - 1], event->data), RESULT_OK);
        return;
    }
    assert_true(p->nevents < EVENTS_MAX);
    p->events[p->nevents] = (struct buffer){.max = OUTPUT_MAX};
    transcript_say_server_event(p->server, event, &p->events[p->nevents++]);
}

/* ---- the driver ---- */

/* Feeds a copy of the front of the input that ends at an inaccessible page and is gone before the next one. */
static size_t feed_piece(struct player *p)
{
    struct smtp_server_event event;
    struct slice piece = guard_dup(slice_take(buffer_slice(&p->input), p->run->is_whole ? SIZE_MAX : 1));
    size_t used = smtp_server_feed(p->server, piece, p->now_ms);
    while (smtp_server_next(p->server, &event))
        gather_event(p, &event);
    guard_free(&piece);
    buffer_consume(&p->input, used);
    return used;
}

static void pump(struct player *p)
{
    struct smtp_server_event event;
    size_t moved;
    while (smtp_server_next(p->server, &event))
        gather_event(p, &event);
    do {
        moved = buffer_len(&p->input) > 0 ? feed_piece(p) : 0;
        struct slice output = smtp_server_output(p->server);
        moved += output.len;
        assert_int_equal(buffer_append(&p->output, output), RESULT_OK);
        smtp_server_sent(p->server, output.len);
    } while (moved > 0);
}

/* ---- steps ---- */

static void expect_nothing_left(const struct player *p)
{
    if (buffer_len(&p->output) > 0)
        fail_step(p, "the server said what no S: line before this expects", buffer_slice(&p->output));
    if (p->nexpected < p->nevents)
        fail_step(p, "an event that no E: line before this expects", buffer_slice(&p->events[p->nexpected]));
}

/* The first line of the output with its CRLF; empty: there is none. */
static struct slice first_line(const struct player *p)
{
    struct slice output = buffer_slice(&p->output);
    ptrdiff_t at = slice_find(output, '\n');
    return at < 0 ? (struct slice){0} : slice_take(output, (size_t)at + 1);
}

static void expect_line(struct player *p)
{
    struct slice line = first_line(p);
    bool ends_well = line.len >= 2 && line.ptr[line.len - 2] == '\r';
    if (!ends_well || !transcript_match(p->step->source, slice_take(line, line.len - 2)))
        fail_step(p, "expected another line", line.len ? line : buffer_slice(&p->output));
    buffer_consume(&p->output, line.len);
}

static void expect_whole_reply(struct player *p)
{
    bool is_last = false;
    while (!is_last) {
        struct slice line = first_line(p);
        if (line.len < 6 || !slice_equal(slice_take(line, 3), p->step->source))
            fail_step(p, "expected another reply", line);
        is_last = line.ptr[3] == ' ';
        buffer_consume(&p->output, line.len);
    }
}

static void expect_output(struct player *p)
{
    if (p->step->is_whole_reply) {
        expect_whole_reply(p);
    } else if (!p->step->is_raw) {
        expect_line(p);
    } else {
        if (!slice_starts_with(buffer_slice(&p->output), p->step->octets))
            fail_step(p, "expected other octets", buffer_slice(&p->output));
        buffer_consume(&p->output, p->step->octets.len);
    }
}

static void expect_event(struct player *p)
{
    if (p->nexpected == p->nevents)
        fail_step(p, "expected an event, and there is none", buffer_slice(&p->output));
    struct slice event = buffer_slice(&p->events[p->nexpected]);
    struct slice body = SLICE("BODY ");
    bool ok = slice_starts_with(p->step->source, body) && slice_starts_with(event, body)
                  ? transcript_match(slice_skip(p->step->source, body.len), slice_skip(event, body.len))
                  : transcript_match_event(p->step->source, event);
    if (!ok)
        fail_step(p, "expected another event", event);
    p->nexpected++;
}

static struct smtp_reply parse_answer(struct player *p, struct slice text)
{
    struct smtp_reply reply;
    if (!transcript_parse_reply(text, &reply))
        fail_step(p, "not an act", text);
    return reply;
}

static void act(struct player *p)
{
    struct slice word, rest, text = p->step->octets;
    struct transcript_resume resume;
    slice_cut(text, ' ', &word, &rest);
    if (transcript_parse_resume(text, &resume)) {
        smtp_server_resume(p->server, resume.is_told, resume.is_over, resume.held_octets, resume.nrcpt, p->now_ms);
    } else if (slice_equal(word, SLICE("user"))) {
        assert_int_equal(smtp_server_set_user(p->server, rest), RESULT_OK);
    } else if (slice_equal(word, SLICE("challenge"))) {
        smtp_server_challenge(p->server, rest, p->now_ms);
    } else if (slice_equal(word, SLICE("tls"))) {
        bool has_exporter = slice_equal(rest, SLICE("exporter"));
        smtp_server_tls_started(p->server, has_exporter ? SMTP_SERVER_EXPORTER : rest.len > 0 ? SMTP_SERVER_SOME_BINDING : SMTP_SERVER_NO_BINDING, p->now_ms);
    } else if (slice_equal(word, SLICE("eof"))) {
        smtp_server_eof(p->server);
    } else if (slice_equal(word, SLICE("shut"))) {
        struct smtp_reply reply = rest.len ? parse_answer(p, rest) : (struct smtp_reply){0};
        smtp_server_shut(p->server, rest.len ? &reply : NULL);
    } else {
        struct smtp_reply reply = parse_answer(p, text);
        if (!smtp_server_is_parked(p->server))
            fail_step(p, "no event waits for an answer", slice_from_cstr(smtp_server_state_name(p->server)));
        smtp_server_answer(p->server, &reply, p->now_ms);
    }
    pump(p);
}

/* Time passes in two steps, so that a deadline that the core announces too late shows. */
static void pass_time(struct player *p)
{
    int64_t until_ms = p->now_ms + p->step->ms, deadline_ms = smtp_server_deadline_ms(p->server);
    if (deadline_ms <= until_ms && deadline_ms > p->now_ms) {
        p->now_ms = deadline_ms;
        smtp_server_tick(p->server, p->now_ms);
    }
    p->now_ms = until_ms;
    if (deadline_ms <= until_ms)
        smtp_server_tick(p->server, p->now_ms);
    pump(p);
}

static void play_step(struct player *p, bool begins_flight, bool ends_flight)
{
    switch (p->step->kind) {
    case TRANSCRIPT_CLIENT:
        if (begins_flight)
            expect_nothing_left(p);
        assert_int_equal(buffer_append(&p->input, p->step->octets), RESULT_OK);
        if (ends_flight)
            pump(p);
        break;
    case TRANSCRIPT_SERVER: expect_output(p); break;
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
    const struct smtp_server_config config = transcript_server_config(d);
    struct player *p = calloc(1, sizeof *p);
    assert_non_null(p);
    *p = (struct player){.run = run, .now_ms = START_MS, .input = {.max = OUTPUT_MAX}, .output = {.max = OUTPUT_MAX}};
    p->server = smtp_server_new(&config, transcript_has(d, "tls"), transcript_binding(d), p->now_ms);
    assert_non_null(p->server);
    if (!transcript_has(d, "no_greeting")) {
        assert_true(slice_starts_with(smtp_server_output(p->server), SLICE("220 relay.example ESMTP")));
        smtp_server_sent(p->server, smtp_server_output(p->server).len);
    } else if (!transcript_has(d, "early")) {
        pump(p);
    }
    for (size_t i = 0; i < d->nsteps; i++) {
        p->step = &d->steps[i];
        bool begins = i == 0 || d->steps[i - 1].kind != TRANSCRIPT_CLIENT;
        bool ends = i + 1 == d->nsteps || d->steps[i + 1].kind != TRANSCRIPT_CLIENT;
        play_step(p, begins, ends);
    }
    p->step = NULL;
    expect_nothing_left(p);
    smtp_server_free(&p->server);
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
    snprintf(pattern, sizeof pattern, "%.*s/%s", (int)(strlen(__FILE__) - strlen("/run_server.c")), __FILE__, argc > 1 ? argv[1] : "server/*.smtp");
    if (glob(pattern, 0, NULL, &files) != 0 || files.gl_pathc > 256) {
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
    int failed = _cmocka_run_group_tests("transcripts of the server", tests, ntests, NULL, NULL);
    for (size_t i = 0; i < files.gl_pathc; i++)
        transcript_free(&transcripts[i]);
    for (size_t i = 0; i < ntests; i++)
        free((char *)(uintptr_t)tests[i].name);
    globfree(&files);
    return failed;
}
