/* Transactions with a name: how many of them, how large, and how long. */
#include "support/fault_vfs.h"
#include "support/store_names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void halves_are_bounded(void **state)
{
    struct world *w = *state;
    struct store_naming naming = names_naming(names_plain("t1"), 0);
    store_limit_halves(w->store, 2, 0);
    for (int i = 0; i < 4; i++) {
        char transid[8];
        snprintf(transid, sizeof transid, "t%d", i);
        naming.claim = names_plain(transid);
        naming.claim.served_ms = i == 0 ? 5000 : 1000 + i; /* the first was touched last */
        names_leave_half(w, 5 + (uint64_t)i, naming, 5000, true);
    }
    assert_int_equal(world_number(w, "SELECT sum(message) FROM checkpoint WHERE message IN (5, 8)"), 13);
    store_limit_halves(w->store, 9, 80000);
    naming.claim = names_plain("t9");
    naming.claim.served_ms = 2000;
    struct store_intake *big = names_begin(w, 9, naming);
    names_note(big, true);
    names_append(big, 0, 2 * STORE_CHUNK + 1); /* with each of the two there is less room: the longest untouched goes first, the one that grows never */
    names_settle(w);
    assert_int_equal(world_number(w, "SELECT sum(message) FROM checkpoint"), 9);
    assert_int_equal(world_number(w, "SELECT octets FROM checkpoint"), 2 * STORE_CHUNK);
    store_intake_abort(&big);
    names_settle(w);
    assert_int_equal(world_number(w, NAMES_CHUNKS) + world_number(w, NAMES_ROWS), 0);
}

static enum result sweep_names(struct world *w, int64_t served_ms)
{
    struct world_done d = {0};
    store_checkpoint_sweep(w->client, served_ms, world_on_done, &d);
    return world_wait_done(w, &d);
}

static uint64_t octets_left(struct world *w)
{
    return (uint64_t)world_number(w, "SELECT coalesce(sum(octets), 0) FROM checkpoint");
}

/* Of one that alone is too much stays what fits, to the end of a line, and its sender goes on there; of one whose header does not fit, nothing. */
static void a_half_alone_is_bounded_too(void **state)
{
    struct world *w = *state;
    static const struct {
        uint64_t bound, left;
        bool has_lines;
    } ROWS[] = {{80000, 79977, true}, {80000, 80000, false}, {STORE_CHUNK, 65527, true}, {2 * STORE_CHUNK, 2 * STORE_CHUNK, false}, {40, 27, true}, {26, 0, true}};
    for (size_t i = 0; i < sizeof ROWS / sizeof *ROWS; i++) {
        store_limit_halves(w->store, 2, ROWS[i].bound);
        names_leave_half(w, 5 + i, names_naming(names_plain("t1"), 0), NAMES_BODY - 10, ROWS[i].has_lines);
        if (octets_left(w) != ROWS[i].left)
            fail_msg("row %zu: %d octets are left", i, (int)octets_left(w));
        assert_int_equal(world_number(w, "SELECT coalesce(sum(length(octets)), 0) FROM (SELECT octets FROM body UNION ALL SELECT octets FROM chunk)"), ROWS[i].left);
        struct names_claimed c = names_claim(w, names_plain("t1"));
        assert_int_equal(c.result, ROWS[i].left ? RESULT_OK : RESULT_NOT_FOUND);
        if (!ROWS[i].left)
            continue;
        assert_int_equal(c.came_octets, names_came(ROWS[i].left));
        struct names_resumed r = names_resume(w, &c, names_plain("t1"));
        names_append(r.intake, ROWS[i].left, NAMES_BODY);
        assert_int_equal(names_commit(w, r.intake), RESULT_OK);
        names_assert_body(w, 5 + i, NAMES_BODY);
        assert_int_equal(world_remove(w, 5 + i), RESULT_OK);
        assert_int_equal(sweep_names(w, INT64_MAX), RESULT_OK);
    }
    assert_int_equal(world_number(w, NAMES_CHUNKS) + world_number(w, NAMES_ROWS), 0);
}

/* Those that no session gave up, or that were here when the bound was lowered. */
static void halves_too_large_are_cut_by_the_sweep(void **state)
{
    struct world *w = *state;
    names_leave_half(w, 5, names_naming(names_plain("t1"), 0), NAMES_BODY, false);
    names_leave_half(w, 6, names_naming(names_plain("t2"), 0), NAMES_BODY, false);
    names_leave_half(w, 7, names_naming(names_plain("t3"), 0), 300, false);
    struct store_intake *intake = names_begin(w, 8, names_naming(names_plain("t4"), 0));
    names_note(intake, false);
    names_append(intake, 0, 2 * STORE_CHUNK + 1);
    names_settle(w);
    store_limit_halves(w->store, 9, 1000);
    assert_int_equal(sweep_names(w, 0), RESULT_OK);
    assert_int_equal(world_number(w, "SELECT sum(octets) FROM checkpoint WHERE message < 8"), 1000 + 1000 + 300);
    assert_int_equal(world_number(w, "SELECT octets FROM checkpoint WHERE message = 8"), 2 * STORE_CHUNK); /* it is written */
    store_limit_halves(w->store, 9, 0);
    names_append(intake, 2 * STORE_CHUNK + 1, NAMES_BODY);
    assert_int_equal(names_commit(w, intake), RESULT_OK);
    names_assert_body(w, 8, NAMES_BODY);
}

/* Somebody has altered rows: the sweep ends, and takes no message's body. */
static void altered_halves_do_not_hold_up_the_sweep(void **state)
{
    struct world *w = *state;
    names_leave_half(w, 5, names_naming(names_plain("t1"), 0), 5000, false);
    names_leave_half(w, 6, names_naming(names_plain("t2"), 0), 5000, true);
    names_leave_half(w, 7, names_naming(names_plain("t3"), 0), 5000, true);
    assert_int_equal(names_commit(w, names_go_on(w, "t3")), RESULT_OK);
    world_meddle(w, "UPDATE checkpoint SET reply = '', octets = 1 << (10 * message)");
    store_limit_halves(w->store, 9, 100000);
    assert_int_equal(sweep_names(w, 0), RESULT_OK);
    assert_int_equal(world_number(w, "SELECT sum(message) FROM checkpoint"), 7);
    assert_int_equal(world_number(w, NAMES_CHUNKS), 1);
}

struct listed {
    bool is_done;
    size_t n, nreceiving;
};

static void on_listed(void *context, enum result result, const struct store_half_entry *entries, size_t n)
{
    struct listed *listed = context;
    assert_int_equal(result, RESULT_OK);
    for (size_t i = 0; i < n; i++)
        listed->nreceiving += entries[i].is_receiving;
    listed->n = n;
    listed->is_done = true;
}

static struct listed list(struct world *w)
{
    struct listed listed = {0};
    store_half_list(w->client, on_listed, &listed);
    world_wait(w, &listed.is_done);
    return listed;
}

/* By the session that has the name, and not by one that has lost it. */
static enum result drop_half(struct world *w, uint64_t id)
{
    struct world_done d = {0};
    store_half_drop(w->client, id, world_on_done, &d);
    return world_wait_done(w, &d);
}

static void a_half_that_is_written_is_not_removed(void **state)
{
    struct world *w = *state;
    struct store_intake *first = names_begin(w, 5, names_naming(names_plain("t1"), 0));
    names_note(first, true);
    names_append(first, 0, 2 * STORE_CHUNK);
    names_settle(w);
    names_leave_half(w, 6, names_naming(names_plain("t2"), 0), 5000, true);
    assert_int_equal(drop_half(w, 5), RESULT_DENIED);
    struct listed listed = list(w);
    assert_true(listed.n == 2 && listed.nreceiving == 1);
    store_intake_suspend(&first);
    names_settle(w);
    assert_int_equal(list(w).nreceiving, 0);
    first = names_go_on(w, "t1");
    assert_int_equal(drop_half(w, 5), RESULT_DENIED);
    assert_int_equal(names_claim(w, names_plain("t1")).result, RESULT_OK); /* another's from now on, who has not begun */
    assert_int_equal(list(w).nreceiving, 0);
    assert_int_equal(drop_half(w, 5), RESULT_OK);
    assert_int_equal(drop_half(w, 6), RESULT_OK);
    store_intake_suspend(&first);
    names_settle(w);
    assert_int_equal(world_number(w, NAMES_CHUNKS) + world_number(w, NAMES_ROWS), 0);
}

static void names_are_forgotten_in_time(void **state)
{
    struct world *w = *state;
    struct world_done d[2] = {{0}};
    for (int i = 0; i < 250; i++) {
        char transid[8];
        snprintf(transid, sizeof transid, "t%d", i);
        names_put_small(w, 100 + (uint64_t)i, names_plain(transid));
    }
    names_leave_half(w, 5, names_naming(names_plain("h"), 0), 70000, true);
    struct store_claim later = names_plain("t7");
    later.served_ms = 2000;
    assert_int_equal(names_claim(w, later).result, RESULT_OK); /* touched */
    assert_int_equal(world_finish(w, 107, 0, STORE_DELIVERED, "250 ok", false), RESULT_OK);
    assert_int_equal(world_finish(w, 107, 1, STORE_DELIVERED, "250 ok", false), RESULT_OK);
    store_sweep(w->client, INT64_MAX, world_on_done, &d[0]);
    assert_int_equal(world_wait_done(w, &d[0]), RESULT_OK);
    assert_string_equal(world_state(w, 107), "delivered"); /* its name is known */
    assert_int_equal(sweep_names(w, 1000), RESULT_OK);
    assert_int_equal(world_number(w, "SELECT count(*) FROM checkpoint"), 251);
    assert_int_equal(sweep_names(w, 1001), RESULT_OK);
    assert_int_equal(world_number(w, "SELECT message FROM checkpoint"), 107);
    assert_int_equal(world_number(w, "SELECT count(*) FROM chunk"), 0);
    assert_int_equal(sweep_names(w, 2001), RESULT_OK);
    store_sweep(w->client, INT64_MAX, world_on_done, &d[1]);
    assert_int_equal(world_wait_done(w, &d[1]), RESULT_OK);
    assert_string_equal(world_state(w, 107), "none");
    assert_int_equal(names_claim(w, later).result, RESULT_NOT_FOUND);
}

static int64_t now_ms(const void *served)
{
    return *(const int64_t *)served;
}

/* However long it took to come: what is promised counts from the 250 on. */
static void a_name_is_known_for_its_time_from_its_commit_on(void **state)
{
    struct world *w = *state;
    int64_t served = 1000;
    for (int is_half = 0; is_half < 2; is_half++) {
        struct store_naming naming = names_naming(names_plain(is_half ? "h" : "s"), 0);
        naming.served_now_ms = now_ms;
        naming.served = &served;
        struct store_intake *intake = names_begin(w, 5 + (uint64_t)is_half, naming);
        names_append(intake, 0, is_half ? STORE_CHUNK + 1 : 100);
        served += 4000;
        assert_int_equal(names_commit(w, intake), RESULT_OK);
        assert_int_equal(sweep_names(w, served), RESULT_OK);
        assert_int_equal(world_number(w, "SELECT count(*) FROM checkpoint"), 1);
        assert_int_equal(sweep_names(w, served + 1), RESULT_OK);
        assert_int_equal(world_number(w, "SELECT count(*) FROM checkpoint"), 0);
    }
}

/* One that grows is no longer the one untouched for longest. */
static void a_chunk_touches_its_name(void **state)
{
    struct world *w = *state;
    int64_t served = 1000;
    struct store_naming naming = names_naming(names_plain("t1"), 0);
    naming.served_now_ms = now_ms;
    naming.served = &served;
    struct store_intake *old = names_begin(w, 5, naming);
    names_note(old, true);
    names_append(old, 0, STORE_CHUNK + 1);
    served = 2000;
    naming.claim = names_plain("t2");
    names_leave_half(w, 6, naming, 5000, true);
    served = 3000;
    store_intake_suspend(&old);
    served = 4000;
    naming.claim = names_plain("t3");
    store_limit_halves(w->store, 2, 0);
    names_leave_half(w, 7, naming, 5000, true);
    assert_int_equal(world_number(w, "SELECT sum(message) FROM checkpoint"), 5 + 7);
}

static void on_line(void *context, enum log_level level, struct slice line)
{
    (void)level;
    for (; line.len > 0; line = slice_skip(line, 1))
        *(int *)context += slice_starts_with(line, SLICE("half-body-dropped")); /* writer's thread, which is at rest when it is read */
}

/* Not by devices that come and go either: what they leave is the account's, and so is the sum. */
static void an_account_has_so_many_halves(void **state)
{
    struct world *w = *state;
    int64_t at = 1000;
    names_add_account(w, "bob");
    store_limit_halves(w->store, 2, 0);
    for (uint64_t i = 0; i < 12; i++) {
        char id[8], transid[8];
        snprintf(id, sizeof id, "d%d", (int)i);
        names_add_device(w, id, i < 6 ? 99 : 1); /* from the seventh on another makes room */
        for (uint64_t j = 0; j < 2; j++) {
            snprintf(transid, sizeof transid, "t%d.%d", (int)i, (int)j);
            struct store_claim claim = names_claim_by(id, "x", transid);
            claim.served_ms = ++at;
            names_leave_half(w, 10 + 2 * i + j, names_naming(claim, 0), 5000, true);
        }
        assert_true(world_number(w, "SELECT count(*) FROM checkpoint") <= 2 * STORE_HALVES_DEVICES);
        if (i == 5)
            assert_int_equal(world_number(w, "SELECT min(message) FROM checkpoint"), 14); /* the longest untouched went */
    }
    assert_int_equal(world_number(w, "SELECT max(message) FROM checkpoint"), 33);
    /* two that go leave no more than one may have, at once, and the newest */
    names_remove_device(w, "d10");
    names_remove_device(w, "d11");
    assert_int_equal(world_number(w, "SELECT count(*) FROM checkpoint WHERE device = ''"), 2);
    assert_int_equal(world_number(w, "SELECT sum(message) FROM checkpoint WHERE device = ''"), 32 + 33);
    assert_int_equal(world_number(w, "SELECT count(*) - (SELECT count(*) FROM body) - (SELECT count(*) FROM chunk) FROM checkpoint"), 0);
}

/* Told when it is so: a drop that was rolled back did not happen. */
static void a_drop_is_told_once_and_when_it_is_committed(void **state)
{
    struct world *w = *state;
    int nlines = 0;
    struct store_naming naming = names_naming(names_plain("t1"), 0);
    world_close(w);
    fault_vfs_register();
    w->config.vfs = "fault";
    w->log = (struct log){.level = LOG_INFO, .sink = on_line, .context = &nlines};
    assert_int_equal(world_open(w), RESULT_OK);
    store_limit_halves(w->store, 1, 0);
    names_leave_half(w, 5, naming, 5000, true);
    for (int fails = 1; fails >= 0; fails--) {
        naming.claim = names_plain(fails ? "t2" : "t3");
        struct store_intake *intake = names_begin(w, 7 - (uint64_t)fails, naming);
        names_note(intake, true);
        names_append(intake, 0, STORE_CHUNK);
        if (fails)
            fault_vfs_arm(FAULT_SYNC, 1, true);
        names_append(intake, STORE_CHUNK, STORE_CHUNK + 1);
        assert_int_equal(names_commit(w, intake), fails ? RESULT_IO : RESULT_OK);
        fault_vfs_disarm();
        assert_int_equal(nlines, !fails);
        assert_int_equal(world_number(w, "SELECT count(*) FROM checkpoint WHERE message = 5"), fails);
    }
    world_close(w); /* what the failed body has left to say comes before `nlines` goes */
    w->log = (struct log){0};
    assert_int_equal(world_open(w), RESULT_OK);
}

/* Its chunks that were committed before are fine: the sender goes on behind them. */
static void a_commit_that_the_disk_fails_leaves_the_half(void **state)
{
    struct world *w = *state;
    const size_t end = NAMES_HEADER + NAMES_ADDED + (STORE_CHUNK - NAMES_HEADER - NAMES_ADDED) / 50 * 50;
    world_close(w);
    fault_vfs_register();
    w->config.vfs = "fault";
    assert_int_equal(world_open(w), RESULT_OK);
    struct store_intake *intake = names_begin(w, 5, names_naming(names_plain("t1"), 0));
    names_note(intake, true);
    names_append(intake, 0, STORE_CHUNK + 1000);
    names_settle(w);
    fault_vfs_arm(FAULT_SYNC, 1, true);
    assert_int_equal(names_commit(w, intake), RESULT_IO);
    fault_vfs_disarm();
    names_settle(w);
    struct names_claimed c = names_claim(w, names_plain("t1"));
    assert_int_equal(c.result, RESULT_OK);
    assert_int_equal(c.came_octets, names_came(end));
    intake = names_go_on(w, "t1");
    names_append(intake, end, NAMES_BODY);
    assert_int_equal(names_commit(w, intake), RESULT_OK);
    names_assert_body(w, 5, NAMES_BODY);
}

/* Two devices, one name: while both were there each had its own. One has ended, and is removed: what it began is everybody's, and the other's half comes too late. */
static void a_half_ends_behind_what_a_removed_device_has_ended(void **state)
{
    struct world *w = *state;
    names_add_account(w, "bob");
    names_add_device(w, "d1", 9);
    names_add_device(w, "d2", 9);
    struct store_intake *half = names_begin(w, 5, names_naming(names_claim_by("d1", "laptop", "t1"), 0));
    names_note(half, true);
    names_append(half, 0, 3 * STORE_CHUNK);
    names_settle(w);
    struct store_intake *other = names_begin(w, 6, names_naming(names_claim_by("d2", "laptop", "t1"), 0));
    names_note(other, true);
    names_append(other, 0, 1000);
    assert_int_equal(names_commit(w, other), RESULT_OK);
    names_remove_device(w, "d2");
    assert_int_equal(names_commit(w, half), RESULT_EXISTS);
    names_settle(w);
    assert_int_equal(world_number(w, "SELECT count(*) FROM message"), 1);
    assert_int_equal(world_number(w, "SELECT min(id) FROM message"), 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(halves_are_bounded, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_half_alone_is_bounded_too, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(halves_too_large_are_cut_by_the_sweep, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(altered_halves_do_not_hold_up_the_sweep, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_half_that_is_written_is_not_removed, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(names_are_forgotten_in_time, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_name_is_known_for_its_time_from_its_commit_on, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_chunk_touches_its_name, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(an_account_has_so_many_halves, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_drop_is_told_once_and_when_it_is_committed, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_commit_that_the_disk_fails_leaves_the_half, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_half_ends_behind_what_a_removed_device_has_ended, world_setup, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
