/* A disk that fails, under a program of ours as it is built: loaded before it (LD_PRELOAD), it makes operations on the database's files fail, from the one on that the test says. The test says it through
 * a file that both have mapped (POSTERN_FAILING names it; struct control), and may take it back while the program runs. Without that file nothing fails. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { OP_WRITE = 1, OP_SYNC = 2, OP_TRUNCATE = 4, OP_READ = 8 };
enum { HOW_EIO, HOW_ENOSPC, HOW_SHORT }; /* SHORT: half of it is written, then there is no room */

/* As tests/fault/failing_case.py writes it. */
struct control {
    _Atomic uint64_t count;  /* operations of these kinds since it was cleared */
    _Atomic uint64_t failed; /* of them */
    _Atomic uint64_t nth;    /* the first that fails; 0: none */
    _Atomic uint32_t operations, how, is_lasting;
};

static struct control *control;

__attribute__((constructor)) static void map_control(void)
{
    const char *path = getenv("POSTERN_FAILING");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *at = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (at != MAP_FAILED)
        control = at;
}

/* relay.db, agent.db-wal, ...; not what lies beside them. */
static bool is_database(int fd)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    if (len <= 0)
        return false;
    path[len] = '\0';
    const char *name = strrchr(path, '/');
    return name && strstr(name, ".db");
}

static bool fails(int fd, uint32_t operation)
{
    if (!control || !(atomic_load(&control->operations) & operation) || !is_database(fd))
        return false;
    uint64_t count = atomic_fetch_add(&control->count, 1) + 1, nth = atomic_load(&control->nth);
    bool is_failing = nth > 0 && (count == nth || (count > nth && atomic_load(&control->is_lasting)));
    if (is_failing) {
        atomic_fetch_add(&control->failed, 1);
        errno = atomic_load(&control->how) == HOW_EIO ? EIO : ENOSPC;
    }
    return is_failing;
}

ssize_t pwrite64(int fd, const void *octets, size_t len, off64_t at)
{
    if (!fails(fd, OP_WRITE))
        return syscall(SYS_pwrite64, fd, octets, len, at);
    if (atomic_load(&control->how) == HOW_SHORT && syscall(SYS_pwrite64, fd, octets, len / 2, at) >= 0)
        errno = ENOSPC;
    return -1;
}

ssize_t pwrite(int fd, const void *octets, size_t len, off_t at)
{
    return pwrite64(fd, octets, len, at);
}

ssize_t pread64(int fd, void *octets, size_t len, off64_t at)
{
    return fails(fd, OP_READ) ? -1 : syscall(SYS_pread64, fd, octets, len, at);
}

ssize_t pread(int fd, void *octets, size_t len, off_t at)
{
    return pread64(fd, octets, len, at);
}

int fsync(int fd)
{
    return fails(fd, OP_SYNC) ? -1 : (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return fails(fd, OP_SYNC) ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int ftruncate64(int fd, off64_t len)
{
    return fails(fd, OP_TRUNCATE) ? -1 : (int)syscall(SYS_ftruncate, fd, len);
}

int ftruncate(int fd, off_t len)
{
    return ftruncate64(fd, len);
}
