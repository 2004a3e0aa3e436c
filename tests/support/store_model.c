#include "support/store_model.h"

#include "support/random.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ID_FIRST = 1000, ID_OWN = 1000000, PIECE = 20000, HEADER = 10, SIZE_MOST = 400000 };

struct load {
    struct world *w;
    struct model *m;
    uint32_t left, nrunning;
    bool is_over;
    char body[SIZE_MOST];
};

struct flow {
    struct load *load;
    uint32_t which;
    struct store_intake *intake;
    size_t sent;
    bool has_paused, is_pausing;
};

static struct model_message *message_of(const struct flow *f)
{
    return &f->load->m->messages[f->which];
}

static void begin(struct flow *f);

static uint8_t step_of(struct flow *f, enum result result)
{
    f->load->m->nfailed += result != RESULT_OK;
    return result == RESULT_OK ? STEP_DONE : STEP_FAILED;
}

static void on_removed(void *context, enum result result)
{
    struct flow *f = context;
    message_of(f)->remove = step_of(f, result);
    begin(f);
}

static void remove_it(struct flow *f)
{
    message_of(f)->remove = STEP_ASKED;
    store_message_remove(f->load->w->client, ID_FIRST + f->which, on_removed, f);
}

static void on_finished(void *context, enum result result)
{
    struct flow *f = context;
    message_of(f)->finish = step_of(f, result);
    if (result == RESULT_OK && random_draw(&f->load->m->seed) % 5 == 0)
        remove_it(f);
    else
        begin(f);
}

static void finish_it(struct flow *f, bool bounces)
{
    struct envelope_recipient to = {.address = SLICE("alice@example.org")};
    struct store_own_message own = {.message = {.id = ID_OWN + f->which, .envelope = {.recipients = &to, .nrcpt = 1}, .is_dsn = true},
                                    .body = slice_of(f->load->body, 70000)};
    struct store_outcome outcome = {.state = bounces ? STORE_BOUNCED : STORE_DELIVERED, .reply = SLICE("said so"), .host = SLICE("mx.example")};
    message_of(f)->bounces = bounces;
    message_of(f)->finish = STEP_ASKED;
    world_fill(own.message.id, f->load->body, own.body.len);
    store_attempt_finish(f->load->w->client, ID_FIRST + f->which, &outcome, 1, 99, bounces ? &own : NULL, false, on_finished, f);
}

static void on_put(void *context, enum result result)
{
    struct flow *f = context;
    message_of(f)->put = step_of(f, result);
    uint64_t next = random_draw(&f->load->m->seed) % 10;
    if (result != RESULT_OK || next < 4)
        begin(f);
    else if (next == 4)
        remove_it(f);
    else
        finish_it(f, next == 5);
}

static void commit(struct flow *f)
{
    struct envelope_recipient to = {.address = SLICE("bob@example.org")};
    struct store_message message = {.envelope = {.sender = SLICE("alice@example.org"), .recipients = &to, .nrcpt = 1}};
    store_intake_commit(&f->intake, &message, NULL, 0, on_put, f);
}

/* ---- names ---- */

static const struct envelope_recipient TO = {.address = SLICE("bob@example.org")};

/* text: where the name's lies, TRANSID_MAX octets. */
enum { TRANSID_MAX = 16 };
static struct store_naming naming_of(uint32_t which, char *text, uint32_t generation)
{
    snprintf(text, TRANSID_MAX, "t%u", which);
    return (struct store_naming){
        .claim = {.account = SLICE("bob"), .helo = SLICE("laptop"), .transid = slice_from_cstr(text), .digest = {1}},
        .generation = generation,
        .reply = SLICE("250 ok"),
        .recipients = &TO,
        .nrcpt = 1,
    };
}

static bool give_name(struct flow *f)
{
    char text[TRANSID_MAX];
    struct store_naming naming = naming_of(f->which, text, 0);
    if (store_intake_name(f->intake, &naming) != RESULT_OK)
        return false;
    store_intake_note(f->intake, &(struct store_half){.header_came = HEADER, .header_stored = HEADER});
    return true;
}

static void give_up(struct flow *f)
{
    message_of(f)->put = STEP_FAILED;
    f->load->m->nfailed++;
    store_intake_abort(&f->intake);
    f->is_pausing = false;
    begin(f);
}

static void push(void *context);

/* The session before may still have it, and finds that it has not. */
static void on_resumed(void *context, enum result result, struct store_intake *intake)
{
    struct flow *f = context;
    if (result != RESULT_OK) {
        give_up(f);
        return;
    }
    store_intake_suspend(&f->intake);
    f->intake = intake;
    f->is_pausing = false;
    f->load->m->nresumed++;
    push(f);
}

static void on_claimed(void *context, enum result result, const struct store_checkpoint *c)
{
    struct flow *f = context;
    char text[TRANSID_MAX];
    if (result != RESULT_OK) {
        give_up(f);
        return;
    }
    struct store_naming naming = naming_of(f->which, text, c->generation);
    f->sent = (size_t)c->came_octets;
    message_of(f)->held = (uint32_t)c->came_octets;
    store_intake_resume(f->load->w->client, c, &naming, push, f, on_resumed, f);
}

static void pause_it(struct flow *f)
{
    char text[TRANSID_MAX];
    struct store_naming naming = naming_of(f->which, text, 0);
    f->has_paused = f->is_pausing = true;
    if (random_draw(&f->load->m->seed) % 2)
        store_intake_suspend(&f->intake);
    else
        store_intake_sync(f->intake);
    store_checkpoint_claim(f->load->w->client, &naming.claim, on_claimed, f);
}

static bool is_time_to_pause(const struct flow *f)
{
    const struct model_message *m = &f->load->m->messages[f->which];
    return m->has_name && !f->has_paused && m->size > STORE_CHUNK && f->sent >= m->size / 2;
}

static void push(void *context)
{
    struct flow *f = context;
    size_t size = message_of(f)->size;
    if (f->is_pausing)
        return;
    world_fill(ID_FIRST + f->which, f->load->body, size);
    while (f->sent < size) {
        size_t len = size - f->sent < PIECE ? size - f->sent : (size_t)PIECE;
        enum result result = store_intake_append(f->intake, slice_of(f->load->body + f->sent, len));
        f->sent += len;
        if (result != RESULT_OK && result != RESULT_BUSY) {
            give_up(f);
            return;
        }
        if (is_time_to_pause(f)) {
            pause_it(f);
            return;
        }
        if (result == RESULT_BUSY && f->sent < size)
            return;
    }
    commit(f);
}

static void begin(struct flow *f)
{
    static const uint32_t SIZES[] = {0, 100, 4096, 4096, 70000, 200000, SIZE_MOST};
    struct load *load = f->load;
    if (load->left == 0) {
        load->is_over = --load->nrunning == 0;
        return;
    }
    load->left--;
    f->which = load->m->count++;
    f->sent = 0;
    f->has_paused = f->is_pausing = false;
    uint64_t random = random_draw(&load->m->seed);
    *message_of(f) = (struct model_message){.size = SIZES[random % 7], .put = STEP_ASKED, .has_name = random / 7 % 3 == 0};
    f->intake = store_intake_new(load->w->client, ID_FIRST + f->which, push, f);
    if (message_of(f)->has_name && !give_name(f))
        give_up(f);
    else
        push(f);
}

static void on_account(void *context, enum result result)
{
    (void)context, (void)result; /* it may be there already */
}

/* Whose the names are: ahead of them in the writer's queue. */
static void add_account(struct world *w)
{
    struct store_account bob = {.name = SLICE("bob"), .password_hash = SLICE("$x"), .scram = {.salt = {1}, .salt_len = 1, .iterations = 4096}};
    store_account_put(w->client, &bob, true, on_account, NULL);
}

void model_run(struct world *w, struct model *m, uint32_t n, uint32_t in_flight)
{
    struct load *load = calloc(1, sizeof *load);
    struct flow *flows = calloc(in_flight, sizeof *flows);
    *load = (struct load){.w = w, .m = m, .left = n, .nrunning = in_flight};
    add_account(w);
    for (uint32_t i = 0; i < in_flight; i++) {
        flows[i].load = load;
        begin(&flows[i]);
    }
    world_wait(w, &load->is_over);
    free(flows);
    free(load);
}

/* ---- afterwards ---- */

static char words[256];

static const char *wrong(uint64_t id, const char *what)
{
    snprintf(words, sizeof words, "message %llu: %s", (unsigned long long)id, what);
    return words;
}

static bool has_body(struct world *w, uint64_t id, size_t size)
{
    char *wanted = malloc(size + 1);
    world_fill(id, wanted, size);
    struct slice got = world_body(w, id);
    bool is_right = slice_equal(got, slice_of(wanted, size));
    free((char *)got.ptr);
    free(wanted);
    return is_right;
}

/* May it be that the step took effect? Must it? */
static bool may(uint8_t step, bool is_alive)
{
    return step == STEP_DONE || (step == STEP_ASKED && !is_alive) || (step == STEP_FAILED && !is_alive);
}

static const char *check_own(struct world *w, const struct model_message *m, uint32_t i, const char *state)
{
    uint64_t id = ID_OWN + i;
    bool is_there = strcmp(world_state(w, id), "none") != 0;
    if (strcmp(state, "bounced") == 0 && !is_there)
        return wrong(id, "a bounce without the message about it");
    if (strcmp(state, "queued") == 0 && is_there)
        return wrong(id, "a message about a bounce that was not recorded");
    if (is_there && (!m->bounces || m->finish == STEP_NEVER))
        return wrong(id, "from nowhere");
    return is_there && !has_body(w, id, 70000) ? wrong(id, "our own message is not whole") : NULL;
}

struct name_wait {
    bool is_done, is_over;
    enum result result;
    uint64_t came;
};

static void on_name(void *context, enum result result, const struct store_checkpoint *c)
{
    *(struct name_wait *)context = (struct name_wait){true, c && c->reply.len > 0, result, c ? c->came_octets : 0};
}

static struct name_wait look_up(struct world *w, uint32_t which)
{
    struct name_wait name = {0};
    char text[TRANSID_MAX];
    struct store_naming naming = naming_of(which, text, 0);
    store_checkpoint_claim(w->client, &naming.claim, on_name, &name);
    world_wait(w, &name.is_done);
    return name;
}

/* A committed name answers for ever; a half holds what was said to be held; never both, never neither. */
static const char *check_name(struct world *w, const struct model_message *m, uint32_t i, bool is_there, bool is_alive)
{
    uint64_t id = ID_FIRST + i;
    struct name_wait name = look_up(w, i);
    if (name.result != RESULT_OK && name.result != RESULT_NOT_FOUND)
        return wrong(id, "its name can't be asked for");
    if (!name.is_over && (is_there || m->put == STEP_DONE))
        return wrong(id, "it was taken, and its name does not know");
    if (name.is_over && (!may(m->put, is_alive) || (!is_there && !may(m->remove, is_alive))))
        return wrong(id, "its name is over, and nothing was taken");
    if (name.is_over)
        return name.came == m->size ? NULL : wrong(id, "its name has another size");
    if (m->put != STEP_FAILED && name.came < m->held)
        return wrong(id, "its half has less than it promised");
    if (name.result == RESULT_OK && (name.came > m->size || !has_body(w, id, (size_t)name.came)))
        return wrong(id, "its half is not whole");
    return NULL;
}

static const char *check_one(struct world *w, const struct model_message *m, uint32_t i, bool is_alive)
{
    uint64_t id = ID_FIRST + i;
    const char *state = world_state(w, id);
    bool is_there = strcmp(state, "none") != 0, is_queued = strcmp(state, "queued") == 0;
    const char *final = m->bounces ? "bounced" : "delivered";
    if (!is_there && m->put == STEP_DONE && !may(m->remove, is_alive))
        return wrong(id, "acknowledged and lost");
    if (is_there && !may(m->put, is_alive))
        return wrong(id, "refused and there");
    if (is_there && m->remove == STEP_DONE)
        return wrong(id, "removed and there");
    if (is_queued && m->finish == STEP_DONE)
        return wrong(id, "its outcome was acknowledged and lost");
    if (is_there && !is_queued && (!may(m->finish, is_alive) || strcmp(state, final) != 0))
        return wrong(id, "an outcome from nowhere");
    if (is_queued && !has_body(w, id, m->size))
        return wrong(id, "its body is not whole");
    const char *problem = m->has_name ? check_name(w, m, i, is_there, is_alive) : NULL;
    return problem ? problem : check_own(w, m, i, state);
}

const char *model_check(struct world *w, const struct model *m, bool is_alive)
{
    const char *problem = NULL;
    for (uint32_t i = 0; i < m->count && !problem; i++)
        problem = check_one(w, &m->messages[i], i, is_alive);
    return problem;
}

static const char *check_query(sqlite3 *db, const char *sql, const char *wanted)
{
    sqlite3_stmt *s = NULL;
    const char *problem = "a query failed";
    if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW) {
        const char *got = (const char *)sqlite3_column_text(s, 0);
        problem = got && strcmp(got, wanted) == 0 ? NULL : words;
        snprintf(words, sizeof words, "%s: %.80s", sql, got ? got : "nothing");
    }
    sqlite3_finalize(s);
    return problem;
}

const char *model_check_rows(const struct world *w)
{
    char octets[400], halves[400];
    static const char OCTETS[] =
        "SELECT count(*) FROM message WHERE EXISTS (SELECT 1 FROM recipient WHERE message = id AND state IN (0, 1, 5)) AND size <> (SELECT "
        "coalesce(sum(length(octets) - %d), 0) FROM (SELECT message, octets FROM body UNION ALL SELECT message, octets FROM chunk) WHERE message = id)";
    static const char HALVES[] = "SELECT count(*) FROM checkpoint c WHERE reply = '' AND octets <> (SELECT coalesce(sum(length(octets) - %d), 0) FROM (SELECT message, "
                                 "octets FROM body UNION ALL SELECT message, octets FROM chunk) p WHERE p.message = c.message)";
    const char *const RULES[] = {
        octets,
        "SELECT count(*) FROM message WHERE NOT EXISTS (SELECT 1 FROM recipient WHERE message = id AND seq = 0)",
        "SELECT count(*) FROM recipient WHERE message NOT IN (SELECT id FROM message)",
        "SELECT count(*) FROM body WHERE message NOT IN (SELECT id FROM message UNION ALL SELECT message FROM checkpoint WHERE reply = '')",
        "SELECT count(*) FROM chunk WHERE message NOT IN (SELECT id FROM message UNION ALL SELECT message FROM checkpoint WHERE reply = '')",
        "SELECT count(*) FROM checkpoint WHERE reply = '' AND message IN (SELECT id FROM message UNION ALL SELECT message FROM intake)",
        halves,
        "SELECT count(*) FROM checkpoint WHERE reply = '' AND NOT EXISTS (SELECT 1 FROM checkpoint_recipient r WHERE r.message = checkpoint.message AND seq = 0)",
        "SELECT count(*) FROM checkpoint_recipient WHERE message NOT IN (SELECT message FROM checkpoint)",
        "SELECT count(*) FROM checkpoint_recipient WHERE message IN (SELECT message FROM recipient)",
        "SELECT count(*) FROM intake", /* whoever opened it has swept */
    };
    sqlite3 *db;
    int overhead = w->config.seal && w->config.seal->is_wanted ? (int)SEAL_OVERHEAD : 0;
    snprintf(octets, sizeof octets, OCTETS, overhead);
    snprintf(halves, sizeof halves, HALVES, overhead);
    if (sqlite3_open(w->path, &db) != SQLITE_OK)
        return "the database cannot be opened";
    const char *problem = check_query(db, "PRAGMA integrity_check", "ok");
    for (size_t i = 0; i < sizeof RULES / sizeof *RULES && !problem; i++)
        problem = check_query(db, RULES[i], "0");
    sqlite3_close(db);
    return problem;
}
