/* A challenge of the test's in place of net's: who was asked what, and an answer when the test says so. */
#ifndef POSTERN_TESTS_UNIT_AGENT_CHALLENGE_SCENE_H
#define POSTERN_TESTS_UNIT_AGENT_CHALLENGE_SCENE_H

#include "net/challenge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static struct {
    struct challenge_ask ask;
    unsigned nasked;
    bool is_open;
} challenge;

enum result challenge_start(struct challenge **out, uv_loop_t *loop, const struct challenge_ask *ask)
{
    (void)loop;
    challenge.ask = *ask;
    challenge.nasked++;
    challenge.is_open = true;
    *out = (struct challenge *)&challenge;
    return RESULT_OK;
}

void challenge_cancel(struct challenge **at)
{
    if (*at)
        challenge.is_open = false;
    *at = NULL;
}

static void answer_challenge(enum challenge_result result)
{
    assert_true(challenge.is_open);
    challenge.is_open = false;
    challenge.ask.on_end(challenge.ask.context, result, "as the test says");
}

#endif
