/* Mail at rest, encrypted: nothing of it in any file, and all of it there. Numbers are those of the invariants in store/sealing.c. */
#include "schema.h"
#include "store/engine.h"
#include "support/store_names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sqlite3.h>

#define LEN(array) (sizeof(array) / sizeof *(array))
#define LARGE (3 * (size_t)STORE_CHUNK + 1000)

/* Of the body; of sender, envid, address and orcpt as world_put gives them; of reply and host as world_finish does. */
static const char *const CANARIES[] = {"canary-in-the-coal-mine", "alice@example.org", "QQ314159", "@hop", "original@example", "mailbox-is-full", "mx.example"};
#define REPLY "452 4.2.2 mailbox-is-full"

static char *body_of(uint64_t id, size_t len)
{
    char *body = malloc(len + 1);
    assert_non_null(body);
    world_fill(id, body, len);
    for (size_t at = 10; at + 100 < len; at += 5000)
        memcpy(body + at, CANARIES[0], strlen(CANARIES[0]));
    return body;
}

static size_t size_of(uint64_t id)
{
    return id % 3 == 0 ? LARGE : 500 + id;
}

static void put(struct world *w, uint64_t id)
{
    char *body = body_of(id, size_of(id));
    assert_int_equal(world_put(w, id, slice_of(body, size_of(id)), 2, 1), RESULT_OK);
    free(body);
}

static void assert_nothing_on_disk(const struct world *w)
{
    for (size_t i = 0; i < LEN(CANARIES); i++)
        if (world_has_on_disk(w, CANARIES[i]))
            fail_msg("%s lies on the disk", CANARIES[i]);
}

static void assert_all_on_disk(const struct world *w)
{
    for (size_t i = 0; i < LEN(CANARIES); i++)
        if (!world_has_on_disk(w, CANARIES[i]))
            fail_msg("%s does not lie on the disk: the test looks for the wrong thing", CANARIES[i]);
}

static void assert_body(struct world *w, uint64_t id)
{
    char *body = body_of(id, size_of(id));
    struct slice read = world_body(w, id);
    assert_int_equal(read.len, size_of(id));
    assert_memory_equal(read.ptr, body, read.len);
    free((char *)(uintptr_t)read.ptr);
    free(body);
}

static void assert_text(struct slice text, const char *expected)
{
    assert_int_equal(text.len, strlen(expected));
    assert_memory_equal(text.ptr, expected, text.len);
}

static void assert_job(struct world *w, uint64_t id, const char *reply)
{
    struct store_job *job;
    assert_int_equal(world_load(w, id, SLICE("hop0"), &job), RESULT_OK);
    assert_text(job->message.envelope.sender, "alice@example.org");
    assert_text(job->message.envelope.envid, "QQ314159");
    assert_int_equal(job->nrecipients, 2);
    assert_text(job->recipients[1].envelope.address, "r1@hop0.example");
    assert_text(job->recipients[1].envelope.orcpt, "rfc822;original@example");
    assert_text(job->recipients[0].reply, reply);
    assert_text(job->recipients[0].host, reply[0] ? "mx.example" : "");
    assert_text(job->recipients[1].reply, "");
    if (size_of(id) <= STORE_CHUNK)
        assert_int_equal(job->body.len, size_of(id));
    store_job_free(&job);
    assert_body(w, id);
}

/* Messages 1 to 6; the first has a reply, the second is done and its body dropped, the fourth was removed. */
static void fill(struct world *w)
{
    for (uint64_t id = 1; id <= 6; id++)
        put(w, id);
    assert_int_equal(world_finish(w, 1, 0, STORE_QUEUED, REPLY, false), RESULT_OK);
    assert_int_equal(world_finish(w, 2, 0, STORE_DELIVERED, REPLY, false), RESULT_OK);
    assert_int_equal(world_finish(w, 2, 1, STORE_BOUNCED, REPLY, false), RESULT_OK);
    assert_int_equal(world_remove(w, 4), RESULT_OK);
}

static void assert_filled(struct world *w)
{
    assert_job(w, 1, REPLY);
    assert_job(w, 3, "");
    assert_job(w, 5, "");
    assert_job(w, 6, "");
    assert_string_equal(world_state(w, 1), "deferred");
    assert_string_equal(world_state(w, 2), "bounced");
    assert_string_equal(world_state(w, 4), "none");
}

static int setup_sealed(void **state)
{
    if (world_setup_closed(state) != 0)
        return -1;
    world_seal(*state, 7);
    return world_open(*state) == RESULT_OK ? 0 : -1;
}

/* ---- a store that is sealed ------------------------------------------------------------------------------------- */

static void nothing_lies_on_the_disk_and_all_is_there(void **state)
{
    struct world *w = *state;
    assert_true(store_is_sealed(w->store));
    assert_true(w->nasked == 1 && !w->is_asked_as_sealed);
    fill(w);
    assert_nothing_on_disk(w);
    assert_filled(w);
    world_reopen(w);
    assert_true(w->nasked == 2 && w->is_asked_as_sealed);
    assert_filled(w);
    world_close(w);
    assert_nothing_on_disk(w);
}

static void a_body_that_stops_half_way_is_not_on_the_disk(void **state)
{
    struct world *w = *state;
    char *body = body_of(1, LARGE);
    struct store_intake *intake = store_intake_new(w->client, 1, NULL, NULL);
    assert_int_equal(store_intake_append(intake, slice_of(body, LARGE)), RESULT_OK);
    assert_int_equal(world_remove(w, 99), RESULT_NOT_FOUND); /* answered behind the chunks */
    assert_nothing_on_disk(w);
    store_intake_abort(&intake);
    free(body);
}

/* ---- on, off, on again ------------------------------------------------------------------------------------------ */

static void a_database_with_mail_is_sealed_and_unsealed(void **state)
{
    struct world *w = *state;
    fill(w);
    world_close(w);
    assert_all_on_disk(w);
    for (int i = 0; i < 2; i++) {
        world_seal(w, 7);
        assert_int_equal(world_open(w), RESULT_OK);
        assert_nothing_on_disk(w); /* 4 */
        assert_filled(w);
        world_close(w);
        assert_nothing_on_disk(w);
        w->seal.is_wanted = false;
        assert_int_equal(world_open(w), RESULT_OK);
        assert_false(store_is_sealed(w->store));
        assert_filled(w);
        world_close(w);
        assert_all_on_disk(w);
        w->config.seal = NULL;
        assert_int_equal(world_open(w), RESULT_OK);
        assert_filled(w);
        world_close(w);
    }
}

static void off_without_a_seal_asks_for_no_key(void **state)
{
    struct world *w = *state;
    world_seal(w, 7);
    w->seal.is_wanted = false;
    assert_int_equal(world_open(w), RESULT_OK);
    fill(w);
    assert_int_equal(w->nasked, 0);
}

/* The mark of a database whose sealing has begun, in the place of that of one that is sealed. */
static void set_back_to_sealing(const struct world *w)
{
    sqlite3 *db;
    sqlite3_stmt *get, *put;
    char mark[256];
    assert_int_equal(sqlite3_open(w->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT value FROM setting WHERE name = 'seal'", -1, &get, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(get), SQLITE_ROW);
    int len = sqlite3_column_bytes(get, 0);
    assert_in_range(len, 2, sizeof mark);
    memcpy(mark, sqlite3_column_blob(get, 0), (size_t)len);
    sqlite3_finalize(get);
    mark[1] = 1;
    assert_int_equal(sqlite3_prepare_v2(db, "UPDATE setting SET value = ?1 WHERE name = 'seal'", -1, &put, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_bind_blob(put, 1, mark, len, SQLITE_STATIC), SQLITE_OK);
    assert_int_equal(sqlite3_step(put), SQLITE_DONE);
    sqlite3_finalize(put);
    sqlite3_close(db);
}

/* Overwriting what is deleted costs every deletion its pages; it is for the time in which something lies in the clear that must not. */
static void what_follows_is_written_as_usual(void **state)
{
    static const bool WANTED[] = {true, false};
    (void)state;
    for (size_t i = 0; i < LEN(WANTED); i++) {
        struct world w;
        world_make(&w);
        world_seal(&w, 7);
        assert_int_equal(world_open(&w), RESULT_OK);
        world_close(&w);
        set_back_to_sealing(&w);
        w.seal.is_wanted = WANTED[i];
        assert_int_equal(world_open(&w), RESULT_OK);
        assert_int_equal(store_is_sealed(w.store), WANTED[i]);
        assert_int_equal(database_number(&w.store->writer_db, "PRAGMA secure_delete"), 0); /* the writer is at rest */
        assert_int_equal(database_number(&w.store->writer_db, "PRAGMA temp_store"), 2);
        world_end(&w);
    }
}

static void a_large_database_is_sealed_in_bounded_steps(void **state)
{
    struct world *w = *state;
    size_t len = 24 * 1024 * 1024;
    char *body = body_of(9, len), *small = body_of(1, 501);
    assert_int_equal(world_put(w, 9, slice_of(body, len), 2, 1), RESULT_OK);
    for (uint64_t id = 10; id < 1300; id++)
        assert_int_equal(world_put(w, id, slice_of(small, 501), 1, 1), RESULT_OK);
    world_close(w);
    world_seal(w, 7);
    assert_int_equal(world_open(w), RESULT_OK);
    assert_nothing_on_disk(w);
    struct slice read = world_body(w, 9);
    assert_true(read.len == len && memcmp(read.ptr, body, len) == 0);
    free((char *)(uintptr_t)read.ptr);
    free(body);
    free(small);
}

/* ---- digests ---- */

struct put {
    bool is_done;
    enum result result;
    uint64_t earlier;
};

static void on_put(void *context, enum result result, uint64_t earlier)
{
    *(struct put *)context = (struct put){true, result, earlier};
}

/* The message that stands for it already, or 0. */
static uint64_t put_once(struct world *w, uint64_t id, const uint8_t digest[static STORE_DIGEST])
{
    struct put put = {0};
    struct envelope_recipient to = {.address = SLICE("r@x.example")};
    struct store_message message = {.envelope = {.recipients = &to, .nrcpt = 1}, .received_at_ms = 1000};
    memcpy(message.digest, digest, STORE_DIGEST);
    struct store_intake *intake = store_intake_new(w->client, id, NULL, NULL);
    assert_int_equal(store_intake_append(intake, SLICE("x")), RESULT_OK);
    store_intake_commit_once(&intake, &message, NULL, 0, &(struct store_window){0, 2000, 0}, on_put, &put);
    world_wait(w, &put.is_done);
    assert_int_equal(put.result, RESULT_OK);
    return put.earlier;
}

/* The row that says of a body that it is a half has gone: it is not told to be the earlier message, and made a second one. */
static void a_half_that_nobody_knows_is_not_answered_as_the_earlier(void **state)
{
    struct world *w = *state;
    struct put put = {0};
    uint8_t digest[STORE_DIGEST] = {7};
    struct envelope_recipient to = {.address = SLICE("r@x.example")};
    struct store_message message = {.envelope = {.recipients = &to, .nrcpt = 1}, .received_at_ms = 1000, .digest = {7}};
    char *body = body_of(5, LARGE);
    assert_int_equal(put_once(w, 4, digest), 0);
    struct store_intake *intake = store_intake_new(w->client, 5, NULL, NULL);
    assert_int_equal(store_intake_append(intake, slice_of(body, LARGE)), RESULT_OK);
    names_settle(w);
    world_meddle(w, "DELETE FROM intake");
    store_intake_commit_once(&intake, &message, NULL, 0, &(struct store_window){0, 2000, 0}, on_put, &put);
    world_wait(w, &put.is_done);
    assert_int_equal(put.result, RESULT_CORRUPT);
    assert_int_equal(put.earlier, 0);
    assert_string_equal(world_state(w, 5), "none");
    assert_string_equal(world_state(w, 4), "queued");
    free(body);
}

static void a_digest_finds_its_message_and_lies_nowhere(void **state)
{
    struct world *w = *state;
    uint8_t digest[STORE_DIGEST], other[STORE_DIGEST] = {1};
    memset(digest, 'D', sizeof digest);
    assert_true(put_once(w, 5, digest) == 0);
    assert_true(world_has_on_disk(w, "DDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDD"));
    world_seal(w, 7);
    world_reopen(w);
    assert_false(world_has_on_disk(w, "DDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDD"));
    assert_true(put_once(w, 6, digest) == 5);
    assert_true(put_once(w, 6, other) == 0);
    w->seal.is_wanted = false; /* there is no way back from a keyed one */
    world_reopen(w);
    assert_true(put_once(w, 7, digest) == 0);
}

/* ---- keys ------------------------------------------------------------------------------------------------------- */

static void without_its_key_it_does_not_open_and_loses_nothing(void **state)
{
    struct world *w = *state;
    fill(w);
    world_close(w);
    static const struct {
        enum result asked, opened;
        const char *words;
    } cases[] = {{RESULT_NOT_FOUND, RESULT_DENIED, "not lost"}, {RESULT_DENIED, RESULT_DENIED, "not lost"}, {RESULT_CANCELLED, RESULT_CANCELLED, "the test's key"}, {RESULT_IO, RESULT_IO, "the test's key"}};
    for (size_t i = 0; i < LEN(cases); i++) {
        w->key_result = cases[i].asked;
        assert_int_equal(world_open(w), cases[i].opened);
        assert_non_null(strstr(w->why, cases[i].words));
    }
    w->key_result = RESULT_OK;
    w->key_first = 8;
    assert_int_equal(world_open(w), RESULT_DENIED);
    assert_non_null(strstr(w->why, "the test's key"));
    assert_non_null(strstr(w->why, "not lost"));
    w->seal.is_wanted = false; /* nor is it unsealed with another */
    assert_int_equal(world_open(w), RESULT_DENIED);
    w->config.seal = NULL;
    assert_int_equal(world_open(w), RESULT_DENIED);
    assert_non_null(strstr(w->why, "not lost"));
    world_seal(w, 7);
    assert_int_equal(world_open(w), RESULT_OK);
    assert_filled(w);
}

/* 3 */
static void without_a_key_nothing_is_sealed(void **state)
{
    struct world *w = *state;
    fill(w);
    world_close(w);
    world_seal(w, 7);
    w->key_result = RESULT_CANCELLED;
    assert_int_equal(world_open(w), RESULT_CANCELLED);
    w->config.seal = NULL;
    assert_int_equal(world_open(w), RESULT_OK);
    assert_filled(w);
}

/* ---- a disk in other hands -------------------------------------------------------------------------------------- */

struct row_wait {
    bool is_done, is_unreadable;
    char sender[64], first[64];
    size_t n;
};

static void on_row(void *context, enum result result, const struct store_listing *rows, size_t n, bool is_last)
{
    struct row_wait *wait = context;
    wait->is_done = is_last;
    assert_int_equal(result, RESULT_OK);
    wait->n += n;
    for (size_t i = 0; i < n; i++) {
        wait->is_unreadable = rows[i].is_unreadable;
        assert_true(slice_to_cstr(rows[i].message.envelope.sender, wait->sender, sizeof wait->sender));
        assert_true(slice_to_cstr(rows[i].recipients[0].envelope.address, wait->first, sizeof wait->first));
    }
}

static struct row_wait show(struct world *w, uint64_t id)
{
    struct row_wait wait = {0};
    store_message_get(w->client, id, on_row, &wait);
    world_wait(w, &wait.is_done);
    return wait;
}

static void assert_refused(struct world *w, uint64_t id)
{
    struct store_job *job;
    assert_int_equal(world_load(w, id, SLICE("hop0"), &job), RESULT_CORRUPT);
    assert_null(job);
}

/* Changes the database behind its back, and opens it again. */
static void meddle(struct world *w, const char *sql)
{
    world_close(w);
    world_meddle(w, sql);
    assert_int_equal(world_open(w), RESULT_OK);
}

static void what_was_altered_is_shown_and_refused_and_the_rest_goes_on(void **state)
{
    struct world *w = *state;
    for (uint64_t id = 1; id <= 10; id++)
        put(w, id);
    meddle(w, "UPDATE message SET sender = 'mallory@example.org' WHERE id = 1; UPDATE message SET size = size - 1 WHERE id = 2;"
              "UPDATE recipient SET address = (SELECT address FROM recipient WHERE message = 4 AND seq = 1) WHERE message = 4 AND seq = 0;"
              "UPDATE recipient SET reply = ':1:AAAA' WHERE message = 5 AND seq = 1; UPDATE body SET octets = (SELECT octets FROM body WHERE message = 8) WHERE message = 7;"
              "UPDATE chunk SET octets = (SELECT octets FROM chunk WHERE message = 3 AND seq = 2) WHERE message = 3 AND seq = 1");
    assert_refused(w, 1);
    assert_refused(w, 2);
    assert_refused(w, 4);
    assert_refused(w, 5);
    assert_refused(w, 7);
    assert_int_equal(world_body(w, 3).len, SIZE_MAX);
    assert_string_equal(show(w, 1).sender, STORE_UNREADABLE);
    assert_string_equal(show(w, 1).first, "r0@hop0.example");
    assert_string_equal(show(w, 4).first, STORE_UNREADABLE);
    assert_true(show(w, 4).is_unreadable);
    assert_false(show(w, 6).is_unreadable);
    struct row_wait all = {0};
    store_message_list(w->client, STORE_LIST_UNFINISHED, 0, 100, on_row, &all);
    world_wait(w, &all.is_done);
    assert_int_equal(all.n, 10);
    assert_job(w, 6, "");
    assert_job(w, 9, "");
    struct world_done d = {0};
    store_message_hold(w->client, 1, world_on_done, &d);
    assert_int_equal(world_wait_done(w, &d), RESULT_OK);
    assert_int_equal(world_remove(w, 4), RESULT_OK);
}

static void what_can_not_be_unsealed_stops_that_until_it_is_removed(void **state)
{
    struct world *w = *state;
    fill(w);
    meddle(w, "UPDATE body SET octets = zeroblob(100) WHERE message = 5");
    world_close(w);
    w->seal.is_wanted = false;
    assert_int_equal(world_open(w), RESULT_CORRUPT);
    assert_non_null(strstr(w->why, "number 5 "));
    w->seal.is_wanted = true;
    assert_int_equal(world_open(w), RESULT_OK);
    assert_job(w, 1, REPLY);
    assert_int_equal(world_remove(w, 5), RESULT_OK);
    world_close(w);
    assert_nothing_on_disk(w);
    w->seal.is_wanted = false;
    assert_int_equal(world_open(w), RESULT_OK);
    assert_job(w, 1, REPLY);
    assert_job(w, 6, "");
}

/* ---- what it costs ---------------------------------------------------------------------------------------------- */

static int64_t pages_of_a_large_body(bool is_sealed)
{
    struct world w;
    size_t len = 100 * (size_t)STORE_CHUNK;
    char *body = body_of(1, len);
    world_make(&w);
    if (is_sealed)
        world_seal(&w, 7);
    assert_int_equal(world_open(&w), RESULT_OK);
    assert_int_equal(world_put(&w, 1, slice_of(body, len), 1, 1), RESULT_OK);
    world_close(&w);
    int64_t n = world_number(&w, "PRAGMA page_count");
    world_end(&w);
    free(body);
    return n;
}

static void a_sealed_chunk_needs_no_further_page(void **state)
{
    (void)state;
    int64_t plain = pages_of_a_large_body(false), sealed = pages_of_a_large_body(true);
    assert_in_range(sealed, plain, plain + 1); /* the mark's row may have a page of its own */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_lies_on_the_disk_and_all_is_there, setup_sealed, world_teardown),
        cmocka_unit_test_setup_teardown(a_body_that_stops_half_way_is_not_on_the_disk, setup_sealed, world_teardown),
        cmocka_unit_test_setup_teardown(a_database_with_mail_is_sealed_and_unsealed, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(off_without_a_seal_asks_for_no_key, world_setup_closed, world_teardown),
        cmocka_unit_test(what_follows_is_written_as_usual),
        cmocka_unit_test_setup_teardown(a_large_database_is_sealed_in_bounded_steps, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_digest_finds_its_message_and_lies_nowhere, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(a_half_that_nobody_knows_is_not_answered_as_the_earlier, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(without_its_key_it_does_not_open_and_loses_nothing, setup_sealed, world_teardown),
        cmocka_unit_test_setup_teardown(without_a_key_nothing_is_sealed, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(what_was_altered_is_shown_and_refused_and_the_rest_goes_on, setup_sealed, world_teardown),
        cmocka_unit_test_setup_teardown(what_can_not_be_unsealed_stops_that_until_it_is_removed, setup_sealed, world_teardown),
        cmocka_unit_test(a_sealed_chunk_needs_no_further_page),
    };
    return cmocka_run_group_tests_name("sealed", tests, NULL, NULL);
}
