/* Transactions with a name, through the store's door: what was kept, who goes on, and what is answered for ever (schema/link.md, CHECKPOINT). */
#include "support/store_names.h"

#include "mail/message_id.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- one that is over ---- */

static void a_name_that_is_over_answers_as_it_did(void **state)
{
    struct world *w = *state;
    assert_int_equal(names_claim(w, names_plain("t1")).result, RESULT_NOT_FOUND);
    struct store_intake *intake = names_begin(w, 5, names_naming(names_plain("t1"), 0));
    names_note(intake, true);
    names_append(intake, 0, 1000);
    assert_int_equal(names_commit(w, intake), RESULT_OK);
    for (int round = 0; round < 3; round++) {
        struct store_claim by = names_plain("t1");
        by.is_whole = round == 1;
        struct names_claimed c = names_claim(w, by);
        assert_int_equal(c.result, RESULT_OK);
        assert_string_equal(c.reply, "250 2.0.0 Ok: queued as X");
        assert_int_equal(c.message, 5);
        assert_int_equal(c.came_octets, names_came(1000));
        assert_int_equal(c.nrcpt, 2);
        assert_string_equal(c.first, "carl@example.net");
        names_assert_body(w, 5, 1000);
        if (round == 1)
            world_reopen(w);
    }
    struct store_claim other = names_plain("t1");
    other.digest[0] = 2;
    assert_int_equal(names_claim(w, other).result, RESULT_DENIED);
    intake = names_begin(w, 6, names_naming(names_plain("t1"), 0));
    names_append(intake, 0, 10);
    assert_int_equal(names_commit(w, intake), RESULT_EXISTS);
    assert_string_equal(world_state(w, 6), "none");
}

/* Its recipients are known although the message has gone: who says them again is not told to send them another way. */
static void a_removed_message_leaves_its_name(void **state)
{
    struct world *w = *state;
    struct store_intake *intake = names_begin(w, 5, names_naming(names_plain("t1"), 0));
    names_append(intake, 0, 1000);
    assert_int_equal(names_commit(w, intake), RESULT_OK);
    assert_int_equal(world_remove(w, 5), RESULT_OK);
    struct names_claimed c = names_claim(w, names_plain("t1"));
    assert_int_equal(c.result, RESULT_OK);
    assert_string_equal(c.reply, "250 2.0.0 Ok: queued as X");
    assert_int_equal(c.came_octets, 1000);
    assert_int_equal(c.nrcpt, 2);
    assert_string_equal(c.first, "carl@example.net");
}

/* ---- halves ---- */

/* Up to the last whole line, whatever the place of the cut; across a restart or not; again and again. */
static void a_half_goes_on_at_a_line(void **state)
{
    struct world *w = *state;
    static const size_t CUTS[] = {NAMES_HEADER + NAMES_ADDED, NAMES_HEADER + NAMES_ADDED + 1, 3000, STORE_CHUNK - 1, STORE_CHUNK, STORE_CHUNK + 1, STORE_CHUNK + 30, 2 * STORE_CHUNK, 3 * STORE_CHUNK - 7};
    for (size_t i = 0; i < sizeof CUTS / sizeof *CUTS; i++) {
        uint64_t id = 10 + i;
        char transid[8];
        snprintf(transid, sizeof transid, "t%zu", i);
        names_leave_half(w, id, names_naming(names_plain(transid), 0), CUTS[i], true);
        if (i % 2)
            world_reopen(w);
        struct names_claimed c = names_claim(w, names_plain(transid));
        assert_int_equal(c.result, RESULT_OK);
        assert_string_equal(c.reply, "");
        assert_int_equal(c.message, id);
        size_t end = NAMES_HEADER + NAMES_ADDED + (CUTS[i] - NAMES_HEADER - NAMES_ADDED) / 50 * 50;
        assert_int_equal(c.came_octets, names_came(end));
        assert_int_equal(c.nrcpt, 2);
        assert_true(c.half.has_8bit_header && c.half.has_8bit_body && c.half.has_lines && !c.half.is_header_utf8);
        assert_int_equal(c.half.received_at_ms, 77);
        struct names_resumed r = names_resume(w, &c, names_plain(transid));
        assert_int_equal(r.result, RESULT_OK);
        names_append(r.intake, end, end + 120);
        store_intake_suspend(&r.intake);
        r.intake = names_go_on(w, transid);
        names_append(r.intake, end + 100, NAMES_BODY);
        assert_int_equal(names_commit(w, r.intake), RESULT_OK);
        names_assert_body(w, id, NAMES_BODY);
    }
    world_close(w);
    assert_int_equal(world_number(w, "SELECT (SELECT count(*) FROM checkpoint WHERE reply = '') + (SELECT count(*) FROM checkpoint_recipient) + (SELECT count(*) FROM intake)"), 0);
    assert_int_equal(world_open(w), RESULT_OK);
}

static void one_without_lines_goes_on_anywhere(void **state)
{
    struct world *w = *state;
    names_leave_half(w, 5, names_naming(names_plain("t1"), 0), STORE_CHUNK + 13, false);
    assert_int_equal(names_claim(w, names_plain("t1")).came_octets, names_came(STORE_CHUNK + 13));
    struct store_intake *intake = names_go_on(w, "t1");
    names_append(intake, STORE_CHUNK + 13, 100000);
    assert_int_equal(names_commit(w, intake), RESULT_OK);
    names_assert_body(w, 5, 100000);
}

/* CR LF across a border of chunks; garbage longer than a chunk. */
static void line_ends_are_found_across_chunks(void **state)
{
    struct world *w = *state;
    static char body[3 * STORE_CHUNK];
    static const struct {
        size_t cr, size, end;
    } ROWS[] = {
        {STORE_CHUNK - 1, STORE_CHUNK + 1, STORE_CHUNK + 1},     {STORE_CHUNK - 1, STORE_CHUNK, NAMES_HEADER + NAMES_ADDED},
        {STORE_CHUNK - 1, 2 * STORE_CHUNK + 9, STORE_CHUNK + 1}, {STORE_CHUNK - 2, 2 * STORE_CHUNK + 9, STORE_CHUNK},
        {500, 2 * STORE_CHUNK + 9, 502},                         {2 * STORE_CHUNK + 8, 2 * STORE_CHUNK + 9, NAMES_HEADER + NAMES_ADDED},
    };
    for (size_t i = 0; i < sizeof ROWS / sizeof *ROWS; i++) {
        char transid[8];
        snprintf(transid, sizeof transid, "t%zu", i);
        memset(body, 'x', sizeof body);
        memcpy(body + ROWS[i].cr, "\r\n", 2);
        struct store_intake *intake = names_begin(w, 20 + i, names_naming(names_plain(transid), 0));
        names_note(intake, true);
        (void)!store_intake_append(intake, slice_of(body, ROWS[i].size));
        store_intake_suspend(&intake);
        struct names_claimed c = names_claim(w, names_plain(transid));
        assert_int_equal(c.came_octets, names_came(ROWS[i].end));
        struct names_resumed r = names_resume(w, &c, names_plain(transid));
        memset(body + ROWS[i].end, 'y', sizeof body - ROWS[i].end);
        (void)!store_intake_append(r.intake, slice_of(body + ROWS[i].end, sizeof body - ROWS[i].end));
        assert_int_equal(names_commit(w, r.intake), RESULT_OK);
        struct slice got = world_body(w, 20 + i);
        assert_true(slice_equal(got, slice_of(body, sizeof body)));
        free((char *)got.ptr);
    }
}

/* What is synced outlives the program's death; what comes behind replaces it. */
static void a_synced_half_is_there(void **state)
{
    struct world *w = *state;
    struct store_intake *intake = names_begin(w, 5, names_naming(names_plain("t1"), 0));
    names_append(intake, 0, 10);
    store_intake_sync(intake); /* the header is not whole: nothing that could be resumed */
    names_settle(w);
    assert_int_equal(world_number(w, NAMES_CHUNKS), 0);
    names_note(intake, true);
    names_append(intake, 10, 3000);
    store_intake_sync(intake);
    store_intake_sync(intake); /* nothing new */
    names_settle(w);
    assert_int_equal(world_number(w, "SELECT octets FROM checkpoint"), 3000);
    names_append(intake, 3000, STORE_CHUNK + 4000);
    store_intake_sync(intake);
    names_settle(w);
    assert_int_equal(world_number(w, "SELECT octets FROM checkpoint"), STORE_CHUNK + 4000);
    assert_int_equal(world_number(w, NAMES_CHUNKS), 2);
    names_append(intake, STORE_CHUNK + 4000, 2 * STORE_CHUNK);
    names_append(intake, 2 * STORE_CHUNK, NAMES_BODY);
    assert_int_equal(names_commit(w, intake), RESULT_OK);
    names_assert_body(w, 5, NAMES_BODY);
}

static void a_synced_small_message_is_committed_whole(void **state)
{
    struct world *w = *state;
    struct store_intake *intake = names_begin(w, 5, names_naming(names_plain("t1"), 0));
    names_note(intake, true);
    names_append(intake, 0, 3000);
    store_intake_sync(intake);
    names_append(intake, 3000, 4000);
    assert_int_equal(names_commit(w, intake), RESULT_OK);
    names_assert_body(w, 5, 4000);
    world_reopen(w);
    names_assert_body(w, 5, 4000);
}

static void a_half_without_a_whole_header_is_nothing(void **state)
{
    struct world *w = *state;
    struct store_intake *intake = names_begin(w, 5, names_naming(names_plain("t1"), 0));
    names_append(intake, 0, STORE_CHUNK + 1); /* one chunk goes to the disk */
    names_settle(w);
    assert_int_equal(world_number(w, NAMES_CHUNKS), 1);
    struct names_claimed c = names_claim(w, names_plain("t1"));
    assert_int_equal(c.result, RESULT_NOT_FOUND);
    assert_int_equal(world_number(w, NAMES_CHUNKS) + world_number(w, NAMES_ROWS), 0);
    store_intake_suspend(&intake);
    names_settle(w);
    assert_int_equal(world_number(w, NAMES_CHUNKS) + world_number(w, NAMES_ROWS), 0);
}

/* Its row promises more than there is: the sender has all of it. */
static void a_half_with_missing_octets_is_nothing(void **state)
{
    struct world *w = *state;
    names_leave_half(w, 5, names_naming(names_plain("t1"), 0), NAMES_BODY, true);
    world_meddle(w, "DELETE FROM chunk WHERE seq = 3");
    assert_int_equal(names_claim(w, names_plain("t1")).result, RESULT_NOT_FOUND);
    assert_int_equal(world_number(w, NAMES_CHUNKS) + world_number(w, NAMES_ROWS), 0);
}

/* ---- rows that we have not written ---- */

static const char *const ALTERED[] = {
    "octets = -1",           "octets = 1 << 60",           "octets = octets + 1",        "octets = octets + 65536, has_lines = 0",
    "octets = 3",            "octets = octets | 1 << 48",  "header_came = -5",           "header_came = 1 << 60",
    "header_came = 262147",  "header_came = 0",            "header_stored = -7",         "header_stored = 1 << 60",
    "header_stored = 0",     "header_stored = octets + 1", "generation = -1",            "generation = 1 << 40",
    "generation = 0",        "generation = 4294967295",    "generation = 9223372036854775807", "generation = 1 << 63",
    "octets = octets + 1, has_lines = 0",
};

/* Nobody is told to go on behind octets that he never sent, nor is turned away for ever: he begins anew. */
static void an_altered_half_is_nothing(void **state)
{
    struct world *w = *state;
    struct store_claim by = names_plain("t1");
    by.size_octets = 4000;
    for (size_t i = 0; i < sizeof ALTERED / sizeof *ALTERED; i++) {
        char sql[120];
        names_leave_half(w, 5 + i, names_naming(by, 0), 3000, true);
        snprintf(sql, sizeof sql, "UPDATE checkpoint SET %s", ALTERED[i]);
        world_meddle(w, sql);
        assert_int_equal(names_claim(w, by).result, RESULT_NOT_FOUND);
        assert_int_equal(world_number(w, NAMES_CHUNKS) + world_number(w, NAMES_ROWS), 0);
    }
}

/* SIZE is an estimate, and a sender that estimated too little has the half that he sent. */
static void a_half_may_be_larger_than_was_said(void **state)
{
    struct world *w = *state;
    struct store_claim by = names_plain("t1");
    by.size_octets = 1000;
    names_leave_half(w, 5, names_naming(by, 0), 3000, true);
    struct names_claimed c = names_claim(w, by);
    assert_int_equal(c.result, RESULT_OK);
    assert_in_range(c.came_octets, 2900, names_came(3000));
}

/* What was taken stays taken, and its body is nobody's to drop. */
static void an_altered_name_that_is_over_stays_over(void **state)
{
    struct world *w = *state;
    struct store_claim by = names_plain("t1");
    by.size_octets = 4000;
    struct store_intake *intake = names_begin(w, 5, names_naming(by, 0));
    names_note(intake, true);
    names_append(intake, 0, 3000);
    assert_int_equal(names_commit(w, intake), RESULT_OK);
    world_meddle(w, "CREATE TABLE kept AS SELECT * FROM checkpoint");
    for (size_t i = 0; i < sizeof ALTERED / sizeof *ALTERED; i++) {
        char sql[120];
        snprintf(sql, sizeof sql, "UPDATE checkpoint SET %s%s", ALTERED[i], i % 2 ? ", reply = ''" : "");
        world_meddle(w, sql);
        by.is_whole = i % 3 == 0;
        struct names_claimed c = names_claim(w, by);
        assert_int_equal(c.result, RESULT_OK);
        assert_string_equal(c.reply, i % 2 ? "250" : "250 2.0.0 Ok: queued as X");
        assert_in_range(c.came_octets, 0, by.size_octets);
        intake = names_begin(w, 6, names_naming(by, 0));
        names_append(intake, 0, 10);
        assert_int_equal(names_commit(w, intake), RESULT_EXISTS);
        names_assert_body(w, 5, 3000);
        world_meddle(w, "DELETE FROM checkpoint; INSERT INTO checkpoint SELECT * FROM kept");
    }
    world_meddle(w, "UPDATE checkpoint SET reply = ''");
    struct world_done swept = {0};
    store_checkpoint_sweep(w->client, INT64_MAX, world_on_done, &swept);
    assert_int_equal(world_wait_done(w, &swept), RESULT_OK);
    assert_int_equal(world_number(w, "SELECT count(*) FROM checkpoint"), 0);
    names_assert_body(w, 5, 3000);
}

static void a_refused_body_takes_its_name_along(void **state)
{
    struct world *w = *state;
    struct store_intake *intake = names_begin(w, 5, names_naming(names_plain("t1"), 0));
    names_note(intake, true);
    names_append(intake, 0, NAMES_BODY);
    names_settle(w);
    assert_int_equal(world_number(w, "SELECT count(*) FROM checkpoint"), 1);
    store_intake_abort(&intake);
    names_settle(w);
    assert_int_equal(world_number(w, NAMES_CHUNKS) + world_number(w, NAMES_ROWS), 0);
    names_leave_half(w, 6, names_naming(names_plain("t1"), 0), NAMES_BODY, true); /* may be used again */
    intake = names_go_on(w, "t1");
    store_intake_abort(&intake);
    names_settle(w);
    assert_int_equal(world_number(w, NAMES_CHUNKS) + world_number(w, NAMES_ROWS), 0);
}

static void xwhole_drops_the_half(void **state)
{
    struct world *w = *state;
    struct store_claim by = names_plain("t1");
    struct store_counts counts;
    names_leave_half(w, 5, names_naming(by, 0), NAMES_BODY, true);
    assert_int_equal(world_count(w, &counts), RESULT_OK);
    assert_true(counts.halves == 1 && counts.half_octets == NAMES_BODY && counts.octets == 0);
    by.is_whole = true;
    by.digest[0] = 9;
    assert_int_equal(names_claim(w, by).result, RESULT_DENIED);
    assert_int_equal(world_number(w, "SELECT count(*) FROM checkpoint"), 1);
    by.digest[0] = 1;
    assert_int_equal(names_claim(w, by).result, RESULT_NOT_FOUND);
    assert_int_equal(world_number(w, NAMES_CHUNKS) + world_number(w, NAMES_ROWS), 0);
}

/* ---- what the log tells ---- */

struct told {
    char text[4096];
    size_t len;
};

static void on_line(void *context, enum log_level level, struct slice line)
{
    struct told *told = context; /* writer's thread, which is at rest when it is read */
    (void)level;
    size_t room = sizeof told->text - 1 - told->len, len = line.len < room ? line.len : room;
    memcpy(told->text + told->len, line.ptr, len);
    told->len += len;
    told->text[told->len] = '\0';
}

/* One line, with this event, the name that people know the message by, and why. */
static void assert_told(struct told *told, const char *event, uint64_t id, const char *why)
{
    char item[MESSAGE_ID_TEXT];
    message_id_format(id, item);
    const char *at = strstr(told->text, event);
    if (!at || strstr(at + 1, event) || !strstr(at, item) || !strstr(at, why))
        fail_msg("not told of %s: %s, but \"%s\"", item, why, told->text);
    *told = (struct told){0};
}

static void leave(struct world *w, const char *transid)
{
    names_leave_half(w, 5, names_naming(names_plain(transid), 0), 5000, true);
}

static void drop(struct world *w, struct told *told)
{
    struct world_done d = {0};
    struct store_claim whole = names_plain("t2");
    whole.is_whole = true;
    leave(w, "t1"); /* a body that is refused */
    struct store_intake *intake = names_go_on(w, "t1");
    store_intake_abort(&intake);
    names_settle(w);
    assert_told(told, "half-body-dropped", 5, "refused");
    leave(w, "t2"); /* XWHOLE */
    assert_int_equal(names_claim(w, whole).result, RESULT_NOT_FOUND);
    assert_told(told, "half-body-dropped", 5, "begins anew");
    leave(w, "t3"); /* a session that takes none */
    struct names_claimed claimed = names_claim(w, names_plain("t3"));
    store_checkpoint_drop(w->client, 5, claimed.generation, world_on_done, &d);
    assert_int_equal(world_wait_done(w, &d), RESULT_OK);
    assert_told(told, "half-body-dropped", 5, "given up");
    leave(w, "t4"); /* the sweep of names */
    d = (struct world_done){0};
    store_checkpoint_sweep(w->client, INT64_MAX, world_on_done, &d);
    assert_int_equal(world_wait_done(w, &d), RESULT_OK);
    assert_told(told, "half-body-dropped", 5, "too long");
}

static void lose_owner(struct world *w, struct told *told)
{
    struct world_done d[3] = {{0}};
    leave(w, "t5"); /* a person */
    store_half_drop(w->client, 5, world_on_done, &d[0]);
    assert_int_equal(world_wait_done(w, &d[0]), RESULT_OK);
    assert_told(told, "half-body-dropped", 5, "person");
    names_add_device(w, "d1", 9); /* one that goes while the account has a half already */
    store_limit_halves(w->store, 1, 0);
    leave(w, "t6");
    struct store_claim later = names_claim_by("d1", "x", "t7");
    later.served_ms++;
    names_leave_half(w, 6, names_naming(later, 0), 5000, true);
    store_device_remove(w->client, SLICE("d1"), world_on_done, &d[1]);
    assert_int_equal(world_wait_done(w, &d[1]), RESULT_OK);
    names_settle(w);
    assert_told(told, "half-body-dropped", 5, "too many");
    store_account_remove(w->client, SLICE("bob"), world_on_done, &d[2]);
    assert_int_equal(world_wait_done(w, &d[2]), RESULT_OK);
    assert_told(told, "half-body-dropped", 6, "account");
}

/* One grep tells the life of a message, a half's end too. */
static void each_end_of_a_half_is_told(void **state)
{
    struct world *w = *state;
    struct told told = {0};
    world_close(w);
    w->log = (struct log){.level = LOG_WARNING, .sink = on_line, .context = &told};
    assert_int_equal(world_open(w), RESULT_OK);
    world_meddle(w, "INSERT INTO intake (message) VALUES (77)");
    world_close(w);
    w->log.level = LOG_INFO;
    assert_int_equal(world_open(w), RESULT_OK);
    assert_told(&told, "half-body-swept", 77, "");
    drop(w, &told);
    lose_owner(w, &told);
    world_close(w);
    w->log = (struct log){0};
    assert_int_equal(world_open(w), RESULT_OK);
}

/* ---- one at a time ---- */

/* Whoever wrote before finds himself refused, at a chunk, a sync, a suspend and a commit, and harms nobody. */
static void a_claim_takes_it_away(void **state)
{
    struct world *w = *state;
    for (int how = 0; how < 4; how++) {
        uint64_t id = 30 + (uint64_t)how;
        char transid[8];
        snprintf(transid, sizeof transid, "t%d", how);
        struct store_intake *old = names_begin(w, id, names_naming(names_plain(transid), 0));
        names_note(old, true);
        names_append(old, 0, STORE_CHUNK + 5000);
        store_intake_sync(old);
        struct store_intake *new = names_go_on(w, transid);
        size_t end = NAMES_HEADER + NAMES_ADDED + (STORE_CHUNK + 5000 - NAMES_HEADER - NAMES_ADDED) / 50 * 50;
        if (how == 0) { /* chunks, and a commit after them */
            names_append(old, STORE_CHUNK + 5000, 3 * STORE_CHUNK);
            names_append(old, 3 * STORE_CHUNK, 3 * STORE_CHUNK + 10);
            assert_int_equal(names_commit(w, old), RESULT_CANCELLED);
        } else if (how == 1) {
            names_append(old, STORE_CHUNK + 5000, STORE_CHUNK + 9000);
            store_intake_sync(old);
            names_settle(w);
            store_intake_abort(&old);
        } else if (how == 2) {
            names_append(old, STORE_CHUNK + 5000, STORE_CHUNK + 9000);
            store_intake_suspend(&old);
        } else {
            assert_int_equal(names_commit(w, old), RESULT_CANCELLED);
        }
        names_settle(w);
        char sql[128];
        snprintf(sql, sizeof sql, "SELECT octets FROM checkpoint WHERE message = %d AND reply = ''", 30 + how);
        assert_int_equal(world_number(w, sql), end);
        names_append(new, end, NAMES_BODY);
        assert_int_equal(names_commit(w, new), RESULT_OK);
        names_assert_body(w, id, NAMES_BODY);
    }
}

/* The half that another has dropped by XWHOLE does not come back. */
static void what_was_dropped_does_not_come_back(void **state)
{
    struct world *w = *state;
    struct store_claim by = names_plain("t1");
    struct store_intake *old = names_begin(w, 5, names_naming(by, 0));
    names_note(old, true);
    names_append(old, 0, 5000);
    store_intake_sync(old);
    by.is_whole = true;
    assert_int_equal(names_claim(w, by).result, RESULT_NOT_FOUND);
    names_append(old, 5000, STORE_CHUNK + 1);
    store_intake_suspend(&old);
    names_settle(w);
    assert_int_equal(world_number(w, NAMES_CHUNKS) + world_number(w, NAMES_ROWS), 0);
}

/* Both were told that nobody knows it. */
static void of_two_that_begin_one_goes_on(void **state)
{
    struct world *w = *state;
    struct store_intake *one = names_begin(w, 5, names_naming(names_plain("t1"), 0)), *two = names_begin(w, 6, names_naming(names_plain("t1"), 0));
    names_note(one, true);
    names_note(two, true);
    names_append(one, 0, STORE_CHUNK + 1);
    names_append(two, 0, STORE_CHUNK + 1);
    assert_int_equal(names_commit(w, two), RESULT_CANCELLED);
    names_append(one, STORE_CHUNK + 1, NAMES_BODY);
    assert_int_equal(names_commit(w, one), RESULT_OK);
    names_assert_body(w, 5, NAMES_BODY);
    assert_string_equal(world_state(w, 6), "none");
    /* small ones: both are ready at once */
    one = names_begin(w, 7, names_naming(names_plain("t2"), 0));
    two = names_begin(w, 8, names_naming(names_plain("t2"), 0));
    names_append(one, 0, 100);
    names_append(two, 0, 100);
    assert_int_equal(names_commit(w, one), RESULT_OK);
    assert_int_equal(names_commit(w, two), RESULT_EXISTS);
    /* and a half against one that was over before its second chunk */
    one = names_begin(w, 9, names_naming(names_plain("t3"), 0));
    two = names_begin(w, 10, names_naming(names_plain("t3"), 0));
    names_append(one, 0, 100);
    names_append(two, 0, 2 * STORE_CHUNK);
    names_settle(w);
    assert_int_equal(names_commit(w, one), RESULT_CANCELLED);
    assert_int_equal(names_commit(w, two), RESULT_OK);
    world_close(w);
    assert_int_equal(world_number(w, "SELECT count(*) FROM message"), 3);
    assert_int_equal(world_number(w, "SELECT count(*) FROM checkpoint"), 3);
    assert_int_equal(world_number(w, "SELECT count(*) FROM chunk WHERE message NOT IN (SELECT id FROM message)"), 0);
    assert_int_equal(world_open(w), RESULT_OK);
}

static void a_resume_after_another_claim_is_refused(void **state)
{
    struct world *w = *state;
    names_leave_half(w, 5, names_naming(names_plain("t1"), 0), 5000, true);
    struct names_claimed first = names_claim(w, names_plain("t1")), second = names_claim(w, names_plain("t1"));
    assert_int_equal(names_resume(w, &first, names_plain("t1")).result, RESULT_CANCELLED);
    struct names_resumed r = names_resume(w, &second, names_plain("t1"));
    assert_int_equal(r.result, RESULT_OK);
    store_intake_abort(&r.intake);
    assert_int_equal(names_resume(w, &second, names_plain("t1")).result, RESULT_NOT_FOUND);
}

/* It was cut meanwhile, say: what lies behind its end would be a hole, be the place where a chunk begins or not. */
static void a_resume_behind_its_end_is_refused(void **state)
{
    struct world *w = *state;
    names_leave_half(w, 5, names_naming(names_plain("t1"), 0), 5000, false);
    static const uint64_t ends[] = {5001, STORE_CHUNK, STORE_CHUNK + 1, 2 * STORE_CHUNK};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        struct names_claimed c = names_claim(w, names_plain("t1"));
        assert_int_equal(c.came_octets, names_came(5000));
        c.came_octets = names_came(ends[i]);
        assert_int_equal(names_resume(w, &c, names_plain("t1")).result, RESULT_NOT_FOUND);
    }
    struct store_intake *intake = names_go_on(w, "t1");
    names_append(intake, 5000, NAMES_BODY);
    assert_int_equal(names_commit(w, intake), RESULT_OK);
    names_assert_body(w, 5, NAMES_BODY);
}

/* Who was refused for a failure of the moment comes back; who was refused for what he sent must not find it taken. */
static void only_a_failure_of_the_moment_keeps_a_half(void **state)
{
    (void)state;
    for (int i = RESULT_OK; i <= RESULT_CANCELLED; i++) {
        enum result result = (enum result)i;
        bool is_of_the_moment = result == RESULT_FULL || result == RESULT_IO || result == RESULT_BUSY || result == RESULT_MEMORY;
        assert_int_equal(store_keeps_half(result), is_of_the_moment);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_name_that_is_over_answers_as_it_did, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_removed_message_leaves_its_name, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_half_goes_on_at_a_line, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(one_without_lines_goes_on_anywhere, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(line_ends_are_found_across_chunks, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_synced_half_is_there, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_synced_small_message_is_committed_whole, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_half_without_a_whole_header_is_nothing, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_half_with_missing_octets_is_nothing, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_half_may_be_larger_than_was_said, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(an_altered_half_is_nothing, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(an_altered_name_that_is_over_stays_over, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_refused_body_takes_its_name_along, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(xwhole_drops_the_half, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_claim_takes_it_away, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(what_was_dropped_does_not_come_back, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(of_two_that_begin_one_goes_on, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(each_end_of_a_half_is_told, world_setup, world_teardown),
        cmocka_unit_test(only_a_failure_of_the_moment_keeps_a_half),
        cmocka_unit_test_setup_teardown(a_resume_after_another_claim_is_refused, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_resume_behind_its_end_is_refused, world_setup, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
