/* Sessions name transactions, send, pause, lose their ways and come back, kill the program, in any order: a name is in one state, a half holds what was committed, what is over
 * stays so, and of each name there is one message, whole. POSTERN_SEEDS: how many sequences (default 3). */
#include "support/random.h"
#include "support/store_names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NAMES = 3, SESSIONS = 3, STEPS = 150, COPY_MAX = 16 * 1024 * 1024 };

/* FRESH: was told that nobody has it, and has nothing on the disk: of several such the first to write has it. */
enum hold { FRESH, OWNS, LOST };

struct session {
    struct store_intake *intake;
    size_t name, pos; /* pos: stored octets that were given to it */
    uint64_t message;
    enum hold hold;
};

/* What must be on the disk under a name. */
struct name {
    bool is_over;
    uint64_t message; /* of the half or the message; 0: none */
    size_t octets;
};

struct run {
    struct world w;
    uint64_t seed, next_id;
    struct session sessions[SESSIONS];
    struct name names[NAMES];
};

static uint64_t pick(struct run *run, uint64_t n)
{
    return random_draw(&run->seed) % n;
}

static struct store_claim claim_of(size_t name)
{
    static const char *const TRANSIDS[NAMES] = {"a", "b", "c"};
    return names_plain(TRANSIDS[name]);
}

/* Behind the last line; 0 before the header is whole. */
static size_t end_of(size_t octets)
{
    return octets < NAMES_HEADER + NAMES_ADDED ? 0 : NAMES_HEADER + NAMES_ADDED + (octets - NAMES_HEADER - NAMES_ADDED) / 50 * 50;
}

static void lose(struct run *run, size_t name)
{
    for (size_t i = 0; i < SESSIONS; i++)
        if (run->sessions[i].name == name && run->sessions[i].hold == OWNS)
            run->sessions[i].hold = LOST;
}

/* What was sent is on the disk as far as whole chunks go, or all of it. */
static void written(struct run *run, struct session *s, bool is_all)
{
    struct name *name = &run->names[s->name];
    size_t octets = is_all ? s->pos : (s->pos > 0 ? (s->pos - 1) / STORE_CHUNK * STORE_CHUNK : 0);
    if (octets > 0 && s->hold == FRESH)
        s->hold = name->message == 0 ? OWNS : LOST;
    if (octets == 0 || s->hold != OWNS)
        return;
    name->message = s->message;
    if (octets > name->octets)
        name->octets = octets;
}

static void check_claim(const struct run *run, size_t which, const struct names_claimed *c, bool is_whole)
{
    const struct name *name = &run->names[which];
    size_t end = name->is_over ? name->octets : is_whole ? 0 : end_of(name->octets);
    bool is_known = name->message != 0 && end > 0;
    assert_int_equal(c->result, is_known ? RESULT_OK : RESULT_NOT_FOUND);
    if (!is_known)
        return;
    assert_int_equal(c->message, name->message);
    assert_int_equal(c->came_octets, names_came(end));
    assert_string_equal(c->reply, name->is_over ? "250 2.0.0 Ok: queued as X" : "");
}

/* ---- steps ---- */

static void drop(struct run *run, struct session *s)
{
    (void)run;
    store_intake_suspend(&s->intake);
    s->hold = LOST;
}

static void begin(struct run *run, struct session *s, size_t which, const struct names_claimed *c)
{
    *s = (struct session){.name = which};
    if (c->result == RESULT_OK) {
        struct names_resumed r = names_resume(&run->w, c, claim_of(which));
        assert_int_equal(r.result, RESULT_OK);
        s->intake = r.intake;
        s->hold = OWNS;
        s->message = c->message;
        s->pos = run->names[which].octets = end_of(run->names[which].octets); /* the rest is cut off */
    } else {
        s->message = run->next_id++;
        s->intake = names_begin(&run->w, s->message, names_naming(claim_of(which), 0));
        names_note(s->intake, true);
        run->names[which] = (struct name){0};
    }
}

static void step_claim(struct run *run, struct session *s)
{
    size_t which = pick(run, NAMES);
    struct store_claim by = claim_of(which);
    by.is_whole = pick(run, 4) == 0;
    if (s->intake) {
        written(run, s, true);
        drop(run, s);
        names_settle(&run->w);
    }
    struct names_claimed c = names_claim(&run->w, by);
    check_claim(run, which, &c, by.is_whole);
    lose(run, which);
    if (!run->names[which].is_over)
        begin(run, s, which, &c);
}

static void step_append(struct run *run, struct session *s)
{
    size_t to = s->pos + 1 + pick(run, 90000);
    if (to > NAMES_BODY)
        to = NAMES_BODY;
    (void)!store_intake_append(s->intake, slice_of(names_octets() + s->pos, to - s->pos));
    s->pos = to;
    names_settle(&run->w);
    written(run, s, false);
}

static void step_sync(struct run *run, struct session *s)
{
    store_intake_sync(s->intake);
    names_settle(&run->w);
    written(run, s, true);
}

static void step_suspend(struct run *run, struct session *s)
{
    written(run, s, true);
    drop(run, s);
    names_settle(&run->w);
}

static void step_abort(struct run *run, struct session *s)
{
    if (s->hold == OWNS)
        run->names[s->name] = (struct name){0};
    store_intake_abort(&s->intake);
    s->hold = LOST;
    names_settle(&run->w);
}

/* The rest, and the end. Who lost it is refused, and so is who comes second. */
static void step_commit(struct run *run, struct session *s)
{
    struct name *name = &run->names[s->name];
    (void)!store_intake_append(s->intake, slice_of(names_octets() + s->pos, NAMES_BODY - s->pos));
    bool may = s->hold == OWNS || (s->hold == FRESH && name->message == 0);
    enum result result = names_commit(&run->w, s->intake);
    s->intake = NULL;
    s->hold = LOST;
    if (may && result != RESULT_OK)
        fail_msg("who has it is told %s", result_name(result));
    if (!may && result != RESULT_CANCELLED && result != RESULT_EXISTS)
        fail_msg("who lost it is told %s", result_name(result));
    if (result == RESULT_OK)
        *name = (struct name){.is_over = true, .message = s->message, .octets = NAMES_BODY};
    names_settle(&run->w);
}

static void copy(const char *from, const char *to)
{
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    static char octets[COPY_MAX];
    size_t n = in ? fread(octets, 1, sizeof octets, in) : 0;
    assert_true(in && out && n < sizeof octets && fwrite(octets, 1, n, out) == n);
    fclose(in);
    assert_int_equal(fclose(out), 0);
}

/* The files as they are at this moment are what the next life finds: nobody has closed anything. */
static void step_kill(struct run *run, struct session *unused)
{
    char log[128], kept[128], kept_log[128];
    (void)unused;
    names_settle(&run->w);
    snprintf(log, sizeof log, "%s-wal", run->w.path);
    snprintf(kept, sizeof kept, "%s.kept", run->w.path);
    snprintf(kept_log, sizeof kept_log, "%s.kept-wal", run->w.path);
    copy(run->w.path, kept);
    copy(log, kept_log);
    for (size_t i = 0; i < SESSIONS; i++) {
        store_intake_suspend(&run->sessions[i].intake);
        run->sessions[i] = (struct session){0};
    }
    world_close(&run->w);
    copy(kept, run->w.path);
    copy(kept_log, log);
    assert_int_equal(world_open(&run->w), RESULT_OK);
}

/* ---- what should be seen ---- */

static void check(struct run *run)
{
    size_t nover = 0, nknown = 0;
    for (size_t i = 0; i < NAMES; i++) {
        const struct name *name = &run->names[i];
        char sql[160];
        nover += name->is_over;
        nknown += name->message != 0;
        snprintf(sql, sizeof sql, "SELECT coalesce(sum(octets), 0) FROM checkpoint WHERE message = %d AND (reply <> '') = %d", (int)name->message, name->is_over);
        assert_int_equal(world_number(&run->w, sql), name->octets);
        if (name->message)
            names_assert_body(&run->w, name->message, name->octets);
    }
    assert_int_equal(world_number(&run->w, "SELECT count(*) FROM message"), nover);
    assert_int_equal(world_number(&run->w, "SELECT count(*) FROM checkpoint"), nknown);
    assert_int_equal(world_number(&run->w, "SELECT count(DISTINCT message) FROM (SELECT message FROM body UNION ALL SELECT message FROM chunk)"), nknown);
    assert_int_equal(world_number(&run->w, "SELECT count(*) FROM checkpoint_recipient"), 2 * (nknown - nover));
}

/* So that there is something to do again. Each time is later than all before it, those included at which names were touched and then stayed. */
static void forget_one(struct run *run)
{
    size_t which = pick(run, NAMES);
    struct name *name = &run->names[which];
    if (!name->is_over)
        return;
    struct world_done d = {0};
    uint64_t message = name->message;
    int64_t served_ms = (int64_t)run->next_id++ + 2000;
    for (size_t i = 0; i < NAMES; i++) { /* touched: they stay */
        struct store_claim by = claim_of(i);
        by.served_ms = served_ms;
        if (i != which && run->names[i].is_over)
            assert_int_equal(names_claim(&run->w, by).result, RESULT_OK);
        else if (i != which && run->names[i].message)
            return;
    }
    store_checkpoint_sweep(run->w.client, served_ms, world_on_done, &d);
    assert_int_equal(world_wait_done(&run->w, &d), RESULT_OK);
    assert_int_equal(world_remove(&run->w, message), RESULT_OK);
    *name = (struct name){0};
    lose(run, which);
}

static void one_sequence(uint64_t seed)
{
    static void (*const STEP[])(struct run *, struct session *) = {step_claim, step_claim, step_append, step_append, step_append, step_append,
                                                                   step_sync,  step_suspend, step_abort,  step_commit, step_kill};
    static struct run run;
    run = (struct run){.seed = seed, .next_id = 1};
    world_make(&run.w);
    assert_int_equal(world_open(&run.w), RESULT_OK);
    for (int i = 0; i < STEPS; i++) {
        uint64_t which = pick(&run, sizeof STEP / sizeof *STEP);
        struct session *s = &run.sessions[pick(&run, SESSIONS)];
        if (getenv("POSTERN_TEST_LOG"))
            fprintf(stderr, "seed %d step %d: kind %d, session %d of name %d at %d\n", (int)seed, i, (int)which, (int)(s - run.sessions), (int)s->name, (int)s->pos);
        if (s->intake || STEP[which] == step_claim || STEP[which] == step_kill)
            STEP[which](&run, s);
        check(&run);
        forget_one(&run);
    }
    for (size_t i = 0; i < SESSIONS; i++)
        store_intake_suspend(&run.sessions[i].intake);
    world_end(&run.w);
}

static void names_are_in_one_state_whatever_happens(void **state)
{
    (void)state;
    for (uint64_t seed = 1, n = world_seeds(3); seed <= n; seed++)
        one_sequence(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(names_are_in_one_state_whatever_happens)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
