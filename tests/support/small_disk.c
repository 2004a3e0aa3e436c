#include "support/small_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { PATH_ROOM = 128, STEP = 4096 };

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

bool small_disk_unshare(void)
{
    bool has_it = unshare_mounts();
    if (!has_it)
        printf("skipped: no mount namespace here: %s\n", strerror(errno));
    return has_it;
}

static enum result mount_disk(const struct world *w)
{
    return mount("none", w->dir, "tmpfs", 0, "size=64m") == 0 ? RESULT_OK : RESULT_IO;
}

static void unmount_disk(const struct world *w)
{
    umount(w->dir);
}

static void filler(const struct world *w, char path[static PATH_ROOM])
{
    snprintf(path, PATH_ROOM, "%s/filler", w->dir);
}

static int64_t free_octets(int fd)
{
    struct statvfs fs;
    return fstatvfs(fd, &fs) == 0 ? (int64_t)(fs.f_bavail * fs.f_frsize) : 0;
}

void small_disk_fill(const struct world *w, int64_t left)
{
    static const char zeros[STEP];
    char path[PATH_ROOM];
    filler(w, path);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (fd < 0)
        abort();
    while (free_octets(fd) > left && write(fd, zeros, sizeof zeros) > 0)
        ;
    close(fd);
}

void small_disk_clear(const struct world *w)
{
    char path[PATH_ROOM];
    filler(w, path);
    if (unlink(path) != 0)
        abort();
}

int64_t small_disk_size(const struct world *w, const char *name)
{
    char path[PATH_ROOM];
    struct stat about;
    snprintf(path, sizeof path, "%s/%s", w->dir, name);
    return stat(path, &about) == 0 ? about.st_size : -1;
}

int small_disk_setup(void **state)
{
    static struct world w;
    world_make(&w);
    *state = &w;
    return mount_disk(&w) == RESULT_OK ? 0 : -1;
}

int small_disk_teardown(void **state)
{
    struct world *w = *state;
    world_close(w);
    unmount_disk(w);
    world_end(w);
    return 0;
}
