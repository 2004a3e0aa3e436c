/* base/map.h against a plain list, with hashes that collide on purpose. */
#include "base/map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NODES = 200 };

struct thing {
    struct map_node node;
    unsigned key;
    bool is_in;
};

static struct thing *find(const struct map *m, unsigned key, uint64_t hash)
{
    for (struct map_node *n = map_find(m, hash, NULL); n; n = map_find(m, hash, n))
        if (MAP_OWNER(n, struct thing, node)->key == key)
            return MAP_OWNER(n, struct thing, node);
    return NULL;
}

static void check_all(const struct map *m, struct thing *things, uint64_t (*hash)(unsigned))
{
    size_t nin = 0, nseen = 0, at = 0;
    for (unsigned i = 0; i < NODES; i++) {
        nin += things[i].is_in;
        assert_ptr_equal(find(m, i, hash(i)), things[i].is_in ? &things[i] : NULL);
    }
    for (struct map_node *n; (n = map_each(m, &at));)
        nseen += MAP_OWNER(n, struct thing, node)->is_in;
    assert_int_equal(nin, m->count);
    assert_int_equal(nin, nseen);
}

static uint64_t spread(unsigned key) { return map_hash_u64(key); }
static uint64_t few(unsigned key) { return key % 3; }
static uint64_t at_the_end(unsigned key) { return UINT64_MAX - key % 5; } /* probing wraps round */
static uint64_t one(unsigned key) { (void)key; return 7; }

static void behaves_as_a_list(void **state)
{
    static uint64_t (*const hashes[])(unsigned) = {spread, few, at_the_end, one};
    (void)state;
    for (size_t h = 0; h < 4; h++) {
        struct thing things[NODES] = {{.key = 0}};
        struct map m = {0};
        uint64_t draw = h;
        for (unsigned i = 0; i < NODES; i++)
            things[i].key = i;
        for (int step = 0; step < 2000; step++) {
            draw = map_hash_u64(draw);
            struct thing *thing = &things[draw % (step < 1000 ? NODES : 40)];
            if (thing->is_in)
                map_remove(&m, &thing->node);
            else
                assert_int_equal(map_add(&m, &thing->node, hashes[h](thing->key)), RESULT_OK);
            thing->is_in = !thing->is_in;
            if (step % 10 == 0)
                check_all(&m, things, hashes[h]);
        }
        map_free(&m);
    }
}

static void replaces(void **state)
{
    struct map m = {0};
    struct thing a = {.key = 1}, b = {.key = 2}, c = {.key = 3};
    (void)state;
    assert_int_equal(map_add(&m, &a.node, 5), RESULT_OK);
    assert_int_equal(map_add(&m, &b.node, 5), RESULT_OK);
    map_replace(&m, &a.node, &c.node);
    assert_null(find(&m, 1, 5));
    assert_ptr_equal(find(&m, 2, 5), &b);
    assert_ptr_equal(find(&m, 3, 5), &c);
    map_remove(&m, &c.node);
    map_remove(&m, &b.node);
    assert_null(map_find(&m, 5, NULL));
    assert_null(m.slots); /* an empty table holds no memory */
}

static void hashes_all_octets(void **state)
{
    char text[40] = {0};
    (void)state;
    uint64_t hash = map_hash(slice_of(text, sizeof text));
    for (size_t i = 0; i < sizeof text; i++) {
        text[i] = 1;
        assert_true(map_hash(slice_of(text, sizeof text)) != hash);
        assert_true(map_hash(slice_of(text, i)) != map_hash(slice_of(text, i + 1)));
        text[i] = 0;
    }
    assert_true(map_hash((struct slice){0}) == map_hash(SLICE("")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(behaves_as_a_list),
        cmocka_unit_test(replaces),
        cmocka_unit_test(hashes_all_octets),
    };
    return cmocka_run_group_tests_name("base/map", tests, NULL, NULL);
}
