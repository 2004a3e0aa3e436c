/* Accounts and named values, through the store's door. */
#include "support/store_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct account_seen {
    bool is_done;
    enum result result;
    size_t n;
    char text[512];
};

static void on_account(void *context, enum result result, const struct store_account *a)
{
    struct account_seen *seen = context;
    seen->is_done = true;
    seen->result = result;
    if (!a)
        return;
    snprintf(seen->text, sizeof seen->text, "%.*s %d %.*s %u %zu:%02x%02x %02x %02x %d %d:", SLICE_ARG(a->name), a->is_enabled,
             SLICE_ARG(a->password_hash), a->scram.iterations, a->scram.salt_len, a->scram.salt[0], a->scram.salt[a->scram.salt_len - 1],
             a->scram.stored_key[31], a->scram.server_key[31], (int)a->created_at_ms, (int)a->changed_at_ms);
    for (size_t i = 0; i < a->nsend_as; i++) {
        size_t used = strlen(seen->text);
        snprintf(seen->text + used, sizeof seen->text - used, " %.*s", SLICE_ARG(a->send_as[i]));
    }
}

static struct account_seen get_account(struct world *w, const char *name)
{
    struct account_seen seen = {0};
    store_account_get(w->client, slice_from_cstr(name), on_account, &seen);
    world_wait(w, &seen.is_done);
    return seen;
}

static enum result put_account(struct world *w, const char *name, bool is_new, size_t nsend_as)
{
    struct slice send_as[] = {SLICE("bob@example.org"), SLICE("@example.com")};
    struct store_account a = {.name = slice_from_cstr(name),
                              .is_enabled = is_new,
                              .password_hash = SLICE("$argon2id$x"),
                              .send_as = send_as,
                              .nsend_as = nsend_as,
                              .created_at_ms = 11,
                              .changed_at_ms = 22};
    a.scram = (struct scram_verifier){.salt = {0xab, 0xcd}, .salt_len = 2, .iterations = 4096};
    a.scram.stored_key[31] = 0x51;
    a.scram.server_key[31] = 0x52;
    struct world_done d = {0};
    store_account_put(w->client, &a, is_new, world_on_done, &d);
    return world_wait_done(w, &d);
}

static void on_accounts(void *context, enum result result, const struct store_account *accounts, size_t n, bool is_last)
{
    struct account_seen *seen = context;
    seen->result = result;
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(accounts[i].nsend_as, 1);
        assert_true(i == 0 || memcmp(accounts[i - 1].name.ptr, accounts[i].name.ptr, 4) < 0);
    }
    seen->n += n;
    seen->is_done = is_last;
}

static void accounts(void **state)
{
    struct world *w = *state;
    assert_int_equal(get_account(w, "bob").result, RESULT_NOT_FOUND);
    assert_int_equal(put_account(w, "bob", false, 2), RESULT_NOT_FOUND);
    assert_int_equal(put_account(w, "bob", true, 2), RESULT_OK);
    assert_int_equal(put_account(w, "bob", true, 2), RESULT_EXISTS);
    struct account_seen seen = get_account(w, "bob");
    assert_int_equal(seen.result, RESULT_OK);
    assert_string_equal(seen.text, "bob 1 $argon2id$x 4096 2:abcd 51 52 11 22: @example.com bob@example.org");
    assert_int_equal(put_account(w, "bob", false, 1), RESULT_OK);
    world_reopen(w);
    assert_string_equal(get_account(w, "bob").text, "bob 0 $argon2id$x 4096 2:abcd 51 52 11 22: bob@example.org");
    for (int i = 0; i < 120; i++) {
        char name[8];
        snprintf(name, sizeof name, "u%03d", i);
        assert_int_equal(put_account(w, name, true, 1), RESULT_OK);
    }
    seen = (struct account_seen){0};
    store_account_list(w->client, on_accounts, &seen);
    world_wait(w, &seen.is_done);
    assert_int_equal(seen.n, 121);
    struct world_done d[2] = {{0}};
    store_account_remove(w->client, SLICE("bob"), world_on_done, &d[0]);
    assert_int_equal(world_wait_done(w, &d[0]), RESULT_OK);
    store_account_remove(w->client, SLICE("bob"), world_on_done, &d[1]);
    assert_int_equal(world_wait_done(w, &d[1]), RESULT_NOT_FOUND);
    assert_int_equal(get_account(w, "bob").result, RESULT_NOT_FOUND);
    assert_int_equal(put_account(w, "bob", true, 0), RESULT_OK); /* nothing of the old one is left */
    assert_string_equal(get_account(w, "bob").text, "bob 1 $argon2id$x 4096 2:abcd 51 52 11 22:");
}

struct setting_seen {
    bool is_done;
    enum result result;
    char text[32];
    size_t len;
};

static void on_setting(void *context, enum result result, struct slice value)
{
    struct setting_seen *seen = context;
    *seen = (struct setting_seen){.is_done = true, .result = result, .len = value.len};
    if (value.len > 0)
        memcpy(seen->text, value.ptr, value.len);
}

static struct setting_seen get_setting(struct world *w)
{
    struct setting_seen seen = {0};
    store_setting_get(w->client, SLICE("secret"), on_setting, &seen);
    world_wait(w, &seen.is_done);
    return seen;
}

static void settings(void **state)
{
    struct world *w = *state;
    assert_int_equal(get_setting(w).result, RESULT_NOT_FOUND);
    for (int i = 0; i < 3; i++) {
        struct world_done d = {0};
        struct slice value = i == 0 ? SLICE("a\0b") : i == 1 ? SLICE("longer value") : (struct slice){0};
        store_setting_put(w->client, SLICE("secret"), value, world_on_done, &d);
        assert_int_equal(world_wait_done(w, &d), RESULT_OK);
        world_reopen(w);
        struct setting_seen seen = get_setting(w);
        assert_int_equal(seen.result, RESULT_OK);
        assert_true(slice_equal(slice_of(seen.text, seen.len), value));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(accounts, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(settings, world_setup, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
