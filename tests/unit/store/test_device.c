/* Devices, through the store's door. */
#include "support/store_fixture.h"

#include "schema.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* ---- asking ---- */

/* key: what its SCRAM key begins with: the password. */
static enum result put_account(struct world *w, const char *name, bool is_new, const char *hash, uint8_t key)
{
    struct slice send_as[] = {SLICE("@example.org")};
    struct store_account a = {.name = slice_from_cstr(name), .is_enabled = true, .password_hash = slice_from_cstr(hash), .send_as = send_as, .nsend_as = 1, .changed_at_ms = 70};
    a.scram = (struct scram_verifier){.salt = {1}, .salt_len = 1, .iterations = 4096, .stored_key = {key}};
    struct world_done d = {0};
    store_account_put(w->client, &a, is_new, world_on_done, &d);
    return world_wait_done(w, &d);
}

static enum result remove_account(struct world *w, const char *name)
{
    struct world_done d = {0};
    store_account_remove(w->client, slice_from_cstr(name), world_on_done, &d);
    return world_wait_done(w, &d);
}

struct added {
    bool is_done;
    enum result result;
    char gone[65];
};

static void on_added(void *context, enum result result, struct slice gone)
{
    struct added *added = context;
    *added = (struct added){.is_done = true, .result = result};
    assert_true(slice_to_cstr(gone, added->gone, sizeof added->gone));
}

/* The token is the time, so that each has its own. */
static struct added add_at(struct world *w, const char *id, const char *account, int64_t at_ms, uint32_t most, int64_t changed_at_ms)
{
    struct added added = {0};
    struct store_device device = {.id = slice_from_cstr(id), .account = slice_from_cstr(account), .label = SLICE("caf\xc3\xa9"), .created_at_ms = at_ms, .seen_at_ms = at_ms};
    memset(device.token, (int)at_ms, sizeof device.token);
    store_device_add(w->client, &device, changed_at_ms, most, on_added, &added);
    memset(&device, 0xee, sizeof device); /* it is copied */
    world_wait(w, &added.is_done);
    return added;
}

static struct added add(struct world *w, const char *id, const char *account, int64_t at_ms, uint32_t most)
{
    return add_at(w, id, account, at_ms, most, 70);
}

struct seen {
    bool is_done;
    enum result result;
    char text[256];
};

static void on_device(void *context, enum result result, const struct store_device *d, const struct store_account *a)
{
    struct seen *seen = context;
    *seen = (struct seen){.is_done = true, .result = result};
    assert_int_equal(result == RESULT_OK, d != NULL);
    assert_int_equal(result == RESULT_OK, a != NULL);
    if (d)
        snprintf(seen->text, sizeof seen->text, "%.*s %.*s %.*s %02x%02x %d %d: %.*s %d %.*s", SLICE_ARG(d->id), SLICE_ARG(d->account), SLICE_ARG(d->label), d->token[0],
                 d->token[SASL_TOKEN - 1], (int)d->created_at_ms, (int)d->seen_at_ms, SLICE_ARG(a->name), a->is_enabled, SLICE_ARG(a->send_as[0]));
}

static struct seen get(struct world *w, const char *id)
{
    struct seen seen = {0};
    store_device_get(w->client, slice_from_cstr(id), on_device, &seen);
    world_wait(w, &seen.is_done);
    return seen;
}

struct listed {
    bool is_last;
    enum result result;
    size_t n;
    char text[8192];
};

static void on_devices(void *context, enum result result, const struct store_device *devices, size_t n, bool is_last)
{
    struct listed *listed = context;
    listed->result = result;
    for (size_t i = 0; i < n; i++) {
        size_t used = strlen(listed->text);
        snprintf(listed->text + used, sizeof listed->text - used, "%s%.*s", used ? " " : "", SLICE_ARG(devices[i].id));
    }
    listed->n += n;
    listed->is_last = is_last;
}

static struct listed list(struct world *w, const char *account)
{
    struct listed listed = {0};
    store_device_list(w->client, slice_from_cstr(account), on_devices, &listed);
    world_wait(w, &listed.is_last);
    assert_int_equal(listed.result, RESULT_OK);
    return listed;
}

static enum result note_seen(struct world *w, const char *id, int64_t at_ms)
{
    struct world_done d = {0};
    store_device_seen(w->client, slice_from_cstr(id), at_ms, world_on_done, &d);
    return world_wait_done(w, &d);
}

static enum result revoke_device(struct world *w, const char *id)
{
    struct world_done d = {0};
    store_device_remove(w->client, slice_from_cstr(id), world_on_done, &d);
    return world_wait_done(w, &d);
}

/* ---- tests ---- */

static void devices(void **state)
{
    struct world *w = *state;
    assert_int_equal(get(w, "one").result, RESULT_NOT_FOUND);
    assert_int_equal(add(w, "one", "bob", 1, 32).result, RESULT_NOT_FOUND); /* no such account */
    assert_int_equal(put_account(w, "bob", true, "$x", 7), RESULT_OK);
    assert_int_equal(add_at(w, "one", "bob", 1, 32, 69).result, RESULT_DENIED); /* changed since the asker looked */
    assert_int_equal(get(w, "one").result, RESULT_NOT_FOUND);
    assert_int_equal(add(w, "one", "bob", 1, 32).result, RESULT_OK);
    assert_int_equal(add(w, "one", "bob", 2, 32).result, RESULT_EXISTS);
    assert_string_equal(get(w, "one").text, "one bob caf\xc3\xa9 0101 1 1: bob 1 @example.org");
    assert_int_equal(note_seen(w, "one", 9), RESULT_OK);
    assert_int_equal(note_seen(w, "one", 5), RESULT_OK); /* two sessions may tell in any order */
    assert_int_equal(note_seen(w, "two", 5), RESULT_NOT_FOUND);
    world_reopen(w);
    assert_string_equal(get(w, "one").text, "one bob caf\xc3\xa9 0101 1 9: bob 1 @example.org");
    assert_int_equal(revoke_device(w, "one"), RESULT_OK);
    assert_int_equal(revoke_device(w, "one"), RESULT_NOT_FOUND);
    assert_int_equal(get(w, "one").result, RESULT_NOT_FOUND);
    world_reopen(w);
    assert_int_equal(get(w, "one").result, RESULT_NOT_FOUND);
}

static void lists_are_in_order(void **state)
{
    struct world *w = *state;
    char id[16];
    assert_int_equal(list(w, "").n, 0);
    assert_int_equal(put_account(w, "bob", true, "$x", 7), RESULT_OK);
    assert_int_equal(put_account(w, "anna", true, "$x", 7), RESULT_OK);
    assert_int_equal(add(w, "z", "bob", 1, 500).result, RESULT_OK);
    assert_int_equal(add(w, "y", "bob", 2, 500).result, RESULT_OK);
    assert_int_equal(add(w, "x", "bob", 2, 500).result, RESULT_OK);
    assert_int_equal(add(w, "a", "anna", 9, 500).result, RESULT_OK);
    assert_string_equal(list(w, "").text, "a z x y");
    assert_string_equal(list(w, "bob").text, "z x y");
    assert_int_equal(list(w, "carol").n, 0);
    for (int i = 0; i < 250; i++) { /* more than one group */
        snprintf(id, sizeof id, "d%03d", 249 - i);
        assert_int_equal(add(w, id, "anna", 10, 500).result, RESULT_OK);
    }
    struct listed all = list(w, ""), annas = list(w, "anna");
    assert_int_equal(all.n, 254);
    assert_int_equal(annas.n, 251);
    assert_true(memcmp(annas.text, "a d000 d001 ", 12) == 0 && strstr(annas.text, " d099 d100 d101 ") && strstr(annas.text, " d199 d200 "));
    assert_string_equal(all.text + strlen(annas.text), " z x y");
}

/* At the limit the one that was unseen for longest makes room, and no other account's. */
static void the_stalest_makes_room(void **state)
{
    struct world *w = *state;
    assert_int_equal(put_account(w, "bob", true, "$x", 7), RESULT_OK);
    assert_int_equal(put_account(w, "anna", true, "$x", 7), RESULT_OK);
    assert_string_equal(add(w, "annas", "anna", 0, 3).gone, "");
    assert_string_equal(add(w, "one", "bob", 1, 3).gone, "");
    assert_string_equal(add(w, "two", "bob", 2, 3).gone, "");
    assert_string_equal(add(w, "three", "bob", 3, 3).gone, "");
    assert_int_equal(note_seen(w, "one", 50), RESULT_OK);
    assert_int_equal(add(w, "three", "bob", 60, 3).result, RESULT_EXISTS); /* and nothing has gone */
    assert_int_equal(list(w, "bob").n, 3);
    assert_string_equal(add(w, "four", "bob", 60, 3).gone, "two");
    assert_string_equal(list(w, "bob").text, "one three four");
    assert_string_equal(add(w, "five", "bob", 61, 3).gone, "three");
    assert_string_equal(list(w, "").text, "annas one four five");
}

static void they_go_with_their_account(void **state)
{
    struct world *w = *state;
    assert_int_equal(put_account(w, "bob", true, "$x", 7), RESULT_OK);
    assert_int_equal(put_account(w, "anna", true, "$x", 7), RESULT_OK);
    assert_int_equal(add(w, "one", "bob", 1, 32).result, RESULT_OK);
    assert_int_equal(add(w, "two", "bob", 1, 32).result, RESULT_OK);
    assert_int_equal(add(w, "annas", "anna", 1, 32).result, RESULT_OK);
    assert_int_equal(remove_account(w, "bob"), RESULT_OK);
    assert_string_equal(list(w, "").text, "annas");
    assert_int_equal(put_account(w, "bob", true, "$x", 7), RESULT_OK); /* another bob */
    assert_int_equal(get(w, "one").result, RESULT_NOT_FOUND);
}

static void they_go_with_the_password(void **state)
{
    struct world *w = *state;
    assert_int_equal(put_account(w, "bob", true, "$x", 7), RESULT_OK);
    assert_int_equal(put_account(w, "anna", true, "$x", 7), RESULT_OK);
    assert_int_equal(add(w, "one", "bob", 1, 32).result, RESULT_OK);
    assert_int_equal(add(w, "annas", "anna", 1, 32).result, RESULT_OK);
    assert_int_equal(put_account(w, "bob", false, "$y", 7), RESULT_OK); /* the same password at another cost; or enabled, disabled */
    assert_string_equal(list(w, "").text, "annas one");
    assert_int_equal(put_account(w, "bob", false, "$z", 8), RESULT_OK);
    assert_string_equal(list(w, "").text, "annas");
    world_reopen(w);
    assert_string_equal(list(w, "").text, "annas");
    assert_int_equal(put_account(w, "carol", false, "$z", 8), RESULT_NOT_FOUND);
}

/* A database of the first release, with an account in it. */
static void an_old_database_learns_of_devices(void **state)
{
    struct world *w = *state;
    const struct schema_file *newest = w->config.schema, first[] = {newest[0], {NULL, NULL}};
    struct world old;
    world_make(&old);
    old.config.schema = first;
    assert_int_equal(world_open(&old), RESULT_OK);
    world_close(&old);
    world_meddle(&old, "INSERT INTO message VALUES (1, '', '', 0, 0, 0, '', 1, 0, 0, 0, 0, 5, 6, 1, 0); INSERT INTO body VALUES (1, x'78');"
                       "INSERT INTO recipient VALUES (1, 0, 'a@b.example', 0, '', '', 0, 0, 0, '', '', 0)");
    old.config.schema = newest;
    assert_int_equal(world_open(&old), RESULT_OK);
    assert_string_equal(world_state(&old, 1), "queued");
    assert_int_equal(put_account(&old, "bob", true, "$x", 7), RESULT_OK);
    assert_int_equal(add(&old, "one", "bob", 1, 32).result, RESULT_OK);
    world_close(&old);
    assert_int_equal(world_open(&old), RESULT_OK);
    assert_int_equal(get(&old, "one").result, RESULT_OK);
    world_end(&old);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(devices, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(lists_are_in_order, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(the_stalest_makes_room, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(they_go_with_their_account, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(they_go_with_the_password, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(an_old_database_learns_of_devices, world_setup, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
