/* Transactions with a name: whose they are, and what became of them. */
#include "support/store_names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct told {
    bool is_done;
    enum result result;
    size_t n;
    uint32_t total, first;
    enum store_state state;
};

static void on_told(void *context, enum result result, const struct store_recipient *recipients, size_t n, uint32_t total)
{
    *(struct told *)context = (struct told){true, result, n, total, n ? recipients[0].seq : 99, n ? recipients[0].state : STORE_QUEUED};
}

static struct told ask_by(struct world *w, struct store_claim by, uint32_t first, uint32_t most)
{
    struct told told = {0};
    memset(by.digest, 0, sizeof by.digest);
    store_checkpoint_outcome(w->client, &by, first, most, on_told, &told);
    world_wait(w, &told.is_done);
    return told;
}

static struct told ask(struct world *w, const char *transid, uint32_t first, uint32_t most)
{
    return ask_by(w, names_plain(transid), first, most);
}

/* ---- who it is ---- */

static void who_sees_what(void **state)
{
    struct world *w = *state;
    static const struct {
        const char *device, *helo;
        bool is_by_password;
        const char *begun_device, *begun_helo;
        bool sees;
    } ROWS[] = {
        {"one", "x", false, "one", "x", true},  {"one", "y", false, "one", "x", true},  {"two", "x", false, "one", "x", false},
        {"", "x", false, "one", "x", false},    {"", "x", true, "one", "x", true},      {"", "y", true, "one", "x", true},
        {"one", "x", false, "", "x", true},     {"one", "y", false, "", "x", false},    {"", "x", false, "", "x", true},
        {"", "y", false, "", "x", false},       {"", "y", true, "", "x", true},
    };
    names_add_account(w, "bob");
    names_add_device(w, "one", 9);
    names_add_device(w, "two", 9);
    for (size_t i = 0; i < sizeof ROWS / sizeof *ROWS; i++) {
        char transid[8];
        snprintf(transid, sizeof transid, "t%zu", i);
        names_leave_half(w, 40 + i, names_naming(names_claim_by(ROWS[i].begun_device, ROWS[i].begun_helo, transid), 0), 5000, true);
        struct store_claim by = names_claim_by(ROWS[i].device, ROWS[i].helo, transid);
        by.is_by_password = ROWS[i].is_by_password;
        if (names_claim(w, by).result != (ROWS[i].sees ? RESULT_OK : RESULT_NOT_FOUND))
            fail_msg("row %zu", i);
        by.account = SLICE("eve");
        by.is_by_password = true;
        assert_int_equal(names_claim(w, by).result, RESULT_NOT_FOUND);
    }
    /* Unseen by the one, the name is free for the other. */
    names_leave_half(w, 60, names_naming(names_claim_by("two", "x", "t0"), 0), 3000, true);
    assert_int_equal(names_claim(w, names_claim_by("two", "x", "t0")).message, 60);
    assert_int_equal(names_claim(w, names_claim_by("one", "x", "t0")).message, 40);
}

static void enrol(struct world *w, const char *id, int64_t served_ms)
{
    names_enrol_device(w, id, 9, served_ms);
}

static struct store_claim claim_at(const char *device, const char *helo, const char *transid, int64_t served_ms)
{
    struct store_claim claim = names_claim_by(device, helo, transid);
    claim.served_ms = served_ms;
    return claim;
}

/* One that enrols again while its former device is still known, finds its own: the password saw it. */
static void a_device_sees_what_was_begun_before_it_was_enrolled(void **state)
{
    struct world *w = *state;
    struct told told;
    names_add_account(w, "bob");
    enrol(w, "old", 0);
    enrol(w, "one", 1000);
    enrol(w, "two", 3000);
    names_put_small(w, 5, claim_at("one", "x", "t1", 2000));
    names_leave_half(w, 6, names_naming(claim_at("one", "x", "t2", 2999), 0), 5000, true);
    names_leave_half(w, 7, names_naming(claim_at("", "x", "t3", 2000), 0), 5000, true);
    names_leave_half(w, 8, names_naming(claim_at("one", "x", "t4", 3000), 0), 5000, true);
    names_leave_half(w, 9, names_naming(claim_at("two", "y", "t5", 3001), 0), 5000, true);
    assert_int_equal(names_claim(w, claim_at("two", "y", "t1", 9000)).message, 5);
    assert_int_equal(names_claim(w, claim_at("two", "y", "t2", 9000)).message, 6);
    assert_int_equal(names_claim(w, claim_at("two", "y", "t3", 9000)).message, 7);
    assert_int_equal(names_claim(w, claim_at("two", "y", "t4", 9000)).result, RESULT_NOT_FOUND);
    told = ask_by(w, claim_at("two", "y", "t1", 9000), 0, 9);
    assert_int_equal(told.result, RESULT_OK);
    assert_int_equal(told.total, 2);
    assert_int_equal(ask_by(w, claim_at("old", "y", "t1", 9000), 0, 9).result, RESULT_NOT_FOUND);
    /* nothing the other way, not of another account, and nothing without a device that is there */
    assert_int_equal(names_claim(w, claim_at("one", "y", "t5", 9000)).result, RESULT_NOT_FOUND);
    assert_int_equal(names_claim(w, claim_at("old", "y", "t2", 9000)).result, RESULT_NOT_FOUND);
    assert_int_equal(names_claim(w, claim_at("gone", "y", "t2", 9000)).result, RESULT_NOT_FOUND);
    assert_int_equal(names_claim(w, claim_at("", "y", "t2", 9000)).result, RESULT_NOT_FOUND);
    struct store_claim eve = claim_at("two", "y", "t2", 9000);
    eve.account = SLICE("eve");
    assert_int_equal(names_claim(w, eve).result, RESULT_NOT_FOUND);
    /* and does not make a second of it */
    struct store_intake *twice = names_begin(w, 10, names_naming(claim_at("two", "y", "t1", 9000), 0));
    names_append(twice, 0, 100);
    assert_int_equal(names_commit(w, twice), RESULT_EXISTS);
}

static void what_a_removed_device_began_is_found(void **state)
{
    struct world *w = *state;
    names_add_account(w, "bob");
    names_add_device(w, "one", 2);
    names_leave_half(w, 5, names_naming(names_claim_by("one", "x", "t1"), 0), 5000, true);
    assert_int_equal(names_claim(w, names_claim_by("", "x", "t1")).result, RESULT_NOT_FOUND);
    names_remove_device(w, "one");
    assert_int_equal(names_claim(w, names_claim_by("", "x", "t1")).message, 5);
    assert_int_equal(names_claim(w, names_claim_by("", "y", "t1")).result, RESULT_NOT_FOUND);
    names_add_device(w, "two", 2);
    assert_int_equal(names_claim(w, names_claim_by("two", "x", "t1")).message, 5);
    /* evicted by the third */
    names_leave_half(w, 6, names_naming(names_claim_by("two", "x", "t2"), 0), 5000, true);
    names_add_device(w, "three", 2);
    names_add_device(w, "four", 2);
    assert_int_equal(names_claim(w, names_claim_by("four", "x", "t2")).message, 6);
    /* gone with the password */
    names_leave_half(w, 7, names_naming(names_claim_by("four", "x", "t3"), 0), 5000, true);
    names_leave_half(w, 8, names_naming(names_claim_by("three", "x", "t4"), 0), 5000, true);
    struct world_done d = {0};
    struct store_account changed = {.name = SLICE("bob"), .password_hash = SLICE("$y"), .scram = {.salt = {2}, .salt_len = 1, .iterations = 4096, .stored_key = {5}}};
    store_account_put(w->client, &changed, false, world_on_done, &d);
    assert_int_equal(world_wait_done(w, &d), RESULT_OK);
    assert_int_equal(names_claim(w, names_claim_by("", "x", "t3")).message, 7);
    assert_int_equal(names_claim(w, names_claim_by("", "x", "t4")).message, 8);
    /* a session that outlived its device */
    names_leave_half(w, 9, names_naming(names_claim_by("gone", "x", "t5"), 0), 5000, true);
    assert_int_equal(names_claim(w, names_claim_by("", "x", "t5")).message, 9);
}

/* What is over wins, else the newer; what loses leaves nothing. */
static void of_two_of_one_name_one_is_kept(void **state)
{
    struct world *w = *state;
    names_add_account(w, "bob");
    names_add_device(w, "one", 9);
    names_leave_half(w, 5, names_naming(names_claim_by("one", "x", "t1"), 0), 70000, true);
    names_put_small(w, 6, names_claim_by("", "x", "t1"));
    names_put_small(w, 7, names_claim_by("one", "x", "t2"));
    names_leave_half(w, 8, names_naming(names_claim_by("", "x", "t2"), 0), 70000, true);
    names_leave_half(w, 9, names_naming(names_claim_by("one", "x", "t3"), 0), 70000, true);
    names_leave_half(w, 10, names_naming(names_claim_by("", "x", "t3"), 0), 70000, true);
    names_leave_half(w, 12, names_naming(names_claim_by("one", "x", "t4"), 0), 70000, true);
    names_leave_half(w, 11, names_naming(names_claim_by("", "x", "t4"), 0), 70000, true);
    names_put_small(w, 13, names_claim_by("one", "x", "t5"));
    names_put_small(w, 14, names_claim_by("", "x", "t5"));
    names_remove_device(w, "one");
    assert_int_equal(names_claim(w, names_claim_by("", "x", "t1")).message, 6);
    assert_int_equal(names_claim(w, names_claim_by("", "x", "t2")).message, 7);
    assert_int_equal(names_claim(w, names_claim_by("", "x", "t3")).message, 10);
    assert_int_equal(names_claim(w, names_claim_by("", "x", "t4")).message, 12);
    assert_int_equal(names_claim(w, names_claim_by("", "x", "t5")).message, 14);
    assert_int_equal(world_number(w, "SELECT count(*) FROM checkpoint WHERE device = ''"), 5);
    assert_int_equal(world_number(w, "SELECT count(DISTINCT message) FROM checkpoint_recipient"), 2);
    assert_int_equal(world_number(w, "SELECT count(*) FROM chunk"), 2);
}

/* Its halves go. What is over stays over: who gets the account again would be given all that his laptop still has copies of a second time. */
static void an_account_that_is_made_again_knows_what_is_over(void **state)
{
    struct world *w = *state;
    struct world_done d = {0};
    names_add_account(w, "bob");
    names_add_device(w, "one", 9);
    for (uint64_t i = 0; i < 110; i++) {
        char transid[8];
        snprintf(transid, sizeof transid, "t%d", (int)i);
        names_put_small(w, 100 + i, names_claim_by(i % 2 ? "one" : "", "x", transid));
    }
    names_leave_half(w, 5, names_naming(names_claim_by("one", "x", "h"), 0), 70000, true);
    struct store_claim eve = names_claim_by("", "x", "h");
    eve.account = SLICE("eve");
    names_leave_half(w, 6, names_naming(eve, 0), 5000, true);
    store_account_remove(w->client, SLICE("bob"), world_on_done, &d);
    assert_int_equal(world_wait_done(w, &d), RESULT_OK);
    assert_int_equal(world_number(w, "SELECT count(*) FROM checkpoint WHERE device = '' AND reply <> ''"), 110);
    assert_int_equal(world_number(w, "SELECT count(*) FROM checkpoint"), 111);
    assert_int_equal(world_number(w, "SELECT count(*) FROM checkpoint_recipient"), 2);
    assert_int_equal(world_number(w, "SELECT count(*) FROM chunk"), 0);
    assert_int_equal(names_claim(w, eve).message, 6);
    names_add_account(w, "bob");
    names_enrol_device(w, "two", 9, 2000);
    assert_int_equal(names_claim(w, names_claim_by("two", "y", "t1")).message, 101);
    assert_int_equal(ask_by(w, names_claim_by("two", "y", "t2"), 0, 9).n, 2);
    assert_int_equal(names_claim(w, names_claim_by("two", "y", "h")).result, RESULT_NOT_FOUND);
}

/* A session that outlives its account leaves no half to who gets the account's name next, nor a name that is over. */
static void an_account_that_has_gone_begins_nothing(void **state)
{
    struct world *w = *state;
    struct world_done d = {0};
    names_add_account(w, "bob");
    struct store_intake *large = names_begin(w, 5, names_naming(names_plain("t1"), 0)), *small = names_begin(w, 6, names_naming(names_plain("t2"), 0));
    store_account_remove(w->client, SLICE("bob"), world_on_done, &d);
    assert_int_equal(world_wait_done(w, &d), RESULT_OK);
    names_note(large, true);
    names_append(large, 0, STORE_CHUNK + 1);
    names_settle(w);
    assert_int_equal(store_intake_append(large, SLICE("x")), RESULT_CANCELLED);
    store_intake_abort(&large);
    names_append(small, 0, 100);
    assert_int_equal(names_commit(w, small), RESULT_CANCELLED);
    assert_int_equal(world_number(w, NAMES_CHUNKS) + world_number(w, NAMES_ROWS), 0);
    assert_string_equal(world_state(w, 6), "none");
}

/* Two requests whose answers may come in one turn of the loop: which was first? */
struct race {
    struct world_done slow, quick;
    bool is_overtaken;
};

static void on_quick(void *context, enum result result)
{
    struct race *race = context;
    race->is_overtaken = !race->slow.is_done;
    world_on_done(&race->quick, result);
}

/* New mail does not wait for gigabytes of halves to go: by their number, and by their octets. */
static void an_account_goes_in_steps(void **state)
{
    struct world *w = *state;
    static const struct {
        int n;
        size_t octets;
    } ROWS[] = {{110, 100}, {3, 9 * 1024 * 1024}};
    for (size_t row = 0; row < sizeof ROWS / sizeof *ROWS; row++) {
        struct race race = {0};
        names_add_account(w, "bob");
        for (int i = 0; i < ROWS[row].n; i++) {
            char transid[16];
            snprintf(transid, sizeof transid, "t%d", i);
            names_leave_half(w, 100 + (uint64_t)i, names_naming(names_plain(transid), 0), 100, true);
        }
        char sql[80];
        snprintf(sql, sizeof sql, "UPDATE checkpoint SET octets = %zu", ROWS[row].octets); /* as if there were so many */
        world_meddle(w, sql);
        store_account_remove(w->client, SLICE("bob"), world_on_done, &race.slow);
        store_setting_put(w->client, SLICE("x"), SLICE("y"), on_quick, &race);
        assert_int_equal(world_wait_done(w, &race.quick), RESULT_OK);
        assert_int_equal(world_wait_done(w, &race.slow), RESULT_OK);
        assert_true(race.is_overtaken);
        assert_int_equal(world_number(w, NAMES_CHUNKS) + world_number(w, NAMES_ROWS), 0);
        assert_int_equal(world_number(w, "SELECT count(*) FROM account"), 0);
    }
}

/* The program ends between two steps: the account is still there, and whoever asks again gets the rest done. */
static void an_account_that_went_in_part_is_there(void **state)
{
    struct world *w = *state;
    struct world_done d[2] = {{0}};
    names_add_account(w, "bob");
    for (int i = 0; i < 110; i++) {
        char transid[8];
        snprintf(transid, sizeof transid, "t%d", i);
        names_leave_half(w, 100 + (uint64_t)i, names_naming(names_plain(transid), 0), 100, true);
    }
    store_account_remove(w->client, SLICE("bob"), world_on_done, &d[0]);
    world_close(w);
    assert_int_equal(world_number(w, "SELECT count(*) FROM checkpoint"), 10);
    assert_int_equal(world_number(w, "SELECT count(*) FROM account"), 1);
    assert_int_equal(world_open(w), RESULT_OK);
    store_account_remove(w->client, SLICE("bob"), world_on_done, &d[1]);
    assert_int_equal(world_wait_done(w, &d[1]), RESULT_OK);
    assert_int_equal(world_number(w, NAMES_ROWS) + world_number(w, "SELECT count(*) FROM account"), 0);
}

/* ---- what became of it ---- */

static void outcomes_are_told(void **state)
{
    struct world *w = *state;
    assert_int_equal(ask(w, "t1", 0, 9).result, RESULT_NOT_FOUND);
    names_leave_half(w, 4, names_naming(names_plain("h"), 0), 5000, true);
    assert_int_equal(ask(w, "h", 0, 9).result, RESULT_NOT_FOUND);
    names_put_small(w, 5, names_plain("t1"));
    assert_int_equal(world_finish(w, 5, 1, STORE_DELIVERED, "250 ok", false), RESULT_OK);
    struct told all = ask(w, "t1", 0, 9), second = ask(w, "t1", 1, 1), none = ask(w, "t1", 2, 9);
    assert_true(all.result == RESULT_OK && all.n == 2 && all.total == 2 && all.first == 0 && all.state == STORE_QUEUED);
    assert_true(second.result == RESULT_OK && second.n == 1 && second.total == 2 && second.first == 1 && second.state == STORE_DELIVERED);
    assert_true(none.result == RESULT_OK && none.n == 0 && none.total == 2);
    assert_int_equal(world_remove(w, 5), RESULT_OK);
    struct told gone = ask(w, "t1", 0, 9);
    assert_true(gone.result == RESULT_OK && gone.n == 0 && gone.total == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_sees_what, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_device_sees_what_was_begun_before_it_was_enrolled, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(what_a_removed_device_began_is_found, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(of_two_of_one_name_one_is_kept, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(an_account_that_is_made_again_knows_what_is_over, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(an_account_that_has_gone_begins_nothing, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(an_account_goes_in_steps, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(an_account_that_went_in_part_is_there, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(outcomes_are_told, world_setup, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
