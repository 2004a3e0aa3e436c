#include "smtp/server_internal.h"

#include <stdio.h>

/* DATA (RFC 5321 4.1.1.4) and BDAT (RFC 3030). A body that is refused half-way is read to its end and answered once (invariant 7). */

static const struct smtp_reply go_on = SMTP_REPLY_INIT(354, 0, 0, 0, "Send the message; end with <CRLF>.<CRLF>");
static const struct smtp_reply nobody = SMTP_REPLY_INIT(554, 5, 5, 1, "No valid recipients");
static const struct smtp_reply binary_data = SMTP_REPLY_INIT(503, 5, 5, 1, "A BINARYMIME message goes with BDAT, not DATA");
static const struct smtp_reply too_large = SMTP_REPLY_INIT(552, 5, 3, 4, "The message is larger than this server takes; EHLO tells SIZE");
static const struct smtp_reply long_line = SMTP_REPLY_INIT(500, 5, 5, 2, "A line of the message is too long; wrap or encode it (quoted-printable, base64)");
static const struct smtp_reply bare_body = SMTP_REPLY_INIT(550, 5, 5, 2, "The message holds a bare CR, a bare LF or a NUL; lines end in CRLF; closing");

enum { REFUSED_TIMES_MAX = 4 }; /* times the size of the largest message */

/* ---- beginning ---- */

static void ask_begin(struct smtp_server *server, bool is_bdat)
{
    server->owed = SMTP_OWED_BODY_BEGIN;
    struct smtp_server_event *event = server_add_event(server, SMTP_SERVER_BODY_BEGIN);
    event->envelope = &server->envelope;
    event->is_bdat = is_bdat;
}

static void start_clock(struct smtp_server *server)
{
    server->body_start_ms = server->now_ms;
    server->body_start_octets = server->taken_octets;
}

void server_data(struct smtp_server *server)
{
    if (server->state == SMTP_SERVER_HAS_MAIL) {
        server_refuse(server, &nobody);
    } else if (server->envelope.body == MAIL_BODY_BINARYMIME) {
        server_refuse(server, &binary_data);
    } else {
        smtp_data_start_dotted(&server->data, server->config.text_line_max);
        ask_begin(server, false);
    }
}

/* How much of the message may come yet. The configuration may have shrunk since its first octets came. */
static uint64_t room(const struct smtp_server *server)
{
    if (server->is_unmeasured)
        return UINT64_MAX;
    uint64_t size_max = server->config.size_max_octets;
    uint64_t left = server->held_octets < size_max ? size_max - server->held_octets : 0;
    return server->body_octets < left ? left - server->body_octets : 0;
}

/* ---- refused half-way ---- */

/* Our own verdict ends the transaction: what is here of it, since earlier sessions too, is part of a message that nobody takes. */
static void condemn(struct smtp_server *server)
{
    bool is_known = server->has_transaction;
    server_end_transaction(server);
    if (is_known)
        server->events[server->nevents - 1].is_refused = true;
}

static const struct smtp_reply *fault_verdict(enum smtp_data_fault fault)
{
    switch (fault) {
    case SMTP_DATA_SOUND: break;
    case SMTP_DATA_LONG_LINE: return &long_line;
    case SMTP_DATA_BARE_CR:
    case SMTP_DATA_BARE_LF:
    case SMTP_DATA_NUL: return &bare_body;
    }
    return NULL;
}

/* Nothing more of this message is wanted. */
static void drop(struct smtp_server *server, const struct smtp_reply *verdict)
{
    bool is_chunk = server->state == SMTP_SERVER_CHUNK;
    server->verdict = verdict;
    server->after_drop = SMTP_SERVER_READY;
    condemn(server);
    server_set_state(server, is_chunk ? SMTP_SERVER_CHUNK_DROP : SMTP_SERVER_DATA_DROP);
}

static void drop_at_fault(struct smtp_server *server)
{
    if (server->data.fault != SMTP_DATA_SOUND && (server->state == SMTP_SERVER_DATA || server->state == SMTP_SERVER_CHUNK))
        drop(server, fault_verdict(server->data.fault));
}

/* The true end of what was dropped. After a bare CR or LF the two sides disagree about where lines end, so the session ends too (invariant 1). */
static void pronounce(struct smtp_server *server, enum smtp_server_state next)
{
    const struct smtp_reply *verdict = server->verdict;
    if (verdict == &bare_body) {
        server_close(server, verdict);
        return;
    }
    server_set_state(server, next);
    if (verdict == &server->refusal)
        server_reply(server, verdict);
    else
        server_refuse(server, verdict);
    server_forget(&server->refusal.text);
}

/* Counts what came. True: more than anybody honest sends to be refused; the session is closed. Counted as it came, whatever it was when it came, so that the end
 * does not depend on how the input was cut (invariant 3). */
static bool is_too_much(struct smtp_server *server, size_t octets)
{
    uint64_t size_max = server->config.size_max_octets;
    bool is_dropping = server->state == SMTP_SERVER_DATA_DROP || server->state == SMTP_SERVER_CHUNK_DROP;
    server->taken_octets += octets;
    if (!is_dropping || size_max > UINT64_MAX / REFUSED_TIMES_MAX || server->taken_octets <= REFUSED_TIMES_MAX * size_max)
        return false;
    server_close(server, server->verdict);
    return true;
}

/* ---- octets ---- */

/* Passes on a piece, as much of it as the size allows: what is passed on must not depend on how the input was cut. */
static void pass_on(struct smtp_server *server, struct slice piece)
{
    uint64_t most = room(server);
    struct slice fitting = piece.len > most ? slice_take(piece, (size_t)most) : piece;
    server->body_octets += fitting.len;
    if (fitting.len > 0)
        server_add_event(server, SMTP_SERVER_BODY)->data = fitting;
    if (fitting.len < piece.len)
        drop(server, &too_large);
}

static void body_end(struct smtp_server *server)
{
    server_set_state(server, SMTP_SERVER_BODY_DONE);
    server->owed = SMTP_OWED_BODY_END;
    struct smtp_server_event *event = server_add_event(server, SMTP_SERVER_BODY_END);
    event->size_octets = server->body_octets;
    event->has_8bit = server->data.has_8bit;
}

static void take_data(struct smtp_server *server, struct slice in, size_t *used)
{
    struct slice piece;
    enum smtp_data_step step = smtp_data_read(&server->data, in, used, &piece);
    drop_at_fault(server);
    if (step == SMTP_DATA_PIECE && server->state == SMTP_SERVER_DATA)
        pass_on(server, piece);
    if (is_too_much(server, *used) || step != SMTP_DATA_END)
        return;
    if (server->state == SMTP_SERVER_DATA)
        body_end(server);
    else
        pronounce(server, SMTP_SERVER_READY);
}

static void chunk_done(struct smtp_server *server)
{
    if (server->state == SMTP_SERVER_CHUNK && server->chunk_is_last) {
        smtp_data_finish(&server->data);
        drop_at_fault(server);
    }
    if (server->state == SMTP_SERVER_CHUNK_DROP) {
        pronounce(server, server->after_drop);
    } else if (server->chunk_is_last) {
        body_end(server);
    } else {
        char words[48];
        struct smtp_reply reply = {.code = 250, .status = {2, 0, 0}};
        int len = snprintf(words, sizeof words, "%llu octets received", (unsigned long long)server->chunk_octets);
        reply.text = slice_of(words, (size_t)len);
        server_set_state(server, SMTP_SERVER_BETWEEN);
        server_reply(server, &reply);
    }
}

static void take_chunk(struct smtp_server *server, struct slice in, size_t *used)
{
    in = slice_take(in, server->chunk_left < in.len ? (size_t)server->chunk_left : in.len);
    *used = in.len;
    if (server->state == SMTP_SERVER_CHUNK) {
        struct slice piece;
        enum smtp_data_step step = smtp_data_read(&server->data, in, used, &piece);
        drop_at_fault(server);
        if (step == SMTP_DATA_PIECE && server->state == SMTP_SERVER_CHUNK)
            pass_on(server, piece);
    }
    server->chunk_left -= *used;
    if (!is_too_much(server, *used) && server->chunk_left == 0)
        chunk_done(server);
}

size_t server_take_body(struct smtp_server *server, struct slice in)
{
    size_t used;
    server->since_ms = server->now_ms;
    if (server->state == SMTP_SERVER_DATA || server->state == SMTP_SERVER_DATA_DROP)
        take_data(server, in, &used);
    else
        take_chunk(server, in, &used);
    return used;
}

/* ---- BDAT ---- */

static void start_chunk(struct smtp_server *server, enum smtp_server_state state)
{
    server_set_state(server, state);
    start_clock(server);
    if (server->chunk_left == 0)
        chunk_done(server);
}

/* Where the session stands after a BDAT that was refused before its first octet. What the transaction was, it stays. */
static void refuse_chunk(struct smtp_server *server, const struct smtp_reply *refusal)
{
    server->verdict = refusal;
    server->after_drop = server->state;
    start_chunk(server, SMTP_SERVER_CHUNK_DROP);
}

/* RFC 3030 2: a failed chunk spoils the message; the transaction is over. */
static void refuse_message(struct smtp_server *server, const struct smtp_reply *refusal)
{
    server_end_transaction(server);
    server->verdict = refusal;
    server->after_drop = SMTP_SERVER_READY;
    start_chunk(server, SMTP_SERVER_CHUNK_DROP);
}

void server_bdat(struct smtp_server *server, const struct smtp_command *command, const struct smtp_reply *refusal)
{
    server->chunk_left = server->chunk_octets = command->size_octets;
    server->chunk_is_last = command->is_last;
    if (!refusal && server->state == SMTP_SERVER_HAS_MAIL)
        refusal = &nobody;
    if (refusal)
        refuse_chunk(server, refusal);
    else if (command->size_octets > room(server)) {
        condemn(server);
        refuse_message(server, &too_large);
    } else if (server->state == SMTP_SERVER_BETWEEN)
        start_chunk(server, SMTP_SERVER_CHUNK);
    else {
        smtp_data_start_counted(&server->data, server->config.text_line_max, server->envelope.body == MAIL_BODY_BINARYMIME);
        ask_begin(server, true);
    }
}

/* ---- answers ---- */

static void refuse_begin(struct smtp_server *server, const struct smtp_reply *reply, bool is_bdat)
{
    if (reply->code == 421) {
        server_close(server, reply);
        return;
    }
    if (!is_bdat) {
        server_end_transaction(server);
        server_set_state(server, SMTP_SERVER_READY);
        server_reply(server, reply);
        return;
    }
    /* The octets come first (RFC 3030 2), so the words must wait. */
    server->refusal = (struct smtp_reply){.code = reply->code, .status = reply->status};
    if (server_keep(&server->refusal.text, reply->text) != RESULT_OK)
        server_close(server, &server_no_memory);
    else
        refuse_message(server, &server->refusal);
}

void server_body_begin_answered(struct smtp_server *server, const struct smtp_reply *reply)
{
    bool is_bdat = !server->data.is_dotted;
    if (!smtp_reply_is_positive(reply)) {
        refuse_begin(server, reply, is_bdat);
    } else if (is_bdat) {
        start_chunk(server, SMTP_SERVER_CHUNK);
    } else {
        server_set_state(server, SMTP_SERVER_DATA);
        start_clock(server);
        server_reply(server, &go_on);
    }
}

void server_body_end_answered(struct smtp_server *server, const struct smtp_reply *reply)
{
    if (smtp_reply_is_positive(reply)) {
        server->nerrors = 0;
        server->taken_octets = 0;
    }
    server->has_transaction = false; /* invariant 5: this answer is its end */
    server_end_transaction(server);
    server_set_state(server, SMTP_SERVER_READY);
    server_reply(server, reply);
}
