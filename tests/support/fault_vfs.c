#include "support/fault_vfs.h"

#include "support/random.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SECTOR = 512, PATHS_MAX = 16, PATH_ROOM = 256 };

struct change { /* since the last sync, newest first */
    struct change *older;
    int path;
    int64_t offset, size_before; /* of the file */
    size_t len;                  /* SIZE_MAX: a truncation to `offset` */
    size_t len_before;           /* octets of `before` that were there */
    unsigned char *before, *after;
};

static struct {
    pthread_mutex_t mutex;
    sqlite3_vfs vfs, *real;
    enum fault_kind kind;
    uint64_t n, count;
    bool for_ever, has_fired;
    char paths[PATHS_MAX][PATH_ROOM];
    struct change *changes;
} disk = {.mutex = PTHREAD_MUTEX_INITIALIZER};

struct fault_file {
    sqlite3_file base;
    int path;
    sqlite3_file *real;
};

enum operation { OP_READ, OP_WRITE, OP_TRUNCATE, OP_SYNC };

static bool concerns(enum fault_kind kind, enum operation op)
{
    switch (kind) {
    case FAULT_NONE: return false;
    case FAULT_IO: return true;
    case FAULT_FULL:
    case FAULT_SHORT: return op == OP_WRITE;
    case FAULT_SYNC: return op == OP_SYNC;
    case FAULT_POWER:
    case FAULT_KILL: return op != OP_READ;
    }
    return false;
}

/* Under the mutex. */
static bool fires(enum operation op)
{
    if (!concerns(disk.kind, op))
        return false;
    disk.count++;
    if (disk.n == 0 || disk.count < disk.n || (disk.count > disk.n && !disk.for_ever))
        return false;
    disk.has_fired = true;
    if (disk.kind == FAULT_KILL)
        kill(getpid(), SIGKILL);
    return true;
}

static struct fault_file *file_of(sqlite3_file *file)
{
    return (struct fault_file *)file;
}

static int64_t size_of(struct fault_file *f)
{
    sqlite3_int64 size = 0;
    f->real->pMethods->xFileSize(f->real, &size);
    return size;
}

static void remember(struct fault_file *f, const void *after, size_t len, int64_t offset)
{
    if (f->path < 0 || disk.kind != FAULT_POWER)
        return;
    int64_t size = size_of(f);
    struct change *c = malloc(sizeof *c);
    *c = (struct change){.older = disk.changes, .path = f->path, .offset = offset, .size_before = size, .len = len};
    size_t span = len == SIZE_MAX ? (size_t)(size > offset ? size - offset : 0) : len;
    c->before = calloc(1, span + 1);
    c->len_before = offset >= size ? 0 : (size_t)(size - offset) < span ? (size_t)(size - offset) : span;
    if (c->len_before > 0)
        f->real->pMethods->xRead(f->real, c->before, (int)c->len_before, offset);
    if (after) {
        c->after = malloc(len + 1);
        memcpy(c->after, after, len);
    }
    disk.changes = c;
}

static void free_change(struct change *c)
{
    free(c->before);
    free(c->after);
    free(c);
}

static void forget(int path)
{
    for (struct change **at = &disk.changes; *at;) {
        struct change *c = *at;
        if (c->path != path) {
            at = &c->older;
            continue;
        }
        *at = c->older;
        free_change(c);
    }
}

static int on_read(sqlite3_file *file, void *out, int len, sqlite3_int64 offset)
{
    struct fault_file *f = file_of(file);
    pthread_mutex_lock(&disk.mutex);
    bool fails = fires(OP_READ);
    pthread_mutex_unlock(&disk.mutex);
    return fails ? SQLITE_IOERR_READ : f->real->pMethods->xRead(f->real, out, len, offset);
}

static int failed_write(struct fault_file *f, const void *octets, int len, int64_t offset)
{
    if (disk.kind == FAULT_SHORT)
        f->real->pMethods->xWrite(f->real, octets, len / 2, offset);
    return disk.kind == FAULT_FULL || disk.kind == FAULT_SHORT ? SQLITE_FULL : SQLITE_IOERR_WRITE;
}

static int on_write(sqlite3_file *file, const void *octets, int len, sqlite3_int64 offset)
{
    struct fault_file *f = file_of(file);
    pthread_mutex_lock(&disk.mutex);
    int code;
    if (fires(OP_WRITE)) {
        code = failed_write(f, octets, len, offset);
    } else {
        remember(f, octets, (size_t)len, offset);
        code = f->real->pMethods->xWrite(f->real, octets, len, offset);
    }
    pthread_mutex_unlock(&disk.mutex);
    return code;
}

static int on_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    struct fault_file *f = file_of(file);
    pthread_mutex_lock(&disk.mutex);
    int code = SQLITE_IOERR_TRUNCATE;
    if (!fires(OP_TRUNCATE)) {
        remember(f, NULL, SIZE_MAX, size);
        code = f->real->pMethods->xTruncate(f->real, size);
    }
    pthread_mutex_unlock(&disk.mutex);
    return code;
}

static int on_sync(sqlite3_file *file, int flags)
{
    struct fault_file *f = file_of(file);
    pthread_mutex_lock(&disk.mutex);
    int code = SQLITE_IOERR_FSYNC;
    if (!fires(OP_SYNC)) {
        code = f->real->pMethods->xSync(f->real, flags);
        forget(f->path);
    }
    pthread_mutex_unlock(&disk.mutex);
    return code;
}

/* ---- what is only passed on ---- */

#define PASS(name, parameters, arguments)                                                                                                            \
    static int name parameters                                                                                                                       \
    {                                                                                                                                                \
        sqlite3_file *real = file_of(file)->real;                                                                                                    \
        return real->pMethods->arguments;                                                                                                            \
    }
PASS(on_file_size, (sqlite3_file * file, sqlite3_int64 *size), xFileSize(real, size))
PASS(on_lock, (sqlite3_file * file, int level), xLock(real, level))
PASS(on_unlock, (sqlite3_file * file, int level), xUnlock(real, level))
PASS(on_reserved, (sqlite3_file * file, int *out), xCheckReservedLock(real, out))
PASS(on_control, (sqlite3_file * file, int op, void *arg), xFileControl(real, op, arg))
PASS(on_sector, (sqlite3_file * file), xSectorSize(real))
PASS(on_device, (sqlite3_file * file), xDeviceCharacteristics(real))
PASS(on_shm_map, (sqlite3_file * file, int page, int size, int extend, void volatile **out), xShmMap(real, page, size, extend, out))
PASS(on_shm_lock, (sqlite3_file * file, int offset, int n, int flags), xShmLock(real, offset, n, flags))
PASS(on_shm_unmap, (sqlite3_file * file, int is_delete), xShmUnmap(real, is_delete))

static void on_shm_barrier(sqlite3_file *file)
{
    file_of(file)->real->pMethods->xShmBarrier(file_of(file)->real);
}

static int on_close(sqlite3_file *file)
{
    return file_of(file)->real->pMethods->xClose(file_of(file)->real);
}

static const sqlite3_io_methods METHODS = {
    .iVersion = 2,
    .xClose = on_close,
    .xRead = on_read,
    .xWrite = on_write,
    .xTruncate = on_truncate,
    .xSync = on_sync,
    .xFileSize = on_file_size,
    .xLock = on_lock,
    .xUnlock = on_unlock,
    .xCheckReservedLock = on_reserved,
    .xFileControl = on_control,
    .xSectorSize = on_sector,
    .xDeviceCharacteristics = on_device,
    .xShmMap = on_shm_map,
    .xShmLock = on_shm_lock,
    .xShmBarrier = on_shm_barrier,
    .xShmUnmap = on_shm_unmap,
};

static int path_number(const char *path)
{
    for (int i = 0; path && i < PATHS_MAX; i++) {
        if (disk.paths[i][0] == '\0')
            snprintf(disk.paths[i], PATH_ROOM, "%s", path);
        if (strcmp(disk.paths[i], path) == 0)
            return i;
    }
    return -1;
}

static int on_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *file, int flags, int *out_flags)
{
    struct fault_file *f = file_of(file);
    (void)vfs;
    *f = (struct fault_file){.real = (sqlite3_file *)(f + 1)};
    pthread_mutex_lock(&disk.mutex);
    f->path = path_number(path);
    pthread_mutex_unlock(&disk.mutex);
    int code = disk.real->xOpen(disk.real, path, f->real, flags, out_flags);
    if (f->real->pMethods)
        f->base.pMethods = &METHODS;
    return code;
}

static int on_delete(sqlite3_vfs *vfs, const char *path, int is_synced)
{
    (void)vfs;
    pthread_mutex_lock(&disk.mutex);
    bool fails = fires(OP_TRUNCATE);
    if (!fails)
        forget(path_number(path));
    pthread_mutex_unlock(&disk.mutex);
    return fails ? SQLITE_IOERR_DELETE : disk.real->xDelete(disk.real, path, is_synced);
}

void fault_vfs_register(void)
{
    if (disk.real)
        return;
    disk.real = sqlite3_vfs_find(NULL);
    disk.vfs = *disk.real;
    disk.vfs.zName = "fault";
    disk.vfs.pNext = NULL;
    disk.vfs.szOsFile = (int)sizeof(struct fault_file) + disk.real->szOsFile;
    disk.vfs.xOpen = on_open;
    disk.vfs.xDelete = on_delete;
    sqlite3_vfs_register(&disk.vfs, 0);
}

/* ---- control ---- */

void fault_vfs_arm(enum fault_kind kind, uint64_t n, bool for_ever)
{
    pthread_mutex_lock(&disk.mutex);
    disk.kind = kind;
    disk.n = n;
    disk.count = 0;
    disk.for_ever = for_ever || kind == FAULT_POWER;
    disk.has_fired = false;
    pthread_mutex_unlock(&disk.mutex);
}

uint64_t fault_vfs_count(void)
{
    pthread_mutex_lock(&disk.mutex);
    uint64_t count = disk.count;
    pthread_mutex_unlock(&disk.mutex);
    return count;
}

bool fault_vfs_has_fired(void)
{
    pthread_mutex_lock(&disk.mutex);
    bool has_fired = disk.has_fired;
    pthread_mutex_unlock(&disk.mutex);
    return has_fired;
}

void fault_vfs_disarm(void)
{
    fault_vfs_arm(FAULT_NONE, 0, false);
}

/* ---- the power cut ---- */

static void put(int fd, const void *octets, size_t len, int64_t offset)
{
    if (len > 0 && pwrite(fd, octets, len, offset) != (ssize_t)len)
        abort();
}

static void undo(int fd, const struct change *c)
{
    if (c->len_before > 0)
        put(fd, c->before, c->len_before, c->offset);
    if (ftruncate(fd, c->size_before) != 0)
        abort();
}

/* Sector by sector: some of the write arrived. */
static void redo_torn(int fd, const struct change *c, uint64_t *seed)
{
    for (size_t at = 0; at < c->len; at += SECTOR) {
        size_t len = c->len - at < SECTOR ? c->len - at : (size_t)SECTOR;
        if (random_draw(seed) % 2)
            put(fd, c->after + at, len, c->offset + (int64_t)at);
    }
}

static void redo_rubbish(int fd, const struct change *c, uint64_t *seed)
{
    for (size_t i = 0; i < c->len; i++)
        c->after[i] = (unsigned char)(random_draw(seed) >> 11);
    put(fd, c->after, c->len, c->offset);
}

static void redo(int fd, const struct change *c, uint64_t *seed)
{
    unsigned fate = (unsigned)(random_draw(seed) % 100);
    if (c->len == SIZE_MAX) {
        if (fate < 50 && ftruncate(fd, c->offset) != 0)
            abort();
    } else if (fate < 40) {
        put(fd, c->after, c->len, c->offset);
    } else if (fate < 60) {
        redo_torn(fd, c, seed);
    } else if (fate < 70) {
        redo_rubbish(fd, c, seed);
    }
}

void fault_vfs_power_cut(uint64_t seed)
{
    int fds[PATHS_MAX];
    fault_vfs_disarm();
    for (int i = 0; i < PATHS_MAX; i++)
        fds[i] = disk.paths[i][0] ? open(disk.paths[i], O_RDWR) : -1;
    struct change *oldest = NULL;
    for (struct change *c = disk.changes, *older; c; c = older) { /* back to what was synced, and turn the list round */
        older = c->older;
        if (fds[c->path] >= 0)
            undo(fds[c->path], c);
        c->older = oldest;
        oldest = c;
    }
    for (struct change *c = oldest, *newer; c; c = newer) {
        newer = c->older;
        if (fds[c->path] >= 0)
            redo(fds[c->path], c, &seed);
        free_change(c);
    }
    disk.changes = NULL;
    for (int i = 0; i < PATHS_MAX; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
        disk.paths[i][0] = '\0';
    }
}
