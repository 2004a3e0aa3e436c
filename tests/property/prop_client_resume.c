/* Of the client core: a message with a name is whole at its relay, once, however often the connection is cut at whatever octet and the message paused; and nothing is sent again that the relay said it had.
 * Seeds are counted up, so a failure names the one to look at. */
#include "support/client_play.h"
#include "support/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SEEDS = 2000, BODY_MAX = 300, CONNECTIONS_MAX = 300 };

/* A relay that keeps every octet it got, tells of them where the last line begins, and answers whatever is asked. */
struct keeper {
    char held[BODY_MAX];
    size_t nheld;
    bool is_over;       /* the whole was taken */
    unsigned ntaken;    /* how often */
    bool is_in_bdat, is_last; /* this and the following: of the present connection */
    size_t bdat_left;
    struct buffer heard;
};

static size_t offset_of(const struct keeper *k)
{
    size_t at = k->nheld;
    while (!k->is_over && at > 0 && k->held[at - 1] != '\n')
        at--;
    return at;
}

static void answer_mail(struct keeper *k, struct slice line, struct buffer *out)
{
    bool is_whole = slice_ends_with_nocase(line, SLICE(" XWHOLE\r"));
    size_t offset = is_whole ? 0 : offset_of(k);
    if (!k->is_over)
        k->nheld = offset;
    assert_int_equal(offset > 0 ? buffer_printf(out, "355 %zu octets are here\r\n", offset) : buffer_append_cstr(out, "250 ok\r\n"), RESULT_OK);
}

static void begin_bdat(struct keeper *k, struct slice line)
{
    struct slice word, rest;
    uint64_t octets;
    k->is_in_bdat = true;
    k->is_last = slice_ends_with_nocase(line, SLICE(" LAST\r"));
    slice_cut(slice_take(slice_skip(line, 5), line.len - 6), ' ', &word, &rest);
    assert_true(slice_to_u64(word, BODY_MAX, &octets));
    k->bdat_left = (size_t)octets;
}

static void answer_line(struct keeper *k, struct slice line, struct buffer *out)
{
    if (slice_starts_with(line, SLICE("BDAT ")))
        begin_bdat(k, line);
    else if (slice_starts_with(line, SLICE("MAIL ")))
        answer_mail(k, line, out);
    else
        assert_int_equal(buffer_append_cstr(out, slice_starts_with(line, SLICE("EHLO")) ? "250-relay\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-XOUTCOME e1 600\r\n250 CHECKPOINT\r\n" : "250 well\r\n"), RESULT_OK);
}

/* Octets of a message that is over already are dropped. */
static void take_octets(struct keeper *k, struct buffer *out)
{
    struct slice octets = slice_take(buffer_slice(&k->heard), k->bdat_left);
    assert_true(k->is_over || k->nheld + octets.len <= BODY_MAX);
    if (!k->is_over && octets.len > 0)
        memcpy(k->held + k->nheld, octets.ptr, octets.len);
    k->nheld += k->is_over ? 0 : octets.len;
    k->bdat_left -= octets.len;
    buffer_consume(&k->heard, octets.len);
    if (k->bdat_left > 0)
        return;
    k->is_in_bdat = false;
    k->ntaken += k->is_last && !k->is_over;
    k->is_over = k->is_over || k->is_last;
    assert_int_equal(buffer_append_cstr(out, "250 got it\r\n"), RESULT_OK);
}

static void hear(struct keeper *k, struct slice said, struct buffer *out)
{
    struct slice line, rest;
    assert_int_equal(buffer_append(&k->heard, said), RESULT_OK);
    for (;;) {
        if (k->is_in_bdat)
            take_octets(k, out);
        if (k->is_in_bdat || !slice_cut(buffer_slice(&k->heard), '\n', &line, &rest))
            return;
        answer_line(k, line, out);
        buffer_consume(&k->heard, line.len + 1);
    }
}

/* One connection, of which `left` octets of the client's leave before it is cut. True: the client knows that the message was taken. */
static bool connect_once(struct keeper *k, struct slice body, bool asks_first, size_t left, uint64_t *seed)
{
    static const struct envelope_recipient recipients[] = {{.address = SLICE("a@x.example")}};
    const struct envelope envelope = {.sender = SLICE("me@x.example"), .recipients = (struct envelope_recipient *)(uintptr_t)recipients, .nrcpt = 1};
    struct play p;
    struct buffer out = {0};
    bool is_sent = false, asks = asks_first;
    play_open(&p, &(struct smtp_client_config){.ehlo_name = SLICE("laptop")});
    p.piece = 1 + random_below(seed, 60);
    p.keeps_output = true;
    play_server(&p, "220 relay\r\n");
    for (bool moves = true; moves;) {
        struct slice said = slice_take(smtp_client_output(p.client), left);
        size_t len = said.len > 1 && random_below(seed, 2) ? 1 + random_below(seed, said.len) : said.len;
        hear(k, slice_take(said, len), &out);
        play_take(&p, len);
        left -= len;
        if (random_below(seed, 12) == 0) {
            smtp_client_pause(p.client, p.now_ms);
            asks = true;
        }
        play_feed(&p, buffer_slice(&out));
        play_pump(&p);
        moves = len > 0 || buffer_len(&out) > 0;
        buffer_clear(&out);
        struct slice told = buffer_slice(&p.told);
        if (strcmp(smtp_client_state_name(p.client), "ready") == 0 && (!is_sent || slice_ends_with_nocase(told, SLICE("SENT paused [RSET]\nREADY\n")))) {
            play_send(&p, &(struct smtp_transaction){.envelope = &envelope, .transid = SLICE("<1@a>"), .asks_first = is_sent ? asks : asks_first}, body);
            is_sent = moves = true;
        }
    }
    bool is_accepted = strstr(play_told(&p), "SENT accepted") != NULL;
    play_close(&p);
    buffer_free(&out);
    buffer_clear(&k->heard);
    k->is_in_bdat = false;
    return is_accepted;
}

static size_t write_body(uint64_t *seed, char *out)
{
    size_t len = 0;
    for (size_t nlines = 1 + random_below(seed, 12); nlines > 0; nlines--) {
        for (size_t n = random_below(seed, 20); n > 0; n--)
            out[len++] = "..ab c"[random_below(seed, 6)];
        out[len++] = '\r';
        out[len++] = '\n';
    }
    return len;
}

static void a_message_is_there_once_however_often_it_is_cut(void **state)
{
    size_t nconnections = 0;
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        uint64_t s = seed;
        char text[BODY_MAX];
        struct keeper k = {.heard = BUFFER(65536)};
        struct slice body = slice_of(text, write_body(&s, text));
        bool is_accepted = false;
        size_t patience = 20 + random_below(&s, 300);
        for (size_t n = 0; n < CONNECTIONS_MAX && !is_accepted; n++, nconnections++)
            is_accepted = connect_once(&k, body, n > 0, n < 20 ? random_below(&s, patience) : SIZE_MAX, &s);
        if (!is_accepted || k.ntaken != 1 || !slice_equal(slice_of(k.held, k.nheld), body))
            fail_msg("seed %llu: %d, taken %u times, %zu of %zu octets", (unsigned long long)seed, is_accepted, k.ntaken, k.nheld, body.len);
        buffer_free(&k.heard);
    }
    assert_true(nconnections > 2 * SEEDS); /* there were cuts */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_is_there_once_however_often_it_is_cut),
    };
    return cmocka_run_group_tests_name("properties of resumed messages", tests, NULL, NULL);
}
