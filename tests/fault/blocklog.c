/* A disk that remembers what was done to it, and its replay at any moment.
 *
 *     blocklog record FOLDER LOG OCTETS FLUSH_MS     FOLDER/disk is a disk, empty at first; each write, flush and mark goes to LOG
 *     blocklog replay FOLDER LOG OCTETS              FOLDER/disk is that disk in the state that was ordered
 *
 * FOLDER becomes a FUSE filesystem of two files until it is unmounted. `disk` goes under a loop device, which turns flushes and FUA of the filesystem on
 * it into fsync here. It is opened for direct I/O, so that the kernel keeps nothing of it: what was written is here, in order.
 *
 * LOG is a row of records: struct record, in this machine's order of octets, and for writes and marks `len` octets, filled up to a multiple of eight.
 *   WRITE  at: where. It was answered after it was logged.
 *   FLUSH  at: how many records there were when it was asked for. It keeps the writes among those, and not what came while it was on its way.
 *   MARK   what the test wrote to `orders`. When that write returns, everything that happens later is logged later.
 * A flush takes FLUSH_MS, as on a real disk: who answers before it has returned is marked before it, and found out.
 *
 * In a replay lines of text are written to `orders`, whole lines each time; a wrong one gets EINVAL:
 *   base N          the writes before record N have happened; N never shrinks. What was done to the disk since is forgotten
 *   put N FROM TO   octets FROM to TO (exclusive) of write N happened too */
#define FUSE_USE_VERSION 31
#include "base/slice.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum kind { WRITE = 1, FLUSH = 2, MARK = 3 };
enum { PAGE = 4096, RECORDS_MAX = 4 * 1024 * 1024 };

struct record {
    uint32_t kind, len;
    uint64_t at;
};

static struct {
    bool is_replay;
    size_t size;
    long flush_ms;
    pthread_mutex_t lock;
    int log;
    uint64_t nrecords;
    char *disk;                   /* as recorded; of a replay: the writes before `base` */
    char *over;                   /* of a replay: pages that differ from it */
    uint8_t *is_over;             /* one for each page */
    const struct record **record; /* of a replay */
    uint64_t base;
} d;

static void *memory(size_t size)
{
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) {
        perror("blocklog: memory");
        exit(1);
    }
    return at;
}

/* ---- the log, written: under the lock ---- */

static size_t padded(size_t len)
{
    return (len + 7) / 8 * 8;
}

static void append(enum kind kind, uint64_t at, const char *octets, size_t len)
{
    struct record r = {.kind = kind, .len = (uint32_t)len, .at = at};
    size_t pad = padded(len) - len;
    struct iovec parts[] = {{&r, sizeof r}, {(void *)(uintptr_t)octets, len}, {(char[8]){0}, pad}};
    if (writev(d.log, parts, 3) != (ssize_t)(sizeof r + len + pad)) {
        perror("blocklog: the log"); /* a log with a gap proves nothing */
        abort();
    }
    d.nrecords++;
}

/* ---- a replay ---- */

static void over_write(const char *octets, size_t len, size_t at)
{
    while (len) {
        size_t page = at / PAGE, in = at % PAGE, n = len < PAGE - in ? len : PAGE - in;
        if (!d.is_over[page])
            memcpy(d.over + page * PAGE, d.disk + page * PAGE, PAGE);
        d.is_over[page] = 1;
        memcpy(d.over + at, octets, n);
        octets += n, at += n, len -= n;
    }
}

static void over_read(char *out, size_t len, size_t at)
{
    while (len) {
        size_t page = at / PAGE, in = at % PAGE, n = len < PAGE - in ? len : PAGE - in;
        memcpy(out, (d.is_over[page] ? d.over : d.disk) + at, n);
        out += n, at += n, len -= n;
    }
}

static bool order_base(uint64_t n)
{
    if (n < d.base || n > d.nrecords)
        return false;
    for (; d.base < n; d.base++) {
        const struct record *r = d.record[d.base];
        if (r->kind == WRITE)
            memcpy(d.disk + r->at, r + 1, r->len);
    }
    memset(d.is_over, 0, d.size / PAGE);
    return madvise(d.over, d.size, MADV_DONTNEED) == 0;
}

static bool order_put(uint64_t n, uint64_t from, uint64_t to)
{
    if (n >= d.nrecords || d.record[n]->kind != WRITE || from > to || to > d.record[n]->len)
        return false;
    over_write((const char *)(d.record[n] + 1) + from, to - from, d.record[n]->at + from);
    return true;
}

static bool order(struct slice line)
{
    struct slice verb, word;
    uint64_t number[3] = {0};
    size_t n = 0;
    for (bool more = slice_cut(line, ' ', &verb, &line); more; n++) {
        more = slice_cut(line, ' ', &word, &line);
        if (n == 3 || !slice_to_u64(word, UINT64_MAX, &number[n]))
            return false;
    }
    if (slice_equal(verb, SLICE("base")))
        return n == 1 && order_base(number[0]);
    return slice_equal(verb, SLICE("put")) && n == 3 && order_put(number[0], number[1], number[2]);
}

static bool obey(struct slice text)
{
    struct slice line;
    while (text.len)
        if (!slice_cut(text, '\n', &line, &text) || !order(line))
            return false;
    return true;
}

static bool log_load(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0 || st.st_size == 0)
        return false;
    const char *at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0), *end = at + st.st_size;
    if (at == MAP_FAILED)
        return false;
    while (at < end && d.nrecords < RECORDS_MAX) {
        const struct record *r = (const void *)at;
        if ((size_t)(end - at) < sizeof *r || (size_t)(end - at) - sizeof *r < padded(r->len) || (r->kind == WRITE && (r->at > d.size || r->len > d.size - r->at)))
            return false;
        d.record[d.nrecords++] = r;
        at += sizeof *r + padded(r->len);
    }
    return at == end;
}

/* ---- the filesystem ---- */

static bool is_disk(const char *path)
{
    return strcmp(path, "/disk") == 0;
}

static bool is_orders(const char *path)
{
    return strcmp(path, "/orders") == 0;
}

static int fs_getattr(const char *path, struct stat *st, struct fuse_file_info *file)
{
    (void)file;
    bool is_top = strcmp(path, "/") == 0;
    if (!is_top && !is_disk(path) && !is_orders(path))
        return -ENOENT;
    *st = (struct stat){.st_mode = is_top ? S_IFDIR | 0700 : S_IFREG | 0600, .st_nlink = 1, .st_size = is_disk(path) ? (off_t)d.size : 0};
    return 0;
}

static int fs_readdir(const char *path, void *out, fuse_fill_dir_t fill, off_t at, struct fuse_file_info *file, enum fuse_readdir_flags flags)
{
    (void)path, (void)at, (void)file, (void)flags;
    return fill(out, "disk", NULL, 0, 0) || fill(out, "orders", NULL, 0, 0) ? -ENOMEM : 0;
}

static int fs_open(const char *path, struct fuse_file_info *file)
{
    file->direct_io = 1;
    return is_disk(path) || is_orders(path) ? 0 : -ENOENT;
}

/* mkfs and open for writing may cut the file; a disk keeps its size. */
static int fs_truncate(const char *path, off_t size, struct fuse_file_info *file)
{
    (void)path, (void)size, (void)file;
    return 0;
}

static int fs_read(const char *path, char *out, size_t len, off_t offset, struct fuse_file_info *file)
{
    (void)file;
    size_t at = (size_t)offset;
    if (!is_disk(path) || offset < 0 || at >= d.size)
        return 0;
    len = len < d.size - at ? len : d.size - at;
    pthread_mutex_lock(&d.lock);
    over_read(out, len, at);
    pthread_mutex_unlock(&d.lock);
    return (int)len;
}

static int disk_write(const char *octets, size_t len, size_t at)
{
    if (at > d.size || len > d.size - at)
        return -ENOSPC;
    if (d.is_replay) {
        over_write(octets, len, at);
    } else {
        memcpy(d.disk + at, octets, len);
        append(WRITE, at, octets, len);
    }
    return (int)len;
}

static int orders_write(const char *octets, size_t len)
{
    if (d.is_replay)
        return obey(slice_of(octets, len)) ? (int)len : -EINVAL;
    append(MARK, 0, octets, len);
    return (int)len;
}

static int fs_write(const char *path, const char *octets, size_t len, off_t offset, struct fuse_file_info *file)
{
    (void)file;
    if (offset < 0 || len > INT32_MAX)
        return -EINVAL;
    pthread_mutex_lock(&d.lock);
    int done = is_disk(path) ? disk_write(octets, len, (size_t)offset) : orders_write(octets, len);
    pthread_mutex_unlock(&d.lock);
    return done;
}

static int fs_fsync(const char *path, int is_data_only, struct fuse_file_info *file)
{
    (void)is_data_only, (void)file;
    if (d.is_replay || !is_disk(path))
        return 0;
    pthread_mutex_lock(&d.lock);
    uint64_t covered = d.nrecords;
    pthread_mutex_unlock(&d.lock);
    nanosleep(&(struct timespec){.tv_sec = d.flush_ms / 1000, .tv_nsec = d.flush_ms % 1000 * 1000000}, NULL);
    pthread_mutex_lock(&d.lock);
    append(FLUSH, covered, "", 0);
    pthread_mutex_unlock(&d.lock);
    return 0;
}

static const struct fuse_operations operations = {
    .getattr = fs_getattr,
    .readdir = fs_readdir,
    .open = fs_open,
    .truncate = fs_truncate,
    .read = fs_read,
    .write = fs_write,
    .fsync = fs_fsync,
};

static bool set_up(int argc, char **argv)
{
    uint64_t size, flush_ms = 0;
    if (argc < 5 || !slice_to_u64(slice_from_cstr(argv[4]), (uint64_t)1 << 40, &size) || size == 0 || size % PAGE)
        return false;
    d.size = (size_t)size;
    d.is_replay = strcmp(argv[1], "replay") == 0;
    d.disk = memory(d.size), d.over = memory(d.size), d.is_over = memory(d.size / PAGE);
    pthread_mutex_init(&d.lock, NULL);
    if (d.is_replay) {
        d.record = memory(RECORDS_MAX * sizeof(struct record *));
        return argc == 5 && log_load(argv[3]);
    }
    if (argc != 6 || strcmp(argv[1], "record") != 0 || !slice_to_u64(slice_from_cstr(argv[5]), 10000, &flush_ms))
        return false;
    d.flush_ms = (long)flush_ms;
    d.log = open(argv[3], O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
    return d.log >= 0;
}

int main(int argc, char **argv)
{
    if (!set_up(argc, argv)) {
        fprintf(stderr, "usage: blocklog record FOLDER NEWLOG OCTETS FLUSH_MS | replay FOLDER LOG OCTETS\n");
        return 64;
    }
    char *words[] = {argv[0], argv[2], "-f"};
    return fuse_main(3, words, &operations, NULL);
}
