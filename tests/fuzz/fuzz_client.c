/* A whole session against a server that says anything. The first octet of the input chooses the client's wishes, the second the pieces of its messages, whether it speaks first, and whether it asks for a token;
 * the rest is what the server says, in flights that end at an octet 1. Before one that begins with an octet 2, which is none of the server's, the client pauses its message. Each input is played whole and octet by octet: the client must say and
 * tell the same. */
#include "support/client_play.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MESSAGES_MAX = 4 };

static struct envelope_recipient recipients[] = {{.address = SLICE("a@x.example"), .notify = DSN_NOTIFY_FAILURE}, {.address = SLICE("b@x.example")}};
static const struct envelope envelope = {.sender = SLICE("me@x.example"), .ret = DSN_RET_FULL, .envid = SLICE("e"), .recipients = recipients, .nrcpt = 2};
static const struct sasl_binding binding = {SLICE("tls-exporter"), SLICE("0123456789abcdef")};

static void check(bool holds)
{
    if (!holds)
        abort();
}

static bool is_in(const struct play *p, const char *state)
{
    return strcmp(smtp_client_state_name(p->client), state) == 0;
}

static void feed(struct play *p, struct slice flight, bool is_whole)
{
    p->keeps_output = true;
    for (size_t i = 0; i < flight.len && !is_whole; i++)
        play_feed(p, slice_of(flight.ptr + i, 1));
    if (is_whole)
        play_feed(p, flight);
    p->keeps_output = false;
    play_pump(p);
}

/* Bits of the first octet: 0 and 1 the security, 2 has a password, 3 may say it in the clear, 4 has a token and, without 3, knows the peer, 5 to 7 what its messages are like: with 6 and 7 they have names,
 * are asked about first every other time, and what became of them is asked in the end. Of the second: 6 speaks first, 7 asks for a token. */
enum { HAS_PASSWORD = 4, SAYS_IT_IN_CLEAR = 8, HAS_TOKEN = 16, HAS_NAMES = 64 | 128, SPEAKS_FIRST = 64 << 8, ASKS_DEVICE = 128 << 8 };

static const struct smtp_peer known = {
    .capabilities = SMTP_CAP_PIPELINING | SMTP_CAP_CHUNKING | SMTP_CAP_PIPECONNECT | SMTP_CAP_AUTH | SMTP_CAP_DSN | SMTP_CAP_8BITMIME | SMTP_CAP_SIZE | SMTP_CAP_CHECKPOINT | SMTP_CAP_XOUTCOME,
    .mechanisms = SASL_HT_SHA_256_EXPR,
    .size_max_octets = 29,
    .nrcpt_max = 2,
};

static void ask_device(struct play *p, unsigned *nmessages)
{
    ++*nmessages;
    play_device(p, SLICE("a laptop"));
}

static bool has_names(unsigned wishes)
{
    return (wishes & HAS_NAMES) == HAS_NAMES;
}

static void ask_outcomes(struct play *p, unsigned *nmessages)
{
    static const struct smtp_outcome_question questions[] = {{.transid = SLICE("<1@a>")}, {.transid = SLICE("<2@a>"), .first = 7}};
    ++*nmessages;
    play_outcomes(p, questions, 2);
}

static void act(struct play *p, unsigned wishes, unsigned *nmessages)
{
    static const struct slice body = SLICE("Subject: x\r\n\r\n.a\r\n..\r\nthe end"), binary = SLICE("\0\n.\n\r\n.\r\n"), broken = SLICE("a\n.\r\n");
    struct smtp_transaction transaction = {.envelope = &envelope, .has_8bit = wishes & 32, .is_binary = wishes & 64 && !has_names(wishes)};
    if (has_names(wishes)) {
        transaction.transid = SLICE("<1@a>");
        transaction.asks_first = *nmessages % 2 == 0;
    }
    if (is_in(p, "tls"))
        play_tls(p, &binding, 1);
    else if (is_in(p, "ready") && *nmessages == 0 && wishes & ASKS_DEVICE && !(wishes & HAS_TOKEN))
        ask_device(p, nmessages);
    else if (is_in(p, "ready") && *nmessages == MESSAGES_MAX - 1 && has_names(wishes))
        ask_outcomes(p, nmessages);
    else if (is_in(p, "ready") && (*nmessages)++ < MESSAGES_MAX)
        play_send(p, &transaction, has_names(wishes) ? body : wishes & 64 ? binary : wishes & 128 ? broken : body);
    else if (is_in(p, "ready"))
        play_quit(p);
}

static void play_all(struct play *p, struct slice in, bool is_whole)
{
    unsigned wishes = (in.len > 0 ? (unsigned char)in.ptr[0] : 0u) | (in.len > 1 ? (unsigned)(unsigned char)in.ptr[1] << 8 : 0u), nmessages = 0;
    struct slice flight, rest = slice_skip(in, 2);
    struct smtp_client_config config = {.ehlo_name = SLICE("laptop"), .security = (enum smtp_security)(wishes & 3), .allows_auth_without_tls = wishes & SAYS_IT_IN_CLEAR};
    config.speaks_first = wishes & SPEAKS_FIRST;
    if (wishes & HAS_PASSWORD)
        config.user = config.password = SLICE("secret");
    if (wishes & HAS_TOKEN) {
        config.device = SLICE("d1");
        config.token = SLICE("0123456789abcdef0123456789abcdef");
        config.early = wishes & SAYS_IT_IN_CLEAR ? NULL : &known;
    }
    play_open(p, &config);
    play_pump(p);
    if (config.security == SMTP_SECURITY_TLS)
        play_tls(p, &binding, 1);
    if (is_in(p, "ready"))
        act(p, wishes, &nmessages);
    p->piece = in.len > 1 ? 1 + (unsigned char)in.ptr[1] % 64 : 0;
    while (rest.len > 0) {
        slice_cut(rest, 1, &flight, &rest);
        if (slice_starts_with(flight, SLICE("\2"))) {
            flight = slice_skip(flight, 1);
            play_pause(p);
        }
        feed(p, flight, is_whole);
        act(p, wishes, &nmessages);
    }
    play_wait(p, 1000);
    play_eof(p);
    check(p->output_max <= SMTP_CLIENT_OUTPUT_MAX);
    check(is_in(p, "failed") || is_in(p, "closed"));
}

/* How many lines begin so. */
static size_t count(struct slice text, const char *what)
{
    size_t found = 0, len = strlen(what);
    for (size_t i = 0; i + len <= text.len; i++)
        found += (i == 0 || text.ptr[i - 1] == '\n') && memcmp(text.ptr + i, what, len) == 0;
    return found;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct play whole, octets;
    struct slice in = slice_of(data, size);
    play_all(&whole, in, true);
    play_all(&octets, in, false);
    struct slice told = buffer_slice(&whole.told);
    /* Octets behind the 220 of STARTTLS are found out before the handshake or in it, as they come. */
    if (count(told, "FAILED injected") == 0) {
        check(slice_equal(told, buffer_slice(&octets.told)));
        check(slice_equal(buffer_slice(&whole.said), buffer_slice(&octets.said)));
    }
    /* Nothing is resumed that was not asked about, and nothing paused without an end of its own. */
    check(count(told, "RESUMED ") <= count(told, "READY\n") && count(told, "SENT paused") <= count(told, "READY\n"));
    check(count(told, "FAILED ") + count(told, "CLOSED\n") == 1);
    play_close(&whole);
    play_close(&octets);
    return 0;
}
