#include "support/smtp_sink.h"

#include "support/random.h"

#include "smtp/sasl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NOTES_MAX = 64 * 1024 * 1024 };

#define CHECK(claim) ((claim) ? (void)0 : violated(#claim, __LINE__))

static void violated(const char *claim, int line)
{
    fprintf(stderr, "smtp_sink.c:%d: does not hold: %s\n", line, claim);
    abort();
}

static void note(struct buffer *notes, struct slice text)
{
    CHECK(buffer_append(notes, text) == RESULT_OK);
}

static void note_line(struct smtp_sink *sink, const char *name, struct slice text, uint64_t number)
{
    CHECK(buffer_printf(&sink->events, "%s%s %llu ", sink->was_body ? "\n" : "", name, (unsigned long long)number) == RESULT_OK);
    note(&sink->events, text);
    note(&sink->events, SLICE("\n"));
    sink->was_body = false;
}

/* ---- answers ---- */

static unsigned weigh(struct slice text)
{
    unsigned sum = 7;
    for (size_t i = 0; i < text.len; i++)
        sum = sum * 31 + (unsigned char)text.ptr[i];
    return (sum ^ (sum >> 8)) % 16;
}

static const struct smtp_reply *choose(const struct smtp_sink *sink, struct slice text)
{
    static const struct smtp_reply yes = SMTP_REPLY_INIT(250, 2, 0, 0, "Fine"), no = SMTP_REPLY_INIT(550, 5, 7, 1, "Refused"),
                                   later = SMTP_REPLY_INIT(451, 4, 3, 0, "Later\ntwo lines"), gone = SMTP_REPLY_INIT(421, 4, 3, 2, "Gone");
    unsigned weight = sink->refuses ? weigh(text) : 0;
    return weight < 12 ? &yes : weight < 14 ? &no : weight < 15 ? &later : &gone;
}

static void answer(struct smtp_sink *sink, struct slice text)
{
    smtp_server_answer(sink->server, choose(sink, text), sink->now_ms);
}

struct smtp_sink_known smtp_sink_look(struct slice transid)
{
    unsigned weight = weigh(transid);
    if (transid.len == 0 || weight % 4 == 0)
        return (struct smtp_sink_known){0};
    return (struct smtp_sink_known){.is_known = true, .held_octets = weight / 4 * 50, .nrcpt = weight % 4 - 1};
}

/* Three messages an exchange at most. */
static void answer_auth(struct smtp_sink *sink, struct slice data)
{
    static const struct smtp_reply welcome = SMTP_REPLY_INIT(235, 2, 7, 0, "Welcome"), wrong = SMTP_REPLY_INIT(535, 5, 7, 8, "Wrong");
    unsigned weight = weigh(data);
    if (weight < 6 && data.len < 64) {
        smtp_server_challenge(sink->server, SLICE("more"), sink->now_ms);
    } else if (weight < 13 && smtp_server_set_user(sink->server, SLICE("user")) == RESULT_OK) {
        smtp_server_answer(sink->server, &welcome, sink->now_ms);
    } else {
        smtp_server_answer(sink->server, &wrong, sink->now_ms);
    }
}

/* ---- events ---- */

static void end_transaction(struct smtp_sink *sink)
{
    CHECK(sink->has_transaction); /* invariant 5 */
    sink->has_transaction = sink->has_body = false;
    sink->known = (struct smtp_sink_known){0};
    buffer_clear(&sink->body);
}

static void on_body(struct smtp_sink *sink, struct slice data)
{
    CHECK(sink->has_body && data.len > 0);
    if (!sink->was_body)
        note(&sink->events, SLICE("body "));
    sink->was_body = true;
    note(&sink->events, data);
    note(&sink->body, data);
    CHECK(sink->known.held_octets + buffer_len(&sink->body) <= sink->size_max_octets); /* invariant 8 */
}

static void on_body_end(struct smtp_sink *sink, const struct smtp_server_event *event)
{
    CHECK(sink->has_body && event->size_octets == buffer_len(&sink->body));
    note_line(sink, event->has_8bit ? "body-end-8bit" : "body-end", slice_from_cstr(smtp_server_protocol(sink->server)), event->size_octets);
    const struct smtp_reply *reply = choose(sink, buffer_slice(&sink->body));
    if (smtp_reply_is_positive(reply)) {
        sink->nmessages++;
        CHECK(buffer_printf(&sink->messages, "%zu:", buffer_len(&sink->body)) == RESULT_OK);
        note(&sink->messages, buffer_slice(&sink->body));
    }
    end_transaction(sink);
    smtp_server_answer(sink->server, reply, sink->now_ms);
}

static void on_mail(struct smtp_sink *sink, const struct smtp_server_event *event)
{
    CHECK(!sink->has_transaction);
    sink->has_transaction = true;
    note_line(sink, "mail", event->envelope->sender, event->size_octets);
    CHECK(event->data.len > 0 || !event->is_whole);
    sink->known = smtp_sink_look(event->data);
    if (!sink->known.is_known) {
        answer(sink, event->envelope->sender);
        return;
    }
    note_line(sink, event->is_whole ? "whole" : "resume", event->data, sink->known.held_octets);
    smtp_server_resume(sink->server, !event->is_whole, false, sink->known.held_octets, sink->known.nrcpt, sink->now_ms);
    sink->known.held_octets = event->is_whole ? 0 : sink->known.held_octets;
}

static void on_body_begin(struct smtp_sink *sink, const struct smtp_server_event *event)
{
    CHECK(sink->has_transaction && !sink->has_body && event->envelope->nrcpt + sink->known.nrcpt > 0);
    sink->has_body = true;
    for (size_t i = 0; i < event->envelope->nrcpt; i++)
        note_line(sink, "to", event->envelope->recipients[i].address, event->envelope->recipients[i].notify);
    note_line(sink, event->is_bdat ? "begin-bdat" : "begin-data", event->envelope->sender, event->envelope->nrcpt);
    answer(sink, event->envelope->sender);
}

static void on_event(struct smtp_sink *sink, const struct smtp_server_event *event)
{
    CHECK(!sink->is_closed);
    bool owes = event->type == SMTP_SERVER_AUTH || event->type == SMTP_SERVER_AUTH_RESPONSE || event->type == SMTP_SERVER_DEVICE ||
                event->type == SMTP_SERVER_OUTCOME || event->type == SMTP_SERVER_MAIL || event->type == SMTP_SERVER_RCPT || event->type == SMTP_SERVER_BODY_BEGIN || event->type == SMTP_SERVER_BODY_END;
    if (owes) { /* invariant 4 */
        struct smtp_server_event other;
        CHECK(smtp_server_is_parked(sink->server) && smtp_server_deadline_ms(sink->server) == INT64_MAX);
        CHECK(!smtp_server_next(sink->server, &other) && smtp_server_feed(sink->server, SLICE("NOOP\r\n"), sink->now_ms) == 0);
    }
    switch (event->type) {
    case SMTP_SERVER_AUTH:
        note_line(sink, "auth", event->data, event->mechanism);
        answer_auth(sink, event->data);
        break;
    case SMTP_SERVER_AUTH_RESPONSE:
        note_line(sink, "auth-response", event->data, 0);
        answer_auth(sink, event->data);
        break;
    case SMTP_SERVER_AUTH_CANCELLED: note_line(sink, "auth-cancelled", SLICE(""), 0); break;
    case SMTP_SERVER_OUTCOME:
        CHECK(!sink->has_transaction);
        note_line(sink, "outcome", event->data, event->first);
        answer(sink, event->data);
        break;
    case SMTP_SERVER_DEVICE:
        note_line(sink, "device", event->data, 0);
        answer(sink, event->data);
        break;
    case SMTP_SERVER_STARTTLS: note_line(sink, "starttls", SLICE(""), 0); break;
    case SMTP_SERVER_MAIL: on_mail(sink, event); break;
    case SMTP_SERVER_RCPT:
        CHECK(sink->has_transaction);
        note_line(sink, "rcpt", event->recipient->address, event->recipient->notify);
        answer(sink, event->recipient->address);
        break;
    case SMTP_SERVER_BODY_BEGIN: on_body_begin(sink, event); break;
    case SMTP_SERVER_BODY: on_body(sink, event->data); break;
    case SMTP_SERVER_BODY_END: on_body_end(sink, event); break;
    case SMTP_SERVER_TRANSACTION_ENDED:
        CHECK(!event->is_refused || sink->has_transaction);
        end_transaction(sink);
        note_line(sink, event->is_refused ? "transaction-refused" : "transaction-ended", SLICE(""), 0);
        break;
    case SMTP_SERVER_CLOSE:
        CHECK(!sink->has_transaction);
        sink->is_closed = true;
        note_line(sink, "close", SLICE(""), 0);
        break;
    }
}

/* ---- the pump ---- */

static void take_events(struct smtp_sink *sink)
{
    struct smtp_server_event event;
    while (smtp_server_next(sink->server, &event))
        on_event(sink, &event);
}

static void take_output(struct smtp_sink *sink)
{
    struct slice output = smtp_server_output(sink->server);
    note(&sink->output, output);
    smtp_server_sent(sink->server, output.len);
}

void smtp_sink_pump(struct smtp_sink *sink)
{
    take_events(sink);
    take_output(sink);
}

bool smtp_sink_feed(struct smtp_sink *sink, struct slice piece)
{
    size_t used = 1;
    while (piece.len > 0 && used > 0) {
        used = smtp_server_feed(sink->server, piece, sink->now_ms);
        CHECK(used <= piece.len);
        take_events(sink);
        take_output(sink);
        piece = slice_skip(piece, used);
    }
    CHECK(piece.len == 0 || sink->is_closed);
    return piece.len == 0;
}

bool smtp_sink_open(struct smtp_sink *sink, const struct smtp_server_config *config, bool is_tls)
{
    *sink = (struct smtp_sink){.refuses = true, .events = {.max = NOTES_MAX}, .output = {.max = NOTES_MAX}, .messages = {.max = NOTES_MAX},
                               .body = {.max = NOTES_MAX}};
    sink->size_max_octets = config->size_max_octets;
    sink->server = smtp_server_new(config, is_tls, is_tls ? SMTP_SERVER_EXPORTER : SMTP_SERVER_NO_BINDING, sink->now_ms);
    if (sink->server)
        smtp_sink_pump(sink);
    return sink->server != NULL;
}

/* Each line of what was said begins with three digits and ends in CRLF, and holds no control. */
static void check_output(struct slice output)
{
    struct slice line;
    while (output.len > 0) {
        CHECK(slice_cut(output, '\n', &line, &output) && line.len >= 5 && line.ptr[line.len - 1] == '\r');
        CHECK(line.ptr[0] >= '2' && line.ptr[0] <= '5' && (line.ptr[3] == ' ' || line.ptr[3] == '-'));
        for (size_t i = 0; i + 1 < line.len; i++)
            CHECK((unsigned char)line.ptr[i] >= ' ' && line.ptr[i] != 0x7f);
    }
}

void smtp_sink_close(struct smtp_sink *sink)
{
    if (sink->server) {
        smtp_server_eof(sink->server);
        smtp_sink_pump(sink);
        CHECK(sink->is_closed && smtp_server_deadline_ms(sink->server) == INT64_MAX);
        CHECK(smtp_server_feed(sink->server, SLICE("x"), sink->now_ms) == 1);
    }
    check_output(buffer_slice(&sink->output));
    smtp_server_free(&sink->server);
    buffer_free(&sink->events);
    buffer_free(&sink->output);
    buffer_free(&sink->messages);
    buffer_free(&sink->body);
}

struct smtp_server_config smtp_sink_config(void)
{
    return (struct smtp_server_config){
        .hostname = SLICE("relay.example"),
        .size_max_octets = 200,
        .nrcpt_max = 5,
        .command_line_max = 200,
        .auth_line_max = 300,
        .text_line_max = 40,
        .errors_max = 12,
        .idle_commands_max = 20,
        .auth_mechanisms = SASL_PLAIN | SASL_LOGIN | SASL_SCRAM_SHA_256 | SASL_HT_SHA_256_EXPR,
        .offers_starttls = true,
        .allows_auth_without_tls = true,
        .offers_smtputf8 = true,
        .offers_binarymime = true,
        .offers_device = true,
        .offers_pipeconnect = true,
        .offers_checkpoint = true,
        .outcome = "3f9c 691200",
        .ways = "465/tls",
    };
}

/* ---- sessions ---- */

uint32_t smtp_dice_roll(struct smtp_dice *dice, uint32_t bound)
{
    return (uint32_t)random_below(&dice->state, bound);
}

static const struct slice WORDS[] = {
    SLICE("EHLO laptop.example\r\n"),
    SLICE("HELO laptop.example\r\n"),
    SLICE("NOOP\r\n"),
    SLICE("RSET\r\n"),
    SLICE("VRFY a\r\n"),
    SLICE("XYZZY\r\n"),
    SLICE("AUTH PLAIN AHUAcA==\r\n"),
    SLICE("AUTH LOGIN\r\n"),
    SLICE("dXNlcg==\r\n"),
    SLICE("*\r\n"),
    SLICE("AUTH HT-SHA-256-EXPR ZAB4\r\n"),
    SLICE("XDEVICE laptop\r\n"),
    SLICE("XDEVICE +C3+A4\r\n"),
    SLICE("XDEVICE +0A\r\n"),
    SLICE("XOUTCOME <n.0@d>\r\n"),
    SLICE("XOUTCOME <n.1@d> 7\r\n"),
    SLICE("MAIL FROM:<b@x.example> TRANSID=<n.0@d>\r\n"),
    SLICE("MAIL FROM:<b@x.example> TRANSID=<n.1@d>\r\n"),
    SLICE("MAIL FROM:<b@x.example> TRANSID=<n.2@d>\r\n"),
    SLICE("MAIL FROM:<b@x.example> TRANSID=<n.3@d>\r\n"),
    SLICE("MAIL FROM:<b@x.example> TRANSID=<n.4@d> XWHOLE\r\n"),
    SLICE("MAIL FROM:<b@x.example> TRANSID=<n.5@d> XWHOLE BODY=BINARYMIME\r\n"),
    SLICE("MAIL FROM:<>\r\n"),
    SLICE("MAIL FROM:<a@x.example> SIZE=100 BODY=8BITMIME\r\n"),
    SLICE("MAIL FROM:<b@x.example> BODY=BINARYMIME\r\n"),
    SLICE("MAIL FROM:<\xc3\xa4@x.example> SMTPUTF8 RET=HDRS ENVID=x\r\n"),
    SLICE("RCPT TO:<a@y.example>\r\n"),
    SLICE("RCPT TO:<b@y.example> NOTIFY=DELAY ORCPT=rfc822;b\r\n"),
    SLICE("RCPT TO:<c@y.example>\r\n"),
    SLICE("RCPT TO:<postmaster>\r\n"),
    SLICE("RCPT TO:<broken\r\n"),
    SLICE("DATA\r\n"),
    SLICE("BDAT 5\r\nab\r\nc"),
    SLICE("BDAT 8 LAST\r\nab\r\ncd\r\n"),
    SLICE("BDAT 0 LAST\r\n"),
    SLICE("BDAT 3\r\na\r\n"),
    SLICE("BDAT 3 LAST\r\n\na\r"),
    SLICE("BDAT 33\r\n"),
    SLICE("text\r\n"),
    SLICE("..stuffed\r\n"),
    SLICE("caf\xc3\xa9\r\n"),
    SLICE("a line that is longer than it may be in this configuration\r\n"),
    SLICE(".\r\n"),
    SLICE("\r\n.\r\n"),
    SLICE("\n.\n"),
    SLICE("\r\n.\n"),
    SLICE("\r"),
    SLICE("\n"),
    SLICE("."),
    SLICE("\0"),
    SLICE("STARTTLS\r\n"),
    SLICE("GET / HTTP/1.1\r\n"),
    SLICE("QUIT\r\n"),
};

static const struct slice FLOW[] = {
    SLICE("EHLO laptop.example\r\n"), SLICE("MAIL FROM:<b@x.example>\r\n"), SLICE("RCPT TO:<a@y.example>\r\n"),
    SLICE("RCPT TO:<b@y.example>\r\n"), SLICE("DATA\r\n"), SLICE("hello\r\n"),
};

/* Mostly the usual order of things, with anything at all in between. */
void smtp_dice_session(struct smtp_dice *dice, struct buffer *out)
{
    size_t nwords = sizeof WORDS / sizeof *WORDS, nflow = sizeof FLOW / sizeof *FLOW, at = 0;
    uint32_t n = 5 + smtp_dice_roll(dice, 40), wildness = 2 + smtp_dice_roll(dice, 12);
    for (uint32_t i = 0; i < n; i++) {
        bool is_wild = smtp_dice_roll(dice, wildness) == 0;
        note(out, is_wild ? WORDS[smtp_dice_roll(dice, (uint32_t)nwords)] : FLOW[at]);
        if (!is_wild && ++at == nflow) {
            note(out, smtp_dice_roll(dice, 4) ? SLICE(".\r\n") : SLICE("more\r\n"));
            at = 1;
        }
    }
}
