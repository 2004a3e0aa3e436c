/* naming.h: names that come out the same after a restart, that nobody can guess, and that RFC 1845 allows. */
#include "naming.h"

#include "schema.h"

#include "support/fault_vfs.h"
#include "support/store_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ID = 0x1234567 };

static void open_world(struct world *w)
{
    assert_int_equal(crypto_init(), RESULT_OK);
    world_make(w);
    w->config.schema = schema_agent;
    assert_int_equal(world_open(w), RESULT_OK);
}

static const char *name_of(const struct naming *naming, uint64_t message, uint32_t transaction)
{
    static char text[4][NAMING_TEXT];
    static unsigned n;
    char *out = text[n++ % 4];
    memset(out, '#', NAMING_TEXT);
    naming_format(naming, message, transaction, out);
    assert_non_null(memchr(out, '\0', NAMING_TEXT));
    return out;
}

static void a_name_is_the_same_after_a_restart(void **state)
{
    struct world w;
    struct naming before, after;
    (void)state;
    open_world(&w);
    assert_int_equal(naming_open(&before, &w.loop, w.client), RESULT_OK);
    world_close(&w);
    assert_int_equal(world_open(&w), RESULT_OK);
    assert_int_equal(naming_open(&after, &w.loop, w.client), RESULT_OK);
    assert_string_equal(name_of(&before, ID, 0), name_of(&after, ID, 0));
    assert_string_not_equal(name_of(&after, ID, 0), name_of(&after, ID, 1));
    assert_string_not_equal(name_of(&after, ID, 0), name_of(&after, ID + 1, 0));
    naming_close(&before);
    naming_close(&after);
    world_end(&w);
}

/* The same message of another laptop, or of this one with another store, has another name: knowing id and number is not enough. */
static void another_store_gives_other_names(void **state)
{
    struct world w;
    struct naming one, other;
    static const uint8_t none[CRYPTO_KEY];
    (void)state;
    open_world(&w);
    assert_int_equal(naming_open(&one, &w.loop, w.client), RESULT_OK);
    world_end(&w);
    open_world(&w);
    assert_int_equal(naming_open(&other, &w.loop, w.client), RESULT_OK);
    world_end(&w);
    assert_memory_not_equal(one.secret, other.secret, sizeof one.secret);
    assert_memory_not_equal(one.secret, none, sizeof none);
    const char *a = name_of(&one, ID, 0), *b = name_of(&other, ID, 0);
    size_t common = 0;
    while (a[common] == b[common])
        common++;
    assert_true(common < 1 + 13 + 1 + 1 + 1 + 8); /* "<", the id, ".0.", and hardly more */
    naming_close(&one);
    assert_memory_equal(one.secret, none, sizeof none);
}

/* RFC 1845 2: atoms of what is no blank, control, tspecial (RFC 2045 5.1) or dot, with single dots between them, on both sides of an @. */
static bool is_dotted_atoms(const char *from, const char *to)
{
    bool is_atom = false;
    for (; from < to; from++) {
        if (*from == '.' && !is_atom)
            return false;
        is_atom = *from != '.';
        if (*from <= ' ' || *from >= 127 || strchr("()<>@,;:\\\"/[]?=", *from))
            return false;
    }
    return is_atom;
}

static void it_is_a_transid(void **state)
{
    static const struct { uint64_t message; uint32_t transaction; } rows[] = {{0, 0}, {1, 1}, {ID, 255}, {INT64_MAX, UINT32_MAX}};
    struct naming naming = {.secret = {1}};
    (void)state;
    assert_int_equal(crypto_init(), RESULT_OK);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *text = name_of(&naming, rows[i].message, rows[i].transaction), *at = strchr(text, '@');
        size_t len = strlen(text);
        assert_true(len <= 80);
        assert_true(text[0] == '<' && text[len - 1] == '>' && at);
        assert_true(is_dotted_atoms(text + 1, at) && is_dotted_atoms(at + 1, text + len - 1));
    }
    /* By Python: hashlib.blake2b(b"00000000j6hb7.1a", key=b"\1" + 31 * b"\0", digest_size=32). */
    assert_string_equal(name_of(&naming, ID, 26) + 1 + 13, ".1a.413c4324703ea6df89db928c65b02071@postern-agent.invalid>");
}

static void a_disk_that_fails_gives_no_name(void **state)
{
    struct world w;
    struct naming naming;
    (void)state;
    fault_vfs_register();
    assert_int_equal(crypto_init(), RESULT_OK);
    world_make(&w);
    w.config.schema = schema_agent;
    w.config.vfs = "fault";
    assert_int_equal(world_open(&w), RESULT_OK);
    fault_vfs_arm(FAULT_FULL, 1, true); /* it would be forgotten with the next power cut */
    assert_int_equal(naming_open(&naming, &w.loop, w.client), RESULT_FULL);
    fault_vfs_disarm();
    assert_int_equal(naming_open(&naming, &w.loop, w.client), RESULT_OK);
    naming_close(&naming);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_is_the_same_after_a_restart),
        cmocka_unit_test(another_store_gives_other_names),
        cmocka_unit_test(it_is_a_transid),
        cmocka_unit_test(a_disk_that_fails_gives_no_name),
    };
    return cmocka_run_group_tests_name("naming", tests, NULL, NULL);
}
