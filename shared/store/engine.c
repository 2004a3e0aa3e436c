/* Opening and closing: files, lock, connections, threads. */
#include "store/engine.h"

#include "schema.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    CACHE_KIB = 2048,
    CACHE_KEEPER_KIB = 64,
    FRESH_KIB = 4096,
    SQLITE_LEAST = 3040000,
    LOCK_LOOK_MS = 20,
    PATH_ROOM = 32, /* octets beyond the database's path for the names beside it */
};

static enum result result_of_errno(int error)
{
    switch (error) {
    case ENOENT:
    case ENOTDIR: return RESULT_NOT_FOUND;
    case EACCES:
    case EPERM:
    case EROFS:
    case ELOOP: return RESULT_DENIED;
    case ENOSPC:
    case EDQUOT: return RESULT_FULL;
    case ENOMEM: return RESULT_MEMORY;
    default: return RESULT_IO;
    }
}

static const char *advice(enum result result)
{
    switch (result) {
    case RESULT_NOT_FOUND: return "create the folder first";
    case RESULT_DENIED: return "give the user that this program runs as the right to write there";
    case RESULT_FULL: return "make room on the disk";
    default: return "see what the system's log says about the disk";
    }
}

static enum result open_failed(const char *path, int error, char *why, size_t why_size)
{
    enum result result = result_of_errno(error);
    snprintf(why, why_size, "%s cannot be opened: %s; %s", path, strerror(error), advice(result));
    return result;
}

/* The name of a new file is durable only when its folder is. */
static void sync_folder(const char *path)
{
    char *copy = strdup(path);
    if (!copy)
        return;
    char *slash = strrchr(copy, '/');
    if (slash)
        slash[slash == copy] = '\0';
    int fd = open(slash ? copy : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)!fsync(fd);
        close(fd);
    }
    free(copy);
}

/* Made by us, for us alone; SQLite gives its other files the same mode. */
static enum result create_file(const char *path, char *why, size_t why_size)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return open_failed(path, errno, why, why_size);
    struct stat about;
    enum result result = RESULT_OK;
    if (fstat(fd, &about) != 0 || !S_ISREG(about.st_mode)) {
        snprintf(why, why_size, "%s is not a regular file", path);
        result = RESULT_DENIED;
    } else if (about.st_size == 0) {
        sync_folder(path);
    }
    close(fd);
    return result;
}

/* There is no waiting for a lock with an end to it but to look again. */
static bool take_lock(const struct store *store, uint32_t wait_ms)
{
    uint64_t end_ns = uv_hrtime() + (uint64_t)wait_ms * 1000000;
    bool has_it = flock(store->lock_fd, LOCK_EX | LOCK_NB) == 0;
    if (!has_it && wait_ms > 0)
        log_event(store->log, LOG_INFO, "store-waits", LOG_TEXT("reason", "another process has it"));
    while (!has_it && uv_hrtime() < end_ns) {
        uv_sleep(LOCK_LOOK_MS);
        has_it = flock(store->lock_fd, LOCK_EX | LOCK_NB) == 0;
    }
    return has_it;
}

/* A database in use has one program; the number of the process in the file is for people. */
static enum result lock(struct store *store, uint32_t wait_ms, char *why, size_t why_size)
{
    size_t size = strlen(store->path) + PATH_ROOM;
    char *path = malloc(size), owner[16] = "";
    if (!path)
        return RESULT_MEMORY;
    snprintf(path, size, "%s.lock", store->path);
    enum result result = RESULT_OK;
    store->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (store->lock_fd < 0) {
        result = open_failed(path, errno, why, why_size);
    } else if (!take_lock(store, wait_ms)) {
        ssize_t n = pread(store->lock_fd, owner, sizeof owner - 1, 0);
        owner[n > 0 ? strcspn(owner, "\n") : 0] = '\0';
        snprintf(why, why_size, "%s is in use by another process (number %s): stop that one, or talk to it", store->path,
                 owner[0] ? owner : "unknown");
        result = RESULT_BUSY;
    } else if (ftruncate(store->lock_fd, 0) != 0 || dprintf(store->lock_fd, "%ld\n", (long)getpid()) < 0) {
        log_event(store->log, LOG_WARNING, "store-lock", LOG_TEXT("words", strerror(errno)));
    }
    free(path);
    return result;
}

static enum result check_sqlite(char *why, size_t why_size)
{
    /* Its own count of allocations costs a mutex each. Refused when SQLite is in use already, which harms nothing. */
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    if (sqlite3_libversion_number() >= SQLITE_LEAST && sqlite3_threadsafe() != 0)
        return RESULT_OK;
    snprintf(why, why_size, "the SQLite library is %s%s: 3.40 or newer, built for threads, is needed", sqlite3_libversion(),
             sqlite3_threadsafe() ? "" : " without threads");
    return RESULT_VERSION;
}

static bool is_damage(const struct database *db)
{
    return (db->last_error & 0xff) == SQLITE_CORRUPT || (db->last_error & 0xff) == SQLITE_NOTADB;
}

/* What SQLite found damaged; a database of another program's is refused with words of its own. */
static void advise_on_damage(const struct store *store, char *why, size_t why_size)
{
    size_t len = strlen(why);
    if (is_damage(&store->writer_db) || is_damage(&store->reader_db) || is_damage(&store->keeper_db))
        snprintf(why + len, why_size - len,
                 "; the file is damaged: keep a copy, and restore a backup, or rescue what is readable: sqlite3 %s .recover", store->path);
}

static enum result open_databases(struct store *store, const struct store_config *config, char *why, size_t why_size)
{
    struct database_config c = {
        .path = store->path, .vfs = config->vfs, .log = store->log, .cache_kib = config->cache_kib ? config->cache_kib : CACHE_KIB};
    enum result result = database_open(&store->writer_db, &c, why, why_size);
    if (result == RESULT_OK)
        result = database_migrate(&store->writer_db, config->schema, why, why_size);
    if (result != RESULT_OK)
        return result;
    store->writer_db.has_checkpoints = database_number(&store->writer_db, "SELECT count(*) FROM sqlite_schema WHERE name = 'checkpoint'") > 0;
    result = intake_sweep(&store->writer_db);
    if (result != RESULT_OK) {
        snprintf(why, why_size, "half-received mail in %s could not be swept: %s; %s", store->path, sqlite3_errmsg(store->writer_db.handle),
                 advice(result));
        return result;
    }
    result = sealing_settle(store, config, why, why_size);
    if (result != RESULT_OK)
        return result;
    c.role = DATABASE_READER;
    result = database_open(&store->reader_db, &c, why, why_size);
    store->reader_db.seal = store->seal;
    store->reader_db.has_checkpoints = store->writer_db.has_checkpoints;
    c.role = DATABASE_WRITER;
    c.cache_kib = CACHE_KEEPER_KIB;
    return result == RESULT_OK ? database_open(&store->keeper_db, &c, why, why_size) : result;
}

/* The writer's connection goes last: as the last one it empties the log into the database. */
static void close_databases(struct store *store)
{
    database_close(&store->keeper_db);
    database_close(&store->reader_db);
    database_close(&store->writer_db);
}

static enum result start_threads(struct store *store, uint32_t log_kib)
{
    enum result result = keeper_open(&store->keeper, store, log_kib);
    if (result == RESULT_OK)
        result = worker_start(&store->writer, writer_main, store);
    return result == RESULT_OK ? worker_start(&store->reader, reader_main, store) : result;
}

static enum result prepare(struct store *store, const struct store_config *config, char *why, size_t why_size)
{
    store->path = strdup(config->path);
    store->fresh = fresh_new((size_t)(config->fresh_kib ? config->fresh_kib : FRESH_KIB) * 1024);
    store->receiving = receiving_new();
    if (!store->path || !store->fresh || !store->receiving)
        return RESULT_MEMORY;
    enum result result = check_sqlite(why, why_size);
    if (result == RESULT_OK)
        result = create_file(store->path, why, why_size);
    if (result == RESULT_OK)
        result = lock(store, config->wait_ms, why, why_size);
    if (result == RESULT_OK)
        result = room_open(&store->room, store->path, config->max_octets, store->log);
    if (result == RESULT_OK)
        result = open_databases(store, config, why, why_size);
    if (result == RESULT_CORRUPT)
        advise_on_damage(store, why, why_size);
    if (result == RESULT_FULL && room_give_way(store->room)) {
        close_databases(store);
        result = open_databases(store, config, why, why_size);
    }
    return result == RESULT_OK ? start_threads(store, config->log_kib) : result;
}

enum result store_open(struct store **out, const struct store_config *config, char *why, size_t why_size)
{
    *out = NULL;
    snprintf(why, why_size, "memory ran out while opening %s", config->path);
    struct store *store = calloc(1, sizeof *store);
    if (!store)
        return RESULT_MEMORY;
    store->log = config->log;
    store->lock_fd = -1;
    enum result result = prepare(store, config, why, why_size);
    if (result != RESULT_OK) {
        store_close(&store);
        return result;
    }
    if (why_size > 0)
        why[0] = '\0';
    *out = store;
    return RESULT_OK;
}

bool store_is_sealed(const struct store *store)
{
    return store->seal != NULL;
}

void store_limit_halves(struct store *store, uint64_t most, uint64_t most_octets)
{
    store->writer_db.most_halves = most;
    store->writer_db.most_half_octets = most_octets;
}

/* Also of a store that was opened half. */
void store_close(struct store **store)
{
    struct store *s = *store;
    if (!s)
        return;
    *store = NULL;
    worker_stop(&s->writer);
    worker_stop(&s->reader);
    keeper_close(&s->keeper);
    close_databases(s);
    room_close(&s->room);
    fresh_free(&s->fresh);
    receiving_free(&s->receiving);
    seal_free(&s->seal);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    free(s->path);
    free(s);
}
