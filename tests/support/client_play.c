#include "support/client_play.h"
#include "crypto/crypto.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PLAY_MAX = 64 * 1024 * 1024 };

static void must(enum result result)
{
    if (result != RESULT_OK)
        abort();
}

void play_open(struct play *p, const struct smtp_client_config *config)
{
    must(crypto_init());
    *p = (struct play){.now_ms = 1000000, .said = BUFFER(PLAY_MAX), .told = BUFFER(PLAY_MAX)};
    p->client = smtp_client_new(config, p->now_ms);
}

void play_close(struct play *p)
{
    smtp_client_free(&p->client);
    buffer_free(&p->said);
    buffer_free(&p->told);
}

/* ---- events ---- */

static const char *sent_name(enum smtp_sent sent)
{
    switch (sent) {
    case SMTP_SENT_ACCEPTED: return "accepted";
    case SMTP_SENT_DEFERRED: return "deferred";
    case SMTP_SENT_REFUSED: return "refused";
    case SMTP_SENT_PAUSED: return "paused";
    case SMTP_SENT_RENAME: return "rename";
    case SMTP_SENT_NOBODY: return "nobody";
    }
    return "?";
}

static void tell(struct play *p, const struct smtp_client_event *event)
{
    char reply[SMTP_REPLY_TEXT_MAX + 64] = "";
    const char *ours = event->is_local ? " (ours)" : "";
    if (event->reply)
        smtp_reply_format(event->reply, reply, sizeof reply);
    switch (event->type) {
    case SMTP_CLIENT_STARTTLS: must(buffer_append_cstr(&p->told, "STARTTLS\n")); break;
    case SMTP_CLIENT_PROVEN: must(buffer_append_cstr(&p->told, "PROVEN\n")); break;
    case SMTP_CLIENT_DEVICE: must(buffer_printf(&p->told, "DEVICE %.*s%s%s\n", SLICE_ARG(event->device), reply, ours)); break;
    case SMTP_CLIENT_OUTCOME: must(buffer_printf(&p->told, "OUTCOME %zu: %s\n", event->question, reply)); break;
    case SMTP_CLIENT_RESUMED: must(buffer_printf(&p->told, "RESUMED %llu\n", (unsigned long long)event->offset)); break;
    case SMTP_CLIENT_READY: must(buffer_append_cstr(&p->told, "READY\n")); break;
    case SMTP_CLIENT_BODY_WANTED: must(buffer_append_cstr(&p->told, "BODY\n")); break;
    case SMTP_CLIENT_CLOSED: must(buffer_append_cstr(&p->told, "CLOSED\n")); break;
    case SMTP_CLIENT_RECIPIENT: must(buffer_printf(&p->told, "RECIPIENT %zu: %s%s\n", event->recipient, reply, ours)); break;
    case SMTP_CLIENT_SENT:
        must(buffer_printf(&p->told, "SENT %s%s%s [%s]%s\n", sent_name(event->sent), event->reply ? ": " : "", reply, event->phase, ours));
        break;
    case SMTP_CLIENT_FAILED:
        must(buffer_printf(&p->told, "FAILED %s [%s]%s%s%s\n", smtp_failure_name(event->failure), event->phase,
                           event->is_uncertain ? " uncertain" : "", event->reply ? ": " : "", reply));
        break;
    }
}

static void give_body(struct play *p)
{
    size_t max = p->piece > 0 ? p->piece : (size_t)SMTP_CLIENT_CHUNK_MAX;
    struct slice piece = slice_take(slice_skip(p->body, p->body_at), max);
    p->body_at += piece.len;
    smtp_client_body(p->client, piece, p->body_at == p->body.len, p->now_ms);
}

static bool next_event(struct play *p)
{
    struct smtp_client_event event;
    if (!smtp_client_next(p->client, &event))
        return false;
    tell(p, &event);
    if (event.type == SMTP_CLIENT_PROVEN && !p->waits_at_proven)
        smtp_client_login(p->client, p->now_ms);
    if (event.type == SMTP_CLIENT_BODY_WANTED)
        p->body_at = (size_t)event.offset;
    if (event.type == SMTP_CLIENT_BODY_WANTED && !p->keeps_body)
        give_body(p);
    return true;
}

void play_take(struct play *p, size_t n)
{
    struct slice out = smtp_client_output(p->client);
    if (out.len > p->output_max)
        p->output_max = out.len;
    out = slice_take(out, n);
    must(buffer_append(&p->said, out));
    smtp_client_sent(p->client, out.len, p->now_ms);
}

void play_pump(struct play *p)
{
    bool moves = p->client != NULL;
    while (moves) {
        moves = false;
        while (next_event(p))
            moves = true;
        if (!p->keeps_output && smtp_client_output(p->client).len > 0) {
            play_take(p, SIZE_MAX);
            moves = true;
        }
    }
}

/* ---- acts ---- */

void play_feed(struct play *p, struct slice octets)
{
    if (!p->client)
        return;
    smtp_client_feed(p->client, octets, p->now_ms);
    play_pump(p);
}

void play_server(struct play *p, const char *octets)
{
    play_feed(p, slice_from_cstr(octets));
}

void play_eof(struct play *p)
{
    smtp_client_eof(p->client);
    play_pump(p);
}

void play_tls(struct play *p, const struct sasl_binding *bindings, size_t nbindings)
{
    must(smtp_client_tls_started(p->client, bindings, nbindings, p->now_ms));
    play_pump(p);
}

void play_send(struct play *p, const struct smtp_transaction *transaction, struct slice body)
{
    struct smtp_transaction with_size = *transaction;
    if (with_size.size_octets == 0)
        with_size.size_octets = body.len;
    p->body = body;
    p->body_at = 0;
    smtp_client_send(p->client, &with_size, p->now_ms);
    play_pump(p);
}

void play_device(struct play *p, struct slice label)
{
    smtp_client_ask_device(p->client, label, p->now_ms);
    play_pump(p);
}

void play_outcomes(struct play *p, const struct smtp_outcome_question *questions, size_t n)
{
    smtp_client_ask_outcomes(p->client, questions, n, p->now_ms);
    play_pump(p);
}

void play_pause(struct play *p)
{
    smtp_client_pause(p->client, p->now_ms);
    play_pump(p);
}

void play_body(struct play *p)
{
    give_body(p);
    play_pump(p);
}

void play_quit(struct play *p)
{
    smtp_client_quit(p->client, p->now_ms);
    play_pump(p);
}

void play_wait(struct play *p, int64_t ms)
{
    p->now_ms += ms;
    smtp_client_tick(p->client, p->now_ms);
    play_pump(p);
}

void play_open_ready(struct play *p, const char *extensions)
{
    play_open(p, &(struct smtp_client_config){.ehlo_name = SLICE("laptop.example")});
    play_server(p, "220 mx\r\n");
    play_server(p, "250-mx\r\n");
    play_server(p, extensions);
    play_server(p, "250 HELP\r\n");
    buffer_clear(&p->said);
    buffer_clear(&p->told);
}

/* Ends the text with a NUL, and clears what the caller is shown for the next time. */
static const char *take_text(struct buffer *b)
{
    must(buffer_append(b, slice_of("", 1)));
    const char *text = buffer_slice(b).ptr;
    buffer_clear(b);
    return text;
}

const char *play_said(struct play *p)
{
    return take_text(&p->said);
}

const char *play_told(struct play *p)
{
    return take_text(&p->told);
}
