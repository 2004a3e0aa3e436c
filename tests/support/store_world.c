#include "support/store_world.h"

#include "schema.h"

#include <assert.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

static void to_stderr(void *context, enum log_level level, struct slice line)
{
    (void)context, (void)level;
    fwrite(line.ptr, 1, line.len, stderr);
}

void world_make(struct world *w)
{
    *w = (struct world){0};
    if (getenv("POSTERN_TEST_LOG")) /* for whoever looks for the cause of a failure */
        w->log = (struct log){.level = LOG_DEBUG, .sink = to_stderr};
    const char *parent = getenv("TMPDIR");
    snprintf(w->dir, sizeof w->dir, "%.40s/store.XXXXXX", parent ? parent : "/tmp");
    if (!mkdtemp(w->dir) || uv_loop_init(&w->loop) != 0) {
        perror(w->dir);
        abort();
    }
    snprintf(w->path, sizeof w->path, "%s/test.db", w->dir);
    w->config = (struct store_config){.path = w->path, .schema = schema_relay, .log = &w->log};
}

static enum result find_key(void *context, const uint8_t id[static SEAL_SALT], bool is_sealed, uint8_t key[static CRYPTO_KEY], char *why, size_t why_size)
{
    struct world *w = context;
    (void)id;
    w->nasked++;
    w->is_asked_as_sealed = is_sealed;
    memset(key, w->key_first, CRYPTO_KEY);
    snprintf(why, why_size, "the test's key");
    return w->key_result;
}

void world_seal(struct world *w, uint8_t first)
{
    if (crypto_init() != RESULT_OK)
        abort();
    w->seal = (struct store_seal){.is_wanted = true, .find_key = find_key, .context = w};
    w->config.seal = &w->seal;
    w->key_first = first;
}

enum result world_open(struct world *w)
{
    enum result result = store_open(&w->store, &w->config, w->why, sizeof w->why);
    if (result == RESULT_OK)
        result = store_client_open(&w->client, w->store, &w->loop);
    return result;
}

void world_add_account(const struct world *w, const char *name)
{
    sqlite3 *db;
    char sql[200];
    snprintf(sql, sizeof sql, "INSERT INTO account SELECT '%s', 1, '$x', x'01', 4096, zeroblob(32), zeroblob(32), 0, 0 WHERE NOT EXISTS (SELECT 1 FROM account WHERE name = '%s')", name, name);
    if (sqlite3_open(w->path, &db) != SQLITE_OK || sqlite3_busy_timeout(db, 10000) != SQLITE_OK || sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK) {
        fprintf(stderr, "%s: %s\n", name, sqlite3_errmsg(db));
        abort();
    }
    sqlite3_close(db);
}

static bool has_octets(const char *path, struct slice canary)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return false;
    fseek(file, 0, SEEK_END);
    size_t len = (size_t)ftell(file);
    rewind(file);
    char *octets = malloc(len + 1);
    bool is_there = octets && fread(octets, 1, len, file) == len && memmem(octets, len, canary.ptr, canary.len);
    free(octets);
    fclose(file);
    return is_there;
}

bool world_has_on_disk(const struct world *w, const char *canary)
{
    bool is_there = false;
    DIR *dir = opendir(w->dir);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        char path[sizeof w->dir + sizeof e->d_name + 1];
        snprintf(path, sizeof path, "%s/%s", w->dir, e->d_name);
        is_there = is_there || (e->d_name[0] != '.' && has_octets(path, slice_from_cstr(canary)));
    }
    if (dir)
        closedir(dir);
    return is_there;
}

static void on_closed(void *context)
{
    *(bool *)context = true;
}

void world_close(struct world *w)
{
    bool is_closed = !w->client;
    if (w->client)
        store_client_close(w->client, on_closed, &is_closed);
    w->client = NULL;
    world_wait(w, &is_closed);
    store_close(&w->store);
}

void world_end(struct world *w)
{
    world_close(w);
    if (uv_loop_close(&w->loop) != 0)
        abort();
    DIR *dir = opendir(w->dir);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        char path[sizeof w->dir + sizeof e->d_name + 1];
        snprintf(path, sizeof path, "%s/%s", w->dir, e->d_name);
        if (e->d_name[0] != '.')
            unlink(path);
    }
    if (dir)
        closedir(dir);
    rmdir(w->dir);
}

void world_wait(struct world *w, const bool *flag)
{
    while (!*flag)
        if (uv_run(&w->loop, UV_RUN_ONCE) == 0 && !*flag) {
            fputs("the loop ended before the answer came\n", stderr);
            abort();
        }
}

void world_on_done(void *context, enum result result)
{
    struct world_done *d = context;
    assert(!d->is_done);
    *d = (struct world_done){.is_done = true, .result = result};
}

enum result world_wait_done(struct world *w, struct world_done *d)
{
    world_wait(w, &d->is_done);
    return d->result;
}

void world_fill(uint64_t id, char *out, size_t len)
{
    for (size_t i = 0; i < len; i++)
        out[i] = (char)('!' + (id * 31 + i / 7 * 13 + i) % 90);
}

enum { RCPT_MAX = 200 };

struct put_texts {
    char addresses[RCPT_MAX][40], hops[RCPT_MAX][16];
    struct envelope_recipient recipients[RCPT_MAX];
    struct slice hop_slices[RCPT_MAX];
};

static void write_texts(struct put_texts *t, size_t nrcpt, size_t nhops)
{
    assert(nrcpt <= RCPT_MAX);
    for (size_t i = 0; i < nrcpt; i++) {
        snprintf(t->hops[i], sizeof t->hops[i], "hop%zu", nhops ? i % nhops : 0);
        snprintf(t->addresses[i], sizeof t->addresses[i], "r%zu@%s.example", i, t->hops[i]);
        t->recipients[i] = (struct envelope_recipient){
            .address = slice_from_cstr(t->addresses[i]), .notify = DSN_NOTIFY_FAILURE, .orcpt = SLICE("rfc822;original@example")};
        t->hop_slices[i] = slice_from_cstr(t->hops[i]);
    }
}

static void on_drain(void *context)
{
    *(bool *)context = true;
}

static enum result feed(struct world *w, struct store_intake *intake, struct slice body, bool *can_go_on)
{
    while (body.len > 0) {
        *can_go_on = false;
        enum result result = store_intake_append(intake, slice_take(body, 20000));
        body = slice_skip(body, 20000);
        if (result == RESULT_BUSY)
            world_wait(w, can_go_on);
        else if (result != RESULT_OK)
            return result;
    }
    return RESULT_OK;
}

enum result world_put(struct world *w, uint64_t id, struct slice body, size_t nrcpt, size_t nhops)
{
    bool can_go_on;
    struct put_texts texts;
    struct store_intake *intake = store_intake_new(w->client, id, on_drain, &can_go_on);
    if (!intake)
        return RESULT_MEMORY;
    enum result result = feed(w, intake, body, &can_go_on);
    if (result != RESULT_OK) {
        store_intake_abort(&intake);
        return result;
    }
    write_texts(&texts, nrcpt, nhops);
    struct store_message message = {
        .account = SLICE("alice"),
        .envelope = {.sender = SLICE("alice@example.org"),
                     .body = MAIL_BODY_8BITMIME,
                     .is_smtputf8 = true,
                     .ret = DSN_RET_HDRS,
                     .envid = SLICE("QQ314159"),
                     .recipients = texts.recipients,
                     .nrcpt = nrcpt},
        .has_8bit = true,
        .received_at_ms = (int64_t)id * 10,
        .expires_at_ms = (int64_t)id * 10 + 1000,
        .header_octets = 17,
    };
    struct world_done d = {0};
    store_intake_commit(&intake, &message, nhops ? texts.hop_slices : NULL, (int64_t)id * 10 + 5, world_on_done, &d);
    memset(&texts, 'x', sizeof texts); /* invariant 5 */
    return world_wait_done(w, &d);
}

struct load_wait {
    bool is_done;
    enum result result;
    struct store_job *job;
};

static void on_job(void *context, enum result result, struct store_job *job)
{
    *(struct load_wait *)context = (struct load_wait){true, result, job};
}

enum result world_load(struct world *w, uint64_t id, struct slice hop, struct store_job **job)
{
    struct load_wait wait = {0};
    store_job_load(w->client, id, hop, on_job, &wait);
    world_wait(w, &wait.is_done);
    *job = wait.job;
    return wait.result;
}

enum result world_finish(struct world *w, uint64_t id, uint32_t seq, enum store_state state, const char *reply, bool keep_body)
{
    struct world_done d = {0};
    struct store_outcome outcome = {.seq = seq, .state = state, .next_attempt_ms = 777, .counts = true, .reply = slice_from_cstr(reply), .host = SLICE("mx.example")};
    store_attempt_finish(w->client, id, &outcome, 1, (int64_t)id * 10 + 1, NULL, keep_body, world_on_done, &d);
    return world_wait_done(w, &d);
}

struct body_wait {
    bool is_done;
    enum result result;
    char *octets;
    size_t len;
};

static void on_chunk(void *context, enum result result, struct slice octets)
{
    struct body_wait *b = context;
    b->is_done = true;
    b->result = result;
    if (result != RESULT_OK)
        return;
    char *longer = realloc(b->octets, b->len + octets.len + 1);
    if (!longer) { /* a test without memory (oom.h) */
        b->result = RESULT_MEMORY;
        return;
    }
    b->octets = longer;
    if (octets.len > 0)
        memcpy(b->octets + b->len, octets.ptr, octets.len);
    b->len += octets.len;
}

struct slice world_body(struct world *w, uint64_t id)
{
    struct body_wait b = {0};
    for (uint32_t seq = 0; b.result == RESULT_OK; seq++) {
        b.is_done = false;
        store_body_read(w->client, id, seq, on_chunk, &b);
        world_wait(w, &b.is_done);
    }
    if (b.result == RESULT_NOT_FOUND)
        return slice_of(b.octets, b.len);
    free(b.octets);
    return slice_of(NULL, SIZE_MAX);
}

struct count_wait {
    bool is_done;
    enum result result;
    struct store_counts *out;
};

static void on_count(void *context, enum result result, const struct store_counts *counts)
{
    struct count_wait *wait = context;
    wait->is_done = true;
    wait->result = result;
    *wait->out = *counts;
}

enum result world_count(struct world *w, struct store_counts *out)
{
    struct count_wait wait = {.out = out};
    store_count(w->client, on_count, &wait);
    world_wait(w, &wait.is_done);
    return wait.result;
}

enum result world_remove(struct world *w, uint64_t id)
{
    struct world_done d = {0};
    store_message_remove(w->client, id, world_on_done, &d);
    return world_wait_done(w, &d);
}

struct state_wait {
    bool is_done;
    const char *state;
};

static void on_state(void *context, enum result result, const struct store_listing *rows, size_t n, bool is_last)
{
    struct state_wait *wait = context;
    wait->state = result == RESULT_OK && n == 1 ? rows[0].state : "none";
    wait->is_done = is_last;
}

const char *world_state(struct world *w, uint64_t id)
{
    struct state_wait wait = {0};
    store_message_get(w->client, id, on_state, &wait);
    world_wait(w, &wait.is_done);
    return wait.state;
}
