/* server/checkpoint.h: what a name stands for. The rest needs a session: tests/integration/test_relay_checkpoint.py. */
#include "checkpoint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* What is digested between sender and ENVID: body, SMTPUTF8 and RET unsaid, 100 octets. */
#define ZERO "\0\0\0\0\0\0\0\0"
#define BETWEEN ZERO ZERO ZERO "\0\0\0\0\0\0\0\x64"

/* Each differs from the first in one thing, or moves an octet from one field to the next. */
static const struct {
    struct envelope envelope;
    uint64_t size_octets;
} mails[] = {
    {{.sender = {"a@x.y", 5}, .envid = {"e1", 2}}, 100},
    {{.sender = {"b@x.y", 5}, .envid = {"e1", 2}}, 100},
    {{.sender = {"a@x.ye", 6}, .envid = {"1", 1}}, 100},
    {{.sender = {"a@x.y", 5}, .envid = {"e2", 2}}, 100},
    {{.sender = {"a@x.y", 5}}, 100},
    {{.sender = {"", 0}, .envid = {"e1", 2}}, 100},
    {{.sender = {"a@x.y", 5}, .envid = {"e1", 2}}, 101},
    {{.sender = {"a@x.y", 5}, .envid = {"e1", 2}}, 0},
    {{.sender = {"a@x.y", 5}, .envid = {"e1", 2}}, UINT64_C(100) << 32},
    {{.sender = {"a@x.y", 5}, .envid = {"e1", 2}, .body = MAIL_BODY_8BITMIME}, 100},
    {{.sender = {"a@x.y", 5}, .envid = {"e1", 2}, .body = MAIL_BODY_BINARYMIME}, 100},
    {{.sender = {"a@x.y", 5}, .envid = {"e1", 2}, .is_smtputf8 = true}, 100},
    {{.sender = {"a@x.y", 5}, .envid = {"e1", 2}, .ret = DSN_RET_FULL}, 100},
    {{.sender = {"a@x.y", 5}, .envid = {"e1", 2}, .ret = DSN_RET_HDRS}, 100},
    /* Were there no lengths, these two would be the same octets: what stands between sender and ENVID stands in one or the other. */
    {{.sender = {"a", 1}, .envid = {BETWEEN "b", 33}}, 100},
    {{.sender = {"a" BETWEEN, 33}, .envid = {"b", 1}}, 100},
};

enum { MAILS = sizeof mails / sizeof *mails };

static void no_two_mails_share_a_digest(void **state)
{
    uint8_t digests[MAILS][STORE_DIGEST], again[STORE_DIGEST];
    (void)state;
    for (size_t i = 0; i < MAILS; i++) {
        checkpoint_digest(&mails[i].envelope, mails[i].size_octets, digests[i]);
        checkpoint_digest(&mails[i].envelope, mails[i].size_octets, again);
        assert_memory_equal(digests[i], again, STORE_DIGEST);
        for (size_t j = 0; j < i; j++)
            assert_memory_not_equal(digests[i], digests[j], STORE_DIGEST);
    }
}

static void recipients_are_no_part_of_it(void **state)
{
    struct envelope_recipient recipient = {.address = SLICE("c@x.y")};
    struct envelope envelope = mails[0].envelope;
    uint8_t without[STORE_DIGEST], with[STORE_DIGEST];
    (void)state;
    checkpoint_digest(&envelope, 100, without);
    envelope.recipients = &recipient;
    envelope.nrcpt = 1;
    checkpoint_digest(&envelope, 100, with);
    assert_memory_equal(without, with, STORE_DIGEST);
}

static void no_name_is_no_checkpoint(void **state)
{
    struct checkpoint *none = NULL;
    (void)state;
    assert_false(checkpoint_is_known(none));
    assert_false(checkpoint_is_over(none));
    assert_false(checkpoint_has_recipient(none, SLICE("c@x.y")));
    checkpoint_free(&none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_two_mails_share_a_digest),
        cmocka_unit_test(recipients_are_no_part_of_it),
        cmocka_unit_test(no_name_is_no_checkpoint),
    };
    return cmocka_run_group_tests_name("checkpoint", tests, NULL, NULL);
}
