/* A disk that is really full: a small tmpfs of its own. First short of room, then without any, then with room again; without a restart. */
#include "support/store_world.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { MIB = 1024 * 1024, NMESSAGES = 40 };

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);
    if (fd >= 0) {
        (void)!write(fd, text, strlen(text));
        close(fd);
    }
}

/* A mount namespace of our own; as nobody in particular, a user namespace too. */
static bool unshare_mounts(void)
{
    unsigned uid = getuid(), gid = getgid();
    char map[64];
    if (uid != 0) {
        if (unshare(CLONE_NEWUSER) != 0)
            return false;
        snprintf(map, sizeof map, "0 %u 1", uid);
        write_file("/proc/self/uid_map", map);
        write_file("/proc/self/setgroups", "deny");
        snprintf(map, sizeof map, "0 %u 1", gid);
        write_file("/proc/self/gid_map", map);
    }
    return unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

/* Another program's file: grows until `left` octets are free, or nothing. */
static void fill(const struct world *w, off_t left)
{
    char path[128];
    static char zeros[64 * 1024];
    snprintf(path, sizeof path, "%s/filler", w->dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    assert_true(fd >= 0);
    for (off_t n = 0; n < 100 * MIB / (off_t)sizeof zeros; n++) {
        struct stat about;
        assert_int_equal(fstat(fd, &about), 0);
        if (about.st_size + left >= 60 * MIB || write(fd, zeros, sizeof zeros) <= 0)
            break;
    }
    close(fd);
}

static off_t size_of(const struct world *w, const char *name)
{
    char path[128];
    struct stat about;
    snprintf(path, sizeof path, "%s/%s", w->dir, name);
    return stat(path, &about) == 0 ? about.st_size : -1;
}

static void a_full_disk_is_got_over(void **state)
{
    struct world *w = *state;
    assert_int_equal(world_open(w), RESULT_OK);
    for (uint64_t id = 1; id <= NMESSAGES; id++)
        assert_int_equal(world_put(w, id, SLICE("0123456789"), 1, 0), RESULT_OK);
    assert_int_equal(size_of(w, "test.db.reserve"), 4 * MIB);

    fill(w, 12 * MIB); /* less than what new mail may not touch */
    assert_int_equal(world_put(w, 100, SLICE("x"), 1, 0), RESULT_FULL);
    assert_int_equal(world_finish(w, 1, 0, STORE_DELIVERED, "250", false), RESULT_OK);
    assert_int_equal(size_of(w, "test.db.reserve"), 4 * MIB);

    fill(w, 0); /* nothing is left at all */
    for (uint64_t id = 2; id <= NMESSAGES; id++)
        assert_int_equal(world_finish(w, id, 0, id % 2 ? STORE_QUEUED : STORE_DELIVERED, "451 4.3.1 their disk is full, too", false), RESULT_OK);
    for (int i = 0; i < 200; i++) /* far more commits than the reserve has room for: the log is used again and again */
        assert_int_equal(world_finish(w, 3, 0, STORE_QUEUED, "451 4.3.1 their disk is full, too", false), RESULT_OK);
    assert_int_equal(world_put(w, 100, SLICE("x"), 1, 0), RESULT_FULL);
    assert_int_equal(size_of(w, "test.db.reserve"), 0);
    assert_string_equal(world_state(w, 2), "delivered");
    assert_string_equal(world_state(w, 3), "deferred");
    struct slice got = world_body(w, 3);
    assert_true(slice_equal(got, SLICE("0123456789")));
    free((char *)got.ptr);

    char path[128];
    snprintf(path, sizeof path, "%s/filler", w->dir);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(world_put(w, 100, SLICE("x"), 1, 0), RESULT_OK);
    assert_int_equal(size_of(w, "test.db.reserve"), 4 * MIB);
    world_close(w);

    fill(w, 0); /* a start on a full disk: reading works, new mail does not */
    assert_int_equal(world_open(w), RESULT_OK);
    assert_string_equal(world_state(w, 100), "queued");
    assert_int_equal(world_put(w, 101, SLICE("x"), 1, 0), RESULT_FULL);
    world_close(w);
}

static int setup(void **state)
{
    static struct world w;
    world_make(&w);
    *state = &w;
    return mount("none", w.dir, "tmpfs", 0, "size=64m");
}

static int teardown(void **state)
{
    struct world *w = *state;
    world_close(w);
    umount(w->dir);
    world_end(w);
    return 0;
}

int main(void)
{
    if (!unshare_mounts()) {
        printf("skipped: no mount namespace here: %s\n", strerror(errno));
        return 77;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(a_full_disk_is_got_over, setup, teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
