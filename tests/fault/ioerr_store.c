/* A disk that fails at the n-th operation, once or for good, while the program lives on. Every request gets an answer; what was refused is not there,
 * what was acknowledged is; and when the disk is well again, so is the store, without a restart. POSTERN_SEEDS: how many n of each kind (default 6).
 */
#include "support/fault_vfs.h"
#include "support/store_model.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct kind {
    enum fault_kind kind;
    const char *name;
};

static const struct kind KINDS[] = {{FAULT_IO, "EIO"}, {FAULT_FULL, "full"}, {FAULT_SHORT, "short write"}, {FAULT_SYNC, "sync"}};

static void must(const char *problem, const struct kind *kind, uint64_t n, bool for_ever)
{
    if (problem)
        fail_msg("%s at %llu%s: %s", kind->name, (unsigned long long)n, for_ever ? " for ever" : "", problem);
}

/* How many operations of this kind a whole life has. */
static uint64_t count_operations(struct model *m, const struct kind *kind)
{
    struct world w;
    world_make(&w);
    w.config.vfs = "fault";
    w.config.log_kib = 256;
    fault_vfs_arm(kind->kind, 0, false);
    assert_int_equal(world_open(&w), RESULT_OK);
    *m = (struct model){.seed = 1};
    model_run(&w, m, 30, 5);
    uint64_t count = fault_vfs_count();
    world_end(&w);
    fault_vfs_disarm();
    return count;
}

/* True: the store could be opened. */
static bool live(struct world *w, struct model *m, const struct kind *kind, uint64_t n, bool for_ever)
{
    *m = (struct model){.seed = 1};
    fault_vfs_arm(kind->kind, n, for_ever);
    enum result opened = world_open(w);
    if (opened != RESULT_OK) {
        assert_true(fault_vfs_has_fired());
        assert_true(w->why[0] != '\0');
        world_close(w);
        fault_vfs_disarm();
        return false;
    }
    model_run(w, m, 30, 5);
    assert_true(m->nfailed == 0 || fault_vfs_has_fired());
    fault_vfs_disarm();
    return true;
}

static void fail_at(struct model *m, const struct kind *kind, uint64_t n, bool for_ever)
{
    struct world w;
    world_make(&w);
    if (n % 2)
        world_seal(&w, 1);
    w.config.vfs = "fault";
    w.config.log_kib = 256;
    if (live(&w, m, kind, n, for_ever)) {
        uint32_t nfailed = m->nfailed;
        must(model_check(&w, m, true), kind, n, for_ever);
        model_run(&w, m, 10, 5);
        must(m->nfailed == nfailed ? NULL : "the disk is well and the store is not", kind, n, for_ever);
        must(model_check(&w, m, true), kind, n, for_ever);
        world_close(&w);
        if (!for_ever) /* nothing stopped the cleaning up after what failed */
            must(model_check_rows(&w), kind, n, for_ever);
    }
    must(world_open(&w) == RESULT_OK ? NULL : w.why, kind, n, for_ever);
    must(model_check(&w, m, true), kind, n, for_ever);
    world_close(&w);
    must(model_check_rows(&w), kind, n, for_ever);
    world_end(&w);
}

static void a_failing_disk_loses_nothing_and_is_got_over(void **state)
{
    (void)state;
    static struct model m;
    const char *text = getenv("POSTERN_SEEDS");
    uint64_t wanted = 6;
    assert_true(!text || slice_to_u64(slice_from_cstr(text), UINT64_MAX, &wanted));
    fault_vfs_register();
    for (size_t k = 0; k < sizeof KINDS / sizeof *KINDS; k++) {
        uint64_t count = count_operations(&m, &KINDS[k]), step = count / wanted + 1;
        assert_true(count > 20);
        for (uint64_t n = 1; n <= count; n += step) {
            fail_at(&m, &KINDS[k], n, false);
            fail_at(&m, &KINDS[k], n + step / 2, true);
        }
    }
}

/* The loop has not heard yet that the first chunks failed when it sends the rest and the commit: the writer knows. */
static void the_end_of_a_body_shares_the_fate_of_its_beginning(void **state)
{
    (void)state;
    static char octets[200000];
    struct world w;
    struct world_done d = {0};
    fault_vfs_register();
    world_make(&w);
    w.config.vfs = "fault";
    assert_int_equal(world_open(&w), RESULT_OK);
    struct store_intake *intake = store_intake_new(w.client, 5, NULL, NULL);
    fault_vfs_arm(FAULT_FULL, 1, false);
    assert_int_equal(store_intake_append(intake, slice_of(octets, sizeof octets)), RESULT_OK);
    while (!fault_vfs_has_fired())
        sched_yield();
    struct store_message message = {.id = 5};
    store_intake_commit(&intake, &message, NULL, 0, world_on_done, &d);
    assert_int_equal(world_wait_done(&w, &d), RESULT_FULL);
    assert_string_equal(world_state(&w, 5), "none");
    fault_vfs_disarm();
    world_end(&w);
}

/* True: new mail and outcome shared the batch that failed. */
static bool fill_disk_once(struct world *w, uint64_t id)
{
    struct world_done put = {0}, finished = {0};
    struct envelope_recipient to = {.address = SLICE("bob@example.org")};
    struct store_message message = {.envelope = {.recipients = &to, .nrcpt = 1}};
    struct store_outcome outcome = {.state = STORE_DELIVERED};
    assert_int_equal(world_put(w, id, SLICE("x"), 1, 0), RESULT_OK);
    struct store_intake *intake = store_intake_new(w->client, id + 1, NULL, NULL);
    fault_vfs_arm(FAULT_FULL, 1, false);
    store_attempt_finish(w->client, id, &outcome, 1, 9, NULL, false, world_on_done, &finished); /* lingers until the next comes along */
    store_intake_commit(&intake, &message, NULL, 0, world_on_done, &put);
    enum result result = world_wait_done(w, &put);
    assert_int_equal(world_wait_done(w, &finished), RESULT_OK);
    assert_true(fault_vfs_has_fired());
    fault_vfs_disarm();
    assert_string_equal(world_state(w, id), "delivered");
    assert_string_equal(world_state(w, id + 1), result == RESULT_OK ? "queued" : "none");
    return result == RESULT_FULL;
}

/* SQLITE_FULL is a write that failed, before any fsync: what is not new mail is written without it. */
static void a_full_disk_refuses_new_mail_and_still_records_outcomes(void **state)
{
    (void)state;
    struct world w;
    fault_vfs_register();
    world_make(&w);
    w.config.vfs = "fault";
    assert_int_equal(world_open(&w), RESULT_OK);
    uint64_t id = 1;
    for (int i = 0; i < 100 && !fill_disk_once(&w, id); i++)
        id += 2;
    assert_string_equal(world_state(&w, id + 1), "none");
    assert_int_equal(world_put(&w, id + 1, SLICE("x"), 1, 0), RESULT_OK);
    world_end(&w);
}

/* ---- devices ---- */

struct asked {
    bool is_done;
    enum result result;
    uint8_t key; /* first octet of the account's SCRAM key: its password */
};

static void on_added(void *context, enum result result, struct slice gone)
{
    (void)gone;
    *(struct asked *)context = (struct asked){true, result, 0};
}

static void on_device(void *context, enum result result, const struct store_device *device, const struct store_account *account)
{
    (void)device;
    *(struct asked *)context = (struct asked){true, result, account ? account->scram.stored_key[0] : 0};
}

static void on_account(void *context, enum result result, const struct store_account *account)
{
    *(struct asked *)context = (struct asked){true, result, account ? account->scram.stored_key[0] : 0};
}

static enum result put_bob(struct world *w, bool is_new, uint8_t key)
{
    struct world_done d = {0};
    struct store_account bob = {.name = SLICE("bob"), .password_hash = SLICE("$x")};
    bob.scram = (struct scram_verifier){.salt = {1}, .salt_len = 1, .iterations = 4096, .stored_key = {key}};
    store_account_put(w->client, &bob, is_new, world_on_done, &d);
    return world_wait_done(w, &d);
}

static enum result add_device(struct world *w, const char *id)
{
    struct asked asked = {0};
    store_device_add(w->client, &(struct store_device){.id = slice_from_cstr(id), .account = SLICE("bob"), .label = SLICE("laptop")}, 0, 1, on_added, &asked);
    world_wait(w, &asked.is_done);
    return asked.result;
}

static bool has_device(struct world *w, const char *id)
{
    struct asked asked = {0};
    store_device_get(w->client, slice_from_cstr(id), on_device, &asked);
    world_wait(w, &asked.is_done);
    assert_true(asked.result == RESULT_OK || asked.result == RESULT_NOT_FOUND);
    return asked.result == RESULT_OK;
}

static uint8_t key_of_bob(struct world *w)
{
    struct asked asked = {0};
    store_account_get(w->client, SLICE("bob"), on_account, &asked);
    world_wait(w, &asked.is_done);
    assert_int_equal(asked.result, RESULT_OK);
    return asked.key;
}

/* True: the disk failed in it. A second device takes the first one's place, then a new password takes all: each whole, or not at all. */
static bool change_devices(const struct kind *kind, uint64_t n)
{
    struct world w;
    world_make(&w);
    w.config.vfs = "fault";
    assert_int_equal(world_open(&w), RESULT_OK);
    assert_int_equal(put_bob(&w, true, 1), RESULT_OK);
    assert_int_equal(add_device(&w, "one"), RESULT_OK);
    fault_vfs_arm(kind->kind, n, false);
    bool is_added = add_device(&w, "two") == RESULT_OK, is_changed = put_bob(&w, false, 2) == RESULT_OK;
    bool has_fired = fault_vfs_has_fired();
    fault_vfs_disarm();
    assert_true(has_fired || (is_added && is_changed));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(key_of_bob(&w), is_changed ? 2 : 1);
        assert_int_equal(has_device(&w, "one"), !is_changed && !is_added);
        assert_int_equal(has_device(&w, "two"), !is_changed && is_added);
        world_close(&w);
        assert_int_equal(world_open(&w), RESULT_OK);
    }
    world_end(&w);
    return has_fired;
}

static void devices_come_and_go_whole(void **state)
{
    (void)state;
    fault_vfs_register();
    for (size_t k = 0; k < sizeof KINDS / sizeof *KINDS; k++) {
        uint64_t n = 1;
        while (change_devices(&KINDS[k], n))
            n++;
        assert_true(n > 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(devices_come_and_go_whole),
        cmocka_unit_test(the_end_of_a_body_shares_the_fate_of_its_beginning),
        cmocka_unit_test(a_full_disk_refuses_new_mail_and_still_records_outcomes),
        cmocka_unit_test(a_failing_disk_loses_nothing_and_is_got_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
