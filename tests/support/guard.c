#include "support/guard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Layout, in pages: inaccessible | the octets, pushed against the end | inaccessible. Where the octets end is a page
 * boundary, and from it and the length guard_free finds the rest. */

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static size_t data_size(size_t len)
{
    size_t page = page_size();
    return (len + page - 1) / page * page;
}

static void fail(const char *what)
{
    perror(what);
    abort();
}

struct slice guard_dup(struct slice s)
{
    size_t page = page_size();
    size_t data = data_size(s.len);
    char *base = mmap(NULL, data + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        fail("guard_dup: mmap");

    char *copy = base + page + data - s.len;
    if (s.len > 0) {
        if (mprotect(base + page, data, PROT_READ | PROT_WRITE) != 0)
            fail("guard_dup: mprotect");
        memcpy(copy, s.ptr, s.len);
        if (mprotect(base + page, data, PROT_READ) != 0)
            fail("guard_dup: mprotect");
    }
    return slice_of(copy, s.len);
}

void guard_free(struct slice *copy)
{
    if (copy->ptr == NULL)
        return;
    size_t page = page_size();
    size_t data = data_size(copy->len);
    const char *base = copy->ptr + copy->len - data - page;
    if (munmap((void *)(uintptr_t)base, data + 2 * page) != 0)
        fail("guard_free: munmap");
    *copy = (struct slice){0};
}
