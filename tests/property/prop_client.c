/* Of the client core: the same octets from the server in any pieces give the same events and the same output, in early sessions too, where moreover who fails as "early" has not accepted anything
 * and a well-behaved server takes one flight; unstuffing undoes stuffing;
 * parsing a reply undoes writing it. Seeds are counted up, so a failure names the one to look at. */
#include "smtp/stuff.h"
#include "support/client_play.h"
#include "support/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SEEDS = 3000, FLIGHTS_MAX = 12, FLIGHT_MAX = 2048 };

/* ---- dialogues ---- */

static struct envelope_recipient recipients[] = {{.address = SLICE("a@x.example")}, {.address = SLICE("b@x.example")}, {.address = SLICE("c@x.example")}};
static const struct envelope envelope = {.sender = SLICE("me@x.example"), .recipients = recipients, .nrcpt = 3};

struct dialogue {
    char flights[FLIGHTS_MAX][FLIGHT_MAX];
    size_t nflights;
    size_t piece; /* of the body */
};

/* Usually what a server of that kind would say next, sometimes anything. */
static void write_flight(uint64_t *seed, size_t number, size_t kind, char *out)
{
    static const char *const ehlos[] = {"250 mx\r\n", "250-mx\r\n250 PIPELINING\r\n", "250-mx\r\n250-PIPELINING\r\n250 CHUNKING\r\n", "250-mx\n250-CHUNKING\n250 SIZE 100\n"};
    static const char *const replies[] = {"250 ok\r\n", "250 ok\r\n", "250 ok\r\n", "250-2.1.5 two\r\n250 2.1.5 lines\r\n", "550 5.1.1 no\r\n", "452 4.5.3 later\r\n", "354 go\r\n",
                                          "421 bye\r\n", "220 again\r\n", "25", "nonsense\r\n", "250 nul\r", "552\r\n"};
    static const char *const flights[] = {"250 ok\r\n250 a\r\n250 b\r\n250 c\r\n354 go\r\n", "250 ok\r\n250 a\r\n550 b\r\n250 c\r\n250 queued\r\n", "250 ok\r\n550 a\r\n550 b\r\n550 c\r\n354 go\r\n",
                                          "550 no\r\n503 a\r\n503 b\r\n503 c\r\n503 data\r\n"};
    if (number == 0)
        snprintf(out, FLIGHT_MAX, "220 mx\r\n");
    else if (number == 1)
        snprintf(out, FLIGHT_MAX, "%s", ehlos[kind]);
    else if (number == 2 && (kind == 1 || kind == 2) && random_below(seed, 4) > 0)
        snprintf(out, FLIGHT_MAX, "%s", flights[random_below(seed, 4)]);
    else
        snprintf(out, FLIGHT_MAX, "%s%s", replies[random_below(seed, sizeof replies / sizeof *replies)], random_below(seed, 4) ? "" : replies[random_below(seed, sizeof replies / sizeof *replies)]);
}

static void write_dialogue(uint64_t seed, struct dialogue *d)
{
    size_t kind = random_below(&seed, 4);
    d->nflights = 3 + random_below(&seed, FLIGHTS_MAX - 2);
    d->piece = 1 + random_below(&seed, 40);
    for (size_t i = 0; i < d->nflights; i++)
        write_flight(&seed, i, kind, d->flights[i]);
}

/* One flight in pieces of at most max octets; what the core says leaves when the flight is in. */
static void feed_flight(struct play *p, struct slice flight, size_t max, uint64_t *seed)
{
    p->keeps_output = true;
    while (flight.len > 0) {
        size_t len = max == SIZE_MAX ? flight.len : 1 + random_below(seed, max);
        play_feed(p, slice_take(flight, len));
        flight = slice_skip(flight, len);
    }
    p->keeps_output = false;
    play_pump(p);
}

static void run_dialogue(const struct dialogue *d, size_t max, uint64_t seed, struct play *p)
{
    bool is_sent = false;
    play_open(p, &(struct smtp_client_config){.ehlo_name = SLICE("laptop")});
    p->piece = d->piece;
    for (size_t i = 0; i < d->nflights; i++) {
        feed_flight(p, slice_from_cstr(d->flights[i]), max, &seed);
        if (!is_sent && strcmp(smtp_client_state_name(p->client), "ready") == 0) {
            play_send(p, &(struct smtp_transaction){.envelope = &envelope}, SLICE("Subject: x\r\n\r\n.a\r\n..\r\nthe end\r\n"));
            is_sent = true;
        }
    }
    play_eof(p);
}

static void pieces_do_not_matter(void **state)
{
    static struct dialogue d;
    size_t naccepted = 0;
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct play whole, octets, pieces;
        write_dialogue(seed, &d);
        run_dialogue(&d, SIZE_MAX, seed, &whole);
        run_dialogue(&d, 1, seed, &octets);
        run_dialogue(&d, 9, seed, &pieces);
        if (!slice_equal(buffer_slice(&whole.told), buffer_slice(&octets.told)) || !slice_equal(buffer_slice(&whole.said), buffer_slice(&octets.said)) ||
            !slice_equal(buffer_slice(&whole.told), buffer_slice(&pieces.told)) || !slice_equal(buffer_slice(&whole.said), buffer_slice(&pieces.said)))
            fail_msg("seed %llu:\n%s---\n%s", (unsigned long long)seed, play_told(&whole), play_told(&octets));
        const char *told = play_told(&whole);
        naccepted += strstr(told, "SENT accepted") != NULL;
        assert_true(strstr(told, "FAILED ") != NULL); /* the end of input, at the latest */
        play_close(&whole);
        play_close(&octets);
        play_close(&pieces);
    }
    assert_true(naccepted > SEEDS / 100); /* the dialogues are not all nonsense */
}

/* ---- early sessions ---- */

static const struct sasl_binding binding = {SLICE("tls-exporter"), SLICE("0123456789abcdef")};
static const struct smtp_peer known = {
    .capabilities = SMTP_CAP_PIPELINING | SMTP_CAP_CHUNKING | SMTP_CAP_PIPECONNECT | SMTP_CAP_AUTH | SMTP_CAP_SIZE,
    .mechanisms = SASL_HT_SHA_256_EXPR,
    .nrcpt_max = 3,
};
#define WELCOME "235 2.7.0 Yra01B3v/IFlL6K9AJHOY3S6nSVgLDz8o5sJki/wJY4=\r\n"

struct early {
    char replies[FLIGHT_MAX];
    bool is_good;       /* and announces nothing but what `known` promises */
    bool has_accepted;  /* lets us in and takes the whole message, whatever it announced */
    size_t left;        /* octets of the flight that leave before the replies come; SIZE_MAX: all */
};

static size_t pick(uint64_t *seed, size_t n)
{
    return random_below(seed, 3) ? 0 : random_below(seed, n);
}

static void write_early(uint64_t seed, struct early *e)
{
    static const char *const greetings[] = {"220 relay\r\n", "220-relay\r\n220 and more\r\n", "554 no\r\n", "421 later\r\n", "HTTP/1.1 400\r\n", ""};
    static const char *const ehlos[] = {"250-relay\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-SIZE\r\n250-PIPECONNECT\r\n250 AUTH HT-SHA-256-EXPR PLAIN\r\n",
                                        "250-relay\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-SIZE 5\r\n250 AUTH HT-SHA-256-EXPR\r\n",
                                        "250-relay\r\n250-PIPELINING\r\n250 AUTH HT-SHA-256-EXPR\r\n", "250-relay\r\n250 AUTH PLAIN\r\n",
                                        "250-relay\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-SIZE\r\n250-LIMITS RCPTMAX=1\r\n250 AUTH HT-SHA-256-EXPR\r\n", "502 what\r\n", "421 bye\r\n", ""};
    static const char *const auths[] = {WELCOME, "235 2.7.0 AAAA\r\n", "535 5.7.8 no\r\n", "454 later\r\n", "334 \r\n", "421 bye\r\n", "250 ok\r\n"};
    static const char *const mails[] = {"250 ok\r\n250 a\r\n250 b\r\n250 c\r\n250 queued\r\n", "250 ok\r\n250 a\r\n550 b\r\n250 c\r\n250 queued\r\n",
                                        "250 ok\r\n550 a\r\n550 b\r\n550 c\r\n554 nobody\r\n", "552 no\r\n503 a\r\n503 b\r\n503 c\r\n503 d\r\n",
                                        "250 ok\r\n250 a\r\n250 b\r\n250 c\r\n451 later\r\n", "250 ok\r\n250 a\r\n", "421 bye\r\n", "555 what\r\n"};
    size_t greeting = pick(&seed, 6), ehlo = pick(&seed, 8), auth = pick(&seed, 7), mail = pick(&seed, 8);
    bool is_cut = random_below(&seed, 8) == 0;
    snprintf(e->replies, sizeof e->replies, "%s%s%s%s", greetings[greeting], ehlos[ehlo], auths[auth], mails[mail]);
    if (is_cut)
        e->replies[random_below(&seed, strlen(e->replies) + 1)] = '\0';
    e->left = random_below(&seed, 8) ? SIZE_MAX : random_below(&seed, 300);
    e->has_accepted = greeting < 2 && ehlo < 5 && auth == 0 && mail < 2 && !is_cut && e->left == SIZE_MAX;
    e->is_good = e->has_accepted && ehlo == 0;
}

static void run_early(const struct early *e, size_t max, uint64_t seed, struct play *p)
{
    play_open(p, &(struct smtp_client_config){.security = SMTP_SECURITY_TLS, .early = &known, .device = SLICE("d1"), .token = SLICE("0123456789abcdef0123456789abcdef")});
    p->keeps_output = true;
    play_tls(p, &binding, 1);
    play_send(p, &(struct smtp_transaction){.envelope = &envelope}, SLICE("Subject: x\r\n\r\n.a\r\n..\r\nthe end\r\n"));
    play_take(p, e->left);
    feed_flight(p, slice_from_cstr(e->replies), max, &seed);
}

static void early_pieces_do_not_matter(void **state)
{
    static struct early e;
    size_t nearly = 0, ngood = 0, naccepted = 0;
    (void)state;
    for (uint64_t seed = 0; seed < 2 * SEEDS; seed++) {
        struct play whole, octets;
        write_early(seed, &e);
        run_early(&e, SIZE_MAX, seed, &whole);
        run_early(&e, 1, seed, &octets);
        bool is_ready = strcmp(smtp_client_state_name(whole.client), "ready") == 0;
        play_eof(&whole);
        play_eof(&octets);
        if (!slice_equal(buffer_slice(&whole.told), buffer_slice(&octets.told)) || !slice_equal(buffer_slice(&whole.said), buffer_slice(&octets.said)))
            fail_msg("seed %llu:\n%s---\n%s", (unsigned long long)seed, play_told(&whole), play_told(&octets));
        const char *told = play_told(&whole);
        bool is_accepted = strstr(told, "SENT accepted") != NULL, is_early = strstr(told, "FAILED early") != NULL;
        if ((is_early && strstr(told, "uncertain")) || (e.has_accepted && !(is_accepted && is_ready)) || (is_accepted && is_early))
            fail_msg("seed %llu: %s", (unsigned long long)seed, told);
        nearly += is_early;
        ngood += e.is_good;
        naccepted += e.has_accepted;
        play_close(&whole);
        play_close(&octets);
    }
    assert_true(nearly > SEEDS / 10 && ngood > SEEDS / 10 && naccepted > ngood + SEEDS / 30);
}

/* ---- stuffing ---- */

static size_t write_lines(uint64_t *seed, char *out, size_t size)
{
    size_t len = 0;
    for (size_t nlines = random_below(seed, 20); nlines > 0; nlines--) {
        for (size_t n = random_below(seed, 6); n > 0 && len + 3 < size; n--) {
            char c = "..a\t \xff"[random_below(seed, 6)];
            out[len++] = c;
        }
        if (len + 2 <= size) {
            memcpy(out + len, "\r\n", 2);
            len += 2;
        }
    }
    return len;
}

/* RFC 5321 4.5.2, the receiver's side, in the plainest way. Returns the length, or SIZE_MAX: no lone dot at the end, or one before it. */
static size_t unstuff(struct slice in, char *out)
{
    size_t len = 0;
    struct slice line;
    while (slice_cut(in, '\n', &line, &in)) {
        if (slice_equal(line, SLICE(".\r")))
            return in.len == 0 ? len : SIZE_MAX;
        if (line.len > 0 && line.ptr[0] == '.')
            line = slice_skip(line, 1);
        memcpy(out + len, line.ptr, line.len);
        len += line.len;
        out[len++] = '\n';
    }
    return SIZE_MAX;
}

static void unstuffing_undoes_stuffing(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 20 * SEEDS; seed++) {
        char body[200], back[400];
        uint64_t s = seed;
        struct smtp_stuff stuff = {0};
        struct buffer out = {0};
        size_t len = write_lines(&s, body, sizeof body);
        for (size_t at = 0, n; at < len; at += n) {
            n = 1 + random_below(&s, len - at);
            assert_int_equal(smtp_stuff_write(&stuff, slice_of(body + at, n), &out), RESULT_OK);
        }
        assert_int_equal(smtp_stuff_end(&stuff, &out), RESULT_OK);
        if (unstuff(buffer_slice(&out), back) != len || memcmp(back, body, len) != 0)
            fail_msg("seed %llu", (unsigned long long)seed);
        buffer_free(&out);
    }
}

/* ---- replies ---- */

static size_t write_text(uint64_t *seed, char *out, size_t size)
{
    static const char *const bits[] = {"a", "ok", " ", "-", "250 ", "\t", "\n", "\xc3\xbc", "\xf0\x9f\x93\xa7", ".", "x y z"};
    size_t len = 0;
    for (size_t n = random_below(seed, 40); n > 0; n--) {
        const char *bit = bits[random_below(seed, sizeof bits / sizeof *bits)];
        if (len + strlen(bit) <= size) {
            memcpy(out + len, bit, strlen(bit));
            len += strlen(bit);
        }
    }
    return len;
}

static void parsing_undoes_writing(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 20 * SEEDS; seed++) {
        char text[200];
        uint64_t s = seed;
        struct smtp_reply reply = {.code = 200 + (int)random_below(&s, 400)}, back;
        struct buffer out = {0}, kept = {0};
        size_t used;
        reply.text = slice_of(text, write_text(&s, text, sizeof text));
        if (reply.code / 100 != 3 && random_below(&s, 2))
            reply.status = (struct smtp_status){(unsigned short)(reply.code / 100), (unsigned short)random_below(&s, 1000), (unsigned short)random_below(&s, 1000)};
        assert_int_equal(smtp_reply_write(&reply, &out), RESULT_OK);
        size_t len = buffer_len(&out);
        assert_int_equal(buffer_append_cstr(&out, "250 next"), RESULT_OK);
        assert_int_equal(smtp_reply_parse(buffer_slice(&out), &kept, &back, &used), RESULT_OK);
        if (used != len || back.code != reply.code || memcmp(&back.status, &reply.status, sizeof back.status) != 0 || !slice_equal(back.text, reply.text))
            fail_msg("seed %llu: %.*s", (unsigned long long)seed, SLICE_ARG(buffer_slice(&out)));
        buffer_free(&out);
        buffer_free(&kept);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_do_not_matter),
        cmocka_unit_test(early_pieces_do_not_matter),
        cmocka_unit_test(unstuffing_undoes_stuffing),
        cmocka_unit_test(parsing_undoes_writing),
    };
    return cmocka_run_group_tests_name("properties of the client core", tests, NULL, NULL);
}
