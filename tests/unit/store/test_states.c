/* schema/README.md and the store agree: its tables of states are read here, and every cell is made to happen. Nothing of a table is repeated: what is here are the
 * doings that its columns and lines name, and how to see what came of them. One that it names and this test can't do, fails. */
#include "support/store_names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { CELLS_MAX = 16, ROWS_MAX = 32, CELL_MAX = 320, README_MAX = 200000, GIVEN_MS = 777, NOW_MS = 42, DUE_MS = 4711 };

struct table {
    char cells[ROWS_MAX][CELLS_MAX][CELL_MAX];
    size_t nrows, ncells;
};

/* ---- the tables ---- */

static char *readme(void)
{
    const char *path = getenv("POSTERN_SCHEMA_README"); /* to see this test fail on another one */
    FILE *f = fopen(path ? path : "schema/README.md", "r");
    assert_non_null(f); /* tests run in the top folder */
    char *text = calloc(1, README_MAX);
    size_t n = fread(text, 1, README_MAX - 1, f);
    assert_true(n > 1000 && n < README_MAX - 1);
    fclose(f);
    return text;
}

static void take_cells(struct slice line, char cells[CELLS_MAX][CELL_MAX], size_t *n)
{
    struct slice cell;
    line = slice_skip(slice_trim(line), 1);
    for (*n = 0; slice_cut(line, '|', &cell, &line); ++*n) {
        assert_true(*n < CELLS_MAX);
        if (!slice_to_cstr(slice_trim(cell), cells[*n], CELL_MAX))
            fail_msg("a cell is too long: %.*s", SLICE_ARG(cell));
    }
}

/* The one whose first cell is so; cells[0] is its head. */
static void read_table(const char *first, struct table *t)
{
    char *text = readme();
    struct slice rest = slice_from_cstr(text), line;
    bool is_in = false;
    *t = (struct table){0};
    while (rest.len > 0) {
        slice_cut(rest, '\n', &line, &rest);
        bool is_row = line.len > 0 && line.ptr[0] == '|';
        if (is_in && !is_row)
            break;
        if (!is_row || slice_starts_with(line, SLICE("|---")))
            continue;
        assert_true(t->nrows < ROWS_MAX);
        take_cells(line, t->cells[t->nrows], &t->ncells);
        is_in = is_in || strcmp(t->cells[t->nrows][0], first) == 0;
        t->nrows += is_in;
    }
    free(text);
    if (t->nrows < 3)
        fail_msg("there is no table that begins with <%s>", first);
}

static bool says(const char *cell, const char *word)
{
    return strstr(cell, word) != NULL;
}

/* What stands in the first backquotes; "" without. */
static const char *quoted(const char *cell, char *out)
{
    struct slice s = slice_from_cstr(cell), before, word, after;
    bool has = slice_cut(s, '`', &before, &after) && slice_cut(after, '`', &word, &after);
    assert_true(slice_to_cstr(has ? word : (struct slice){0}, out, CELL_MAX));
    return out;
}

/* ---- a recipient ---- */

struct seen {
    bool is_last;
    enum result result;
    struct store_recipient first;
    char state[16];
};

static void on_row(void *context, enum result result, const struct store_listing *rows, size_t n, bool is_last)
{
    struct seen *seen = context;
    seen->is_last = is_last;
    seen->result = result;
    if (n == 0)
        return;
    seen->first = rows[0].recipients[0];
    snprintf(seen->state, sizeof seen->state, "%s", rows[0].state);
}

static struct seen look(struct world *w, uint64_t id)
{
    struct seen seen = {0};
    store_message_get(w->client, id, on_row, &seen);
    world_wait(w, &seen.is_last);
    return seen;
}

static enum result outcome(struct world *w, uint64_t id, uint32_t seq, enum store_state state, int64_t next_ms, bool counts)
{
    struct world_done d = {0};
    struct store_outcome o = {.seq = seq, .state = state, .next_attempt_ms = next_ms, .counts = counts};
    store_attempt_finish(w->client, id, &o, 1, 555, NULL, true, world_on_done, &d);
    return world_wait_done(w, &d);
}

static enum store_state state_named(const char *name)
{
    enum store_state state = STORE_QUEUED;
    while (state <= STORE_UNCERTAIN && strcmp(store_state_name(state), name) != 0)
        state++;
    if (state > STORE_UNCERTAIN)
        fail_msg("the table knows a state <%s>, the store does not", name);
    return state;
}

/* Into the state that a line begins with, or that a cell names. */
static void bring(struct world *w, uint64_t id, uint32_t seq, const char *cell)
{
    char name[CELL_MAX];
    struct world_done d = {0};
    enum store_state state = state_named(quoted(cell, name));
    if (state == STORE_HELD) {
        store_message_hold(w->client, id, world_on_done, &d);
        assert_int_equal(world_wait_done(w, &d), RESULT_OK);
    } else if (state != STORE_QUEUED || says(cell, "tried")) {
        assert_int_equal(outcome(w, id, seq, state, says(cell, "never") ? 0 : 33, true), RESULT_OK);
    }
}

/* What a column's head says. */
static enum result perform(struct world *w, uint64_t id, const char *head)
{
    char name[CELL_MAX];
    struct world_done d = {0};
    if (says(head, "outcome"))
        return outcome(w, id, 0, state_named(quoted(head, name)), GIVEN_MS, true);
    if (strcmp(head, "hold") == 0)
        store_message_hold(w->client, id, world_on_done, &d);
    else if (strcmp(head, "release") == 0)
        store_message_release(w->client, id, NOW_MS, world_on_done, &d);
    else if (strcmp(head, "requeue") == 0)
        store_message_requeue(w->client, id, DUE_MS, world_on_done, &d);
    else
        fail_msg("the table has a column <%s>", head);
    return world_wait_done(w, &d);
}

static int64_t next_wanted(const char *cell, int64_t before)
{
    return says(cell, "given") ? GIVEN_MS : says(cell, "released") ? NOW_MS : says(cell, "requeued") ? DUE_MS : says(cell, "never") ? 0 : before;
}

static void check_transition(struct world *w, uint64_t id, const char *from, const char *head, const char *cell)
{
    char wanted[CELL_MAX];
    assert_int_equal(world_put(w, id, SLICE("x"), 1, 0), RESULT_OK);
    bring(w, id, 0, from);
    struct seen before = look(w, id);
    bool applies = quoted(cell, wanted)[0] != '\0';
    enum result result = perform(w, id, head);
    struct seen after = look(w, id);
    if (!applies)
        snprintf(wanted, sizeof wanted, "%s", store_state_name(before.first.state));
    if (!applies && strcmp(cell, "–") != 0)
        fail_msg("from %s by %s: the table says <%s>, which is neither a state nor a dash", from, head, cell);
    if (result != (applies ? RESULT_OK : RESULT_NOT_FOUND))
        fail_msg("from %s by %s: the store answers %s, the table says <%s>", from, head, result_name(result), cell);
    if (strcmp(store_state_name(after.first.state), wanted) != 0)
        fail_msg("from %s by %s: the store says %s, the table <%s>", from, head, store_state_name(after.first.state), cell);
    if (after.first.attempts - before.first.attempts != says(cell, "tried"))
        fail_msg("from %s by %s: %u attempts after %u, the table says <%s>", from, head, after.first.attempts, before.first.attempts, cell);
    if (after.first.next_attempt_ms != next_wanted(cell, before.first.next_attempt_ms))
        fail_msg("from %s by %s: next attempt at %d, the table says <%s>", from, head, (int)after.first.next_attempt_ms, cell);
}

static void a_recipients_transitions_are_those_of_the_table(void **state)
{
    static struct table t;
    size_t nstates = 0;
    read_table("from \\ by", &t);
    for (size_t row = 1; row < t.nrows; row++)
        for (size_t column = 1; column < t.ncells; column++, nstates++)
            check_transition(*state, 100 + row * 100 + column, t.cells[row][0], t.cells[0][column], t.cells[row][column]);
    assert_true(nstates >= 7 * 8);
    for (enum store_state s = STORE_QUEUED; s <= STORE_UNCERTAIN; s++) { /* every state has its line */
        char name[CELL_MAX];
        size_t row = 1;
        while (row < t.nrows && state_named(quoted(t.cells[row][0], name)) != s)
            row++;
        assert_true(row < t.nrows);
    }
}

/* ---- a message ---- */

static bool has_one(const char *const pair[2], const char *cell)
{
    char wanted[CELL_MAX], is[CELL_MAX];
    for (int i = 0; i < 2; i++)
        if (strcmp(quoted(pair[i], is), quoted(cell, wanted)) == 0 && (!says(cell, "tried") || says(pair[i], "tried")) && (!says(cell, "asked") || !says(pair[i], "never")))
            return true;
    return false;
}

/* The first line that fits; one that says "all" fits when no other has. */
static const char *derived(const struct table *t, const char *const pair[2], char *out)
{
    for (size_t row = 1; row < t->nrows; row++)
        if (says(t->cells[row][0], "all") || has_one(pair, t->cells[row][0]))
            return quoted(t->cells[row][1], out);
    fail_msg("no line of the table fits %s and %s", pair[0], pair[1]);
    return NULL;
}

/* Hold is for all of a message, so a held one has been put beside a finished one only after it. */
static void bring_both(struct world *w, uint64_t id, const char *const pair[2])
{
    for (int held = 1; held >= 0; held--)
        for (uint32_t i = 0; i < 2; i++)
            if (says(pair[i], "held") == (held != 0) && (!held || i == 0 || !says(pair[0], "held")))
                bring(w, id, i, pair[i]);
}

static void a_messages_state_is_that_of_the_table(void **state)
{
    static const char *const STATES[] = {"`held`", "`uncertain`", "`queued`, tried", "`queued`", "`bounced`", "`relayed`", "`relayed`, never", "`delivered`"};
    static struct table t;
    struct world *w = *state;
    uint64_t id = 1;
    char wanted[CELL_MAX];
    read_table("a recipient is …", &t);
    for (size_t i = 0; i < sizeof STATES / sizeof *STATES; i++)
        for (size_t k = 0; k < sizeof STATES / sizeof *STATES; k++, id++) {
            const char *const pair[2] = {STATES[i], STATES[k]};
            bool is_impossible = (i == 0) != (k == 0) && says(pair[i == 0], "queued") + says(pair[i == 0], "uncertain") > 0;
            if (is_impossible)
                continue;
            assert_int_equal(world_put(w, id, SLICE("x"), 2, 0), RESULT_OK);
            bring_both(w, id, pair);
            struct seen seen = look(w, id);
            if (strcmp(seen.state, derived(&t, pair, wanted)) != 0)
                fail_msg("%s and %s: the store says %s, the table %s", pair[0], pair[1], seen.state, wanted);
        }
}

/* ---- a checkpoint ---- */

/* One name, and who has to do with it. */
struct play {
    struct world *w;
    char transid[16], from[CELL_MAX];
    bool is_headless; /* the header has not come as a whole */
    uint64_t id;
    struct store_intake *owner; /* told none, or has the half */
    struct store_intake *loser; /* had it before */
    uint32_t generation;        /* of the owner's claim; the loser began it, and has 1 */
    bool is_answered;
    enum result result;
};

static struct store_claim claim_of(const struct play *p)
{
    return names_claim_by("one", "laptop", p->transid);
}

/* Three chunks, of which two are given to the writer. */
static struct store_intake *half_of(struct play *p, uint64_t id)
{
    struct store_intake *intake = names_begin(p->w, id, names_naming(claim_of(p), 0));
    if (!p->is_headless)
        names_note(intake, false);
    names_append(intake, 0, 2 * STORE_CHUNK + 10);
    names_settle(p->w);
    return intake;
}

static struct store_intake *take_over(struct play *p)
{
    struct names_claimed c = names_claim(p->w, claim_of(p));
    assert_int_equal(c.result, RESULT_OK);
    p->generation = c.generation;
    struct names_resumed r = names_resume(p->w, &c, claim_of(p));
    assert_int_equal(r.result, RESULT_OK);
    return r.intake;
}

static struct store_intake *small_of(struct play *p, uint64_t id)
{
    struct store_intake *intake = names_begin(p->w, id, names_naming(claim_of(p), 0));
    names_note(intake, false);
    names_append(intake, 0, 100);
    return intake;
}

static void prepare(struct play *p)
{
    if (p->is_headless) {
        p->owner = half_of(p, p->id);
        return;
    }
    p->loser = half_of(p, p->id);
    if (strcmp(p->from, "none") == 0) {
        struct store_claim whole = claim_of(p);
        whole.is_whole = true;
        assert_int_equal(names_claim(p->w, whole).result, RESULT_NOT_FOUND);
        p->owner = small_of(p, p->id + 1);
    } else if (strcmp(p->from, "half") == 0) {
        p->owner = take_over(p);
    } else if (strcmp(p->from, "over") == 0) {
        assert_int_equal(names_commit(p->w, take_over(p)), RESULT_OK);
        p->owner = small_of(p, p->id + 1);
    } else {
        fail_msg("the table knows a checkpoint <%s>", p->from);
    }
}

static void answer(struct play *p, enum result result)
{
    p->is_answered = true;
    p->result = result;
}

/* How it went shows at the next octet. */
static void do_chunk(struct play *p, struct store_intake *intake)
{
    (void)!store_intake_append(intake, slice_of(names_octets(), 2 * STORE_CHUNK));
    names_settle(p->w);
    enum result result = store_intake_append(intake, SLICE("x"));
    answer(p, result == RESULT_BUSY ? RESULT_OK : result);
}

static void do_claim(struct play *p, const char *how)
{
    struct store_claim c = claim_of(p);
    c.is_whole = says(how, "XWHOLE");
    c.digest[0] = says(how, "digest") ? 9 : c.digest[0];
    if (says(how, "does not see"))
        c.device = SLICE("two");
    answer(p, names_claim(p->w, c).result);
}

static enum result wait_for(struct world *w, void (*call)(struct store_client *, struct slice, store_done *, void *), const char *name)
{
    struct world_done d = {0};
    call(w->client, slice_from_cstr(name), world_on_done, &d);
    return world_wait_done(w, &d);
}

static void end_sessions(struct play *p)
{
    store_intake_suspend(&p->owner);
    store_intake_suspend(&p->loser);
    names_settle(p->w);
}

static enum result sweep_names(struct world *w)
{
    struct world_done d = {0};
    store_checkpoint_sweep(w->client, INT64_MAX, world_on_done, &d);
    return world_wait_done(w, &d);
}

static void do_forget(struct play *p, uint32_t generation)
{
    struct world_done d = {0};
    store_checkpoint_drop(p->w->client, p->id, generation, world_on_done, &d);
    answer(p, world_wait_done(p->w, &d));
}

/* As a program leaves one that is killed, for one that ends drops it. */
static void leave_headless(struct play *p)
{
    names_leave_half(p->w, p->id, names_naming(claim_of(p), 0), 2 * STORE_CHUNK + 10, false);
    world_meddle(p->w, "UPDATE checkpoint SET header_came = 0, header_stored = 0");
}

/* With a session that goes on: the one that has it, or was told that nobody has; or "of who lost it". */
static bool perform_of_session(struct play *p, const char *what)
{
    struct store_intake **intake = says(what, "lost it") ? &p->loser : &p->owner;
    if (says(what, "chunk"))
        do_chunk(p, *intake);
    else if (says(what, "suspend"))
        store_intake_suspend(intake);
    else if (says(what, "refuse"))
        store_intake_abort(intake);
    else if (says(what, "forget"))
        do_forget(p, says(what, "lost it") ? 1 : p->generation);
    else if (says(what, "commit"))
        answer(p, names_commit(p->w, *intake));
    else
        return false;
    if (says(what, "commit"))
        *intake = NULL;
    names_settle(p->w);
    return true;
}

static enum result drop_half(struct play *p)
{
    struct world_done d = {0};
    store_half_drop(p->w->client, p->id, world_on_done, &d);
    return world_wait_done(p->w, &d);
}

static void perform_event(struct play *p, const char *what)
{
    if (perform_of_session(p, what))
        return;
    if (says(what, "claim")) {
        do_claim(p, what);
        return;
    }
    if (says(what, "goes on")) {
        answer(p, drop_half(p));
        return;
    }
    if (strcmp(p->from, "none") == 0) /* the one that was told none has nothing on the disk, and must not bring it now */
        store_intake_abort(&p->owner);
    end_sessions(p);
    if (p->is_headless)
        leave_headless(p);
    if (says(what, "start")) {
        world_close(p->w);
        assert_int_equal(world_open(p->w), RESULT_OK);
    } else if (says(what, "device")) {
        answer(p, wait_for(p->w, store_device_remove, "one"));
    } else if (says(what, "account")) {
        answer(p, wait_for(p->w, store_account_remove, "bob"));
    } else if (says(what, "message")) {
        answer(p, world_remove(p->w, p->id));
    } else if (says(what, "drop")) {
        answer(p, drop_half(p));
    } else if (says(what, "sweep")) {
        answer(p, sweep_names(p->w));
    } else {
        fail_msg("the table has a line <%s>", what);
    }
}

static const char *state_of(struct play *p)
{
    char sql[160];
    snprintf(sql, sizeof sql, "SELECT coalesce((SELECT 1 + (reply <> '') FROM checkpoint WHERE transid = '%s'), 0)", p->transid);
    return (const char *const[]){"none", "half", "over"}[world_number(p->w, sql)];
}

static enum result answer_named(const char *cell)
{
    static const struct {
        const char *word;
        enum result result;
    } WORDS[] = {{"ok", RESULT_OK}, {"not found", RESULT_NOT_FOUND}, {"denied", RESULT_DENIED}, {"cancelled", RESULT_CANCELLED}, {"exists", RESULT_EXISTS}};
    for (size_t i = 0; i < sizeof WORDS / sizeof *WORDS; i++)
        if (says(cell, WORDS[i].word))
            return WORDS[i].result;
    return RESULT_MORE; /* no answer */
}

/* The rows of schema/README.md: nothing lies about that belongs to nobody, and nothing is missing. */
static void check_rows(struct play *p, const char *what)
{
    static const char STRAY[] = "SELECT count(*) FROM (SELECT message FROM body UNION ALL SELECT message FROM chunk UNION ALL SELECT message FROM checkpoint_recipient WHERE "
                                "message NOT IN (SELECT message FROM checkpoint)) WHERE message NOT IN (SELECT id FROM message UNION ALL SELECT message FROM checkpoint WHERE reply = '')";
    static const char SIZES[] = "SELECT count(*) FROM checkpoint c WHERE reply = '' AND octets <> (SELECT coalesce(sum(length(octets)), 0) FROM (SELECT message, octets FROM "
                                "body UNION ALL SELECT message, octets FROM chunk) p WHERE p.message = c.message)";
    if (world_number(p->w, STRAY) != 0 || world_number(p->w, SIZES) != 0)
        fail_msg("from %s by %s: chunks that belong to nobody, or are missing", p->from, what);
}

static void people(struct world *w)
{
    names_add_account(w, "bob");
    names_add_device(w, "one", 9);
    names_add_device(w, "two", 9);
}

static void check_checkpoint(struct world *w, uint64_t id, const char *from, const char *what, const char *cell)
{
    char wanted[CELL_MAX];
    struct play p = {.w = w, .id = id};
    quoted(from, p.from);
    p.is_headless = says(from, "header");
    snprintf(p.transid, sizeof p.transid, "t%d", (int)id);
    people(w);
    prepare(&p);
    perform_event(&p, what);
    if (strcmp(state_of(&p), quoted(cell, wanted)) != 0)
        fail_msg("from %s by %s: the store says %s, the table <%s>", from, what, state_of(&p), cell);
    if (answer_named(cell) != (p.is_answered ? p.result : RESULT_MORE))
        fail_msg("from %s by %s: the store answers %s, the table says <%s>", from, what, result_name(p.result), cell);
    check_rows(&p, what);
    end_sessions(&p);
    check_rows(&p, what);
}

static void a_checkpoints_transitions_are_those_of_the_table(void **state)
{
    static struct table t;
    struct world *w = *state;
    read_table("by \\ from", &t);
    assert_int_equal(t.ncells, 5);
    for (size_t row = 1; row < t.nrows; row++)
        for (size_t column = 1; column < t.ncells; column++) {
            if (strcmp(t.cells[row][column], "–") == 0) /* there is nobody to do it */
                continue;
            check_checkpoint(w, 10 * (row * 10 + column), t.cells[0][column], t.cells[row][0], t.cells[row][column]);
            world_end(w); /* each in a world of its own */
            world_make(w);
            assert_int_equal(world_open(w), RESULT_OK);
        }
    assert_true(t.nrows > 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_recipients_transitions_are_those_of_the_table, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_messages_state_is_that_of_the_table, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_checkpoints_transitions_are_those_of_the_table, world_setup, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
