/* XOUTCOME: what became of messages that the peer has taken (schema/link.md). Several questions in one flight where the peer reads ahead, else one at a time. What an answer says, smtp/outcome.h reads. */
#include "smtp/client_internal.h"

#include <assert.h>

static enum result put_question(struct buffer *lines, const struct smtp_outcome_question *question)
{
    enum result put = buffer_append_cstr(lines, "XOUTCOME ");
    if (put == RESULT_OK)
        put = buffer_append(lines, question->transid);
    if (put == RESULT_OK && question->first > 0)
        put = buffer_printf(lines, " %u", (unsigned)question->first);
    return put == RESULT_OK ? buffer_append_cstr(lines, "\r\n") : put;
}

static void say_questions(struct smtp_client *c)
{
    bool may_pipeline = c->peer.capabilities & SMTP_CAP_PIPELINING;
    while (c->failure == SMTP_FAIL_NONE && buffer_len(&c->questions.lines) > 0 && (may_pipeline || client_awaited(c) == CLIENT_COMMAND_NONE)) {
        struct slice lines = buffer_slice(&c->questions.lines);
        struct slice line = slice_take(lines, (size_t)slice_find(lines, '\n') + 1);
        client_begin_flight(c);
        client_put(c, line);
        buffer_consume(&c->questions.lines, line.len);
        c->questions.asked++;
    }
}

void smtp_client_ask_outcomes(struct smtp_client *c, const struct smtp_outcome_question *questions, size_t n, int64_t now_ms)
{
    c->now_ms = now_ms;
    if (c->failure != SMTP_FAIL_NONE || c->state == CLIENT_FAILED)
        return;
    assert(c->state == CLIENT_READY && n > 0 && n <= SMTP_OUTCOMES_MAX);
    client_set_state(c, CLIENT_OUTCOME);
    buffer_clear(&c->questions.lines);
    c->questions.asked = c->questions.answered = 0;
    for (size_t i = 0; i < n && c->failure == SMTP_FAIL_NONE; i++) {
        assert(client_resume_is_name(questions[i].transid));
        if (put_question(&c->questions.lines, &questions[i]) != RESULT_OK)
            client_fail(c, SMTP_FAIL_MEMORY);
    }
    say_questions(c);
}

enum client_step client_on_outcome(struct smtp_client *c, struct smtp_client_event *event)
{
    if (c->reply.code >= 300 && c->reply.code < 400) {
        client_fail_reply(c, SMTP_FAIL_PROTOCOL);
        return CLIENT_STEP_AGAIN;
    }
    *event = (struct smtp_client_event){.type = SMTP_CLIENT_OUTCOME, .question = c->questions.answered++, .reply = &c->reply, .phase = "XOUTCOME"};
    say_questions(c);
    if (c->failure == SMTP_FAIL_NONE && client_awaited(c) == CLIENT_COMMAND_NONE)
        client_set_state(c, CLIENT_READY);
    return CLIENT_STEP_EVENT;
}
