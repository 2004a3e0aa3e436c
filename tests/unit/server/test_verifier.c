/* server/verifier.h and server/mailbox.h: passwords checked in threads of their own, answers on the asker's loop. */
#include "verifier.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct desk {
    uv_loop_t loop;
    struct mailbox *mailbox;
    struct sentry *sentry;
    struct verifier *verifier;
    char hash[CRYPTO_PASSWORD_HASH_MAX];
    uv_thread_t opener; /* the thread that the loop runs in */
    int right, wrong, busy, cancelled;
};

/* As cheap as Argon2 allows: the queue is what is tested. */
static const struct crypto_password_cost cheap = {.passes = 1, .memory_kib = 64};

static void desk_open(struct desk *desk, uint32_t threads, uint32_t queue_max)
{
    *desk = (struct desk){.opener = uv_thread_self()};
    assert_int_equal(uv_loop_init(&desk->loop), 0);
    assert_int_equal(mailbox_open(&desk->mailbox, &desk->loop), RESULT_OK);
    assert_int_equal(sentry_new(&desk->sentry, &(struct sentry_limits){0}), RESULT_OK);
    assert_int_equal(verifier_start(&desk->verifier, desk->sentry, threads, queue_max), RESULT_OK);
    assert_int_equal(crypto_password_hash(SLICE("right"), cheap, desk->hash), RESULT_OK);
}

static void desk_close(struct desk *desk)
{
    verifier_stop(&desk->verifier);
    mailbox_close(&desk->mailbox);
    sentry_free(&desk->sentry);
    uv_run(&desk->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&desk->loop), 0);
}

static void on_answer(struct letter *letter)
{
    struct verifier_job *job = LIST_OWNER(letter, struct verifier_job, letter);
    struct desk *desk = job->owner;
    uv_thread_t self = uv_thread_self();
    assert_true(uv_thread_equal(&self, &desk->opener));
    desk->right += job->result == RESULT_OK;
    desk->wrong += job->result == RESULT_DENIED;
    desk->busy += job->result == RESULT_BUSY;
    desk->cancelled += job->result == RESULT_CANCELLED;
    verifier_job_free(&job);
}

static enum result submit_from(struct desk *desk, uint8_t address, const char *password, bool is_known)
{
    struct verifier_job *job = verifier_job_new(SLICE("anna"), slice_from_cstr(desk->hash), slice_from_cstr(password), is_known);
    assert_non_null(job);
    job->letter.open = on_answer;
    job->home = desk->mailbox;
    job->owner = desk;
    job->place = (struct sentry_place){.standing = SENTRY_STRANGER, .line = {address}};
    enum result result = verifier_submit(desk->verifier, job);
    if (result != RESULT_OK)
        verifier_job_free(&job);
    return result;
}

static enum result submit(struct desk *desk, const char *password)
{
    return submit_from(desk, 1, password, true);
}

static void test_verdicts(void **state)
{
    (void)state;
    struct desk desk;
    desk_open(&desk, 2, 32);
    for (int i = 0; i < 20; i++)
        assert_int_equal(submit(&desk, i % 2 ? "right" : "wrong"), RESULT_OK);
    while (desk.right + desk.wrong < 20)
        uv_run(&desk.loop, UV_RUN_ONCE);
    assert_int_equal(desk.right, 10);
    assert_int_equal(desk.wrong, 10);
    desk_close(&desk);
}

/* Places in the queue are bounded, and what waits at the end is told so: nobody is forgotten. */
static void test_queue_is_bounded(void **state)
{
    (void)state;
    struct desk desk;
    int taken = 0;
    desk_open(&desk, 1, 4);
    /* a dear hash keeps the one thread busy */
    assert_int_equal(crypto_password_hash(SLICE("right"), (struct crypto_password_cost){.passes = 3, .memory_kib = 32 * 1024}, desk.hash), RESULT_OK);
    while (submit(&desk, "wrong") == RESULT_OK)
        taken++;
    assert_in_range(taken, 4, 6); /* four wait, one is being worked at, and one may have been done in between */
    verifier_stop(&desk.verifier);
    assert_null(desk.verifier);
    while (desk.right + desk.wrong + desk.cancelled < taken)
        uv_run(&desk.loop, UV_RUN_ONCE);
    assert_in_range(desk.cancelled, 3, 4);
    desk_close(&desk);
}

/* A flood from one address fills the queue; who comes from another gets a place all the same, and one of the flood hears that it lost its own. */
static void test_a_flood_makes_room(void **state)
{
    (void)state;
    struct desk desk;
    int taken = 0;
    desk_open(&desk, 1, 4);
    char quick[CRYPTO_PASSWORD_HASH_MAX];
    memcpy(quick, desk.hash, sizeof quick);
    assert_int_equal(crypto_password_hash(SLICE("right"), (struct crypto_password_cost){.passes = 3, .memory_kib = 32 * 1024}, desk.hash), RESULT_OK);
    while (submit(&desk, "wrong") == RESULT_OK)
        taken++;
    memcpy(desk.hash, quick, sizeof quick);
    assert_int_equal(submit_from(&desk, 2, "right", true), RESULT_OK);
    while (desk.right < 1)
        uv_run(&desk.loop, UV_RUN_ONCE);
    while (desk.wrong + desk.busy < taken)
        uv_run(&desk.loop, UV_RUN_ONCE);
    assert_in_range(desk.busy, 0, 1); /* none if a place had become free meanwhile */
    assert_int_equal(desk.right, 1);
    desk_close(&desk);
}

/* The right password of nobody is a wrong one, and is not remembered as right. */
static void test_nobody_is_never_right(void **state)
{
    (void)state;
    struct desk desk;
    desk_open(&desk, 1, 8);
    for (int i = 1; i <= 2; i++) {
        assert_int_equal(submit_from(&desk, 1, "right", false), RESULT_OK);
        while (desk.right + desk.wrong < i)
            uv_run(&desk.loop, UV_RUN_ONCE);
    }
    assert_int_equal(desk.wrong, 2);
    assert_false(sentry_knows(desk.sentry, SLICE("anna"), SLICE("right"), slice_from_cstr(desk.hash), 0));
    desk_close(&desk);
}

/* What was right is remembered, so the second of two that wait costs no hash: it is right even though its hash can't be computed any more. */
static void test_right_is_remembered(void **state)
{
    (void)state;
    struct desk desk;
    desk_open(&desk, 1, 8);
    snprintf(desk.hash, sizeof desk.hash, "$argon2id$v=19$m=1,t=1,p=1$broken");
    sentry_remember(desk.sentry, SLICE("anna"), SLICE("right"), slice_from_cstr(desk.hash), (int64_t)(uv_hrtime() / 1000000));
    assert_int_equal(submit(&desk, "right"), RESULT_OK);
    while (desk.right + desk.wrong < 1)
        uv_run(&desk.loop, UV_RUN_ONCE);
    assert_int_equal(desk.right, 1);
    desk_close(&desk);
}

static void test_too_long(void **state)
{
    (void)state;
    static char octets[CRYPTO_PASSWORD_MAX + 1];
    memset(octets, 'x', sizeof octets);
    assert_null(verifier_job_new(SLICE("anna"), SLICE("hash"), slice_of(octets, sizeof octets), true));
    assert_null(verifier_job_new(SLICE("anna"), slice_of(octets, CRYPTO_PASSWORD_HASH_MAX), SLICE("p"), true));
    assert_null(verifier_job_new(slice_of(octets, VERIFIER_USER_MAX + 1), SLICE("hash"), SLICE("p"), true));
    struct verifier_job *job = verifier_job_new(SLICE("anna"), SLICE("hash"), slice_of(octets, CRYPTO_PASSWORD_MAX), true);
    assert_non_null(job);
    verifier_job_free(&job);
    assert_null(job);
}

struct note {
    struct letter letter;
    struct desk *desk;
    int number;
};

static void on_note(struct letter *letter)
{
    struct note *note = LIST_OWNER(letter, struct note, letter);
    assert_int_equal(note->number, note->desk->right++);
}

/* Letters are opened in their order, those that wait when the mailbox is closed too. */
static void test_letters_keep_their_order(void **state)
{
    (void)state;
    struct desk desk;
    struct note notes[100];
    desk_open(&desk, 1, 1);
    for (int i = 0; i < 100; i++) {
        notes[i] = (struct note){.letter.open = on_note, .desk = &desk, .number = i};
        mailbox_post(desk.mailbox, &notes[i].letter);
        if (i == 50)
            uv_run(&desk.loop, UV_RUN_NOWAIT);
    }
    desk_close(&desk);
    assert_int_equal(desk.right, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_queue_is_bounded),
        cmocka_unit_test(test_a_flood_makes_room),
        cmocka_unit_test(test_nobody_is_never_right),
        cmocka_unit_test(test_right_is_remembered),
        cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_letters_keep_their_order),
    };
    if (crypto_init() != RESULT_OK)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
