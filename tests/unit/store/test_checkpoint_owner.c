/* Transactions with a name: whose they are, how many of them, and how long. */
#include "support/fault_vfs.h"
#include "support/store_names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- words ---- */

static void put_small(struct world *w, uint64_t id, struct store_claim by)
{
    struct store_intake *intake = names_begin(w, id, names_naming(by, 0));
    names_append(intake, 0, 100);
    assert_int_equal(names_commit(w, intake), RESULT_OK);
}

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

static void remove_device(struct world *w, const char *id)
{
    struct world_done d = {0};
    store_device_remove(w->client, slice_from_cstr(id), world_on_done, &d);
    assert_int_equal(world_wait_done(w, &d), RESULT_OK);
}

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
    put_small(w, 5, claim_at("one", "x", "t1", 2000));
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
    remove_device(w, "one");
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
    put_small(w, 6, names_claim_by("", "x", "t1"));
    put_small(w, 7, names_claim_by("one", "x", "t2"));
    names_leave_half(w, 8, names_naming(names_claim_by("", "x", "t2"), 0), 70000, true);
    names_leave_half(w, 9, names_naming(names_claim_by("one", "x", "t3"), 0), 70000, true);
    names_leave_half(w, 10, names_naming(names_claim_by("", "x", "t3"), 0), 70000, true);
    names_leave_half(w, 12, names_naming(names_claim_by("one", "x", "t4"), 0), 70000, true);
    names_leave_half(w, 11, names_naming(names_claim_by("", "x", "t4"), 0), 70000, true);
    put_small(w, 13, names_claim_by("one", "x", "t5"));
    put_small(w, 14, names_claim_by("", "x", "t5"));
    remove_device(w, "one");
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
        put_small(w, 100 + i, names_claim_by(i % 2 ? "one" : "", "x", transid));
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

/* ---- bounds and ends ---- */

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
        put_small(w, 100 + (uint64_t)i, names_plain(transid));
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
    remove_device(w, "d10");
    remove_device(w, "d11");
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
    remove_device(w, "d2");
    assert_int_equal(names_commit(w, half), RESULT_EXISTS);
    names_settle(w);
    assert_int_equal(world_number(w, "SELECT count(*) FROM message"), 1);
    assert_int_equal(world_number(w, "SELECT min(id) FROM message"), 6);
}

/* ---- what became of it ---- */

static void outcomes_are_told(void **state)
{
    struct world *w = *state;
    assert_int_equal(ask(w, "t1", 0, 9).result, RESULT_NOT_FOUND);
    names_leave_half(w, 4, names_naming(names_plain("h"), 0), 5000, true);
    assert_int_equal(ask(w, "h", 0, 9).result, RESULT_NOT_FOUND);
    put_small(w, 5, names_plain("t1"));
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
        cmocka_unit_test_setup_teardown(an_account_goes_in_steps, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(an_account_that_went_in_part_is_there, world_setup, world_teardown),
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
        cmocka_unit_test_setup_teardown(outcomes_are_told, world_setup, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
