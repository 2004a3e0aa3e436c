#include "support/oom.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* The one place where a test support file keeps state of its own: malloc has no argument to pass it in. */
static _Thread_local struct {
    size_t left; /* allocations until the one that fails; 0: none is to fail */
    bool is_lasting;
    bool has_failed;
    unsigned suspended;
} oom;

/* The linker binds these names, so no header declares them. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
char *__wrap_strdup(const char *text);

static bool is_refused(void)
{
    if (oom.suspended > 0 || oom.left == 0)
        return false;
    if (oom.has_failed) {
        errno = ENOMEM;
        return oom.is_lasting;
    }
    if (--oom.left > 0)
        return false;
    oom.left = 1;
    oom.has_failed = true;
    errno = ENOMEM;
    return true;
}

void *__wrap_malloc(size_t size)
{
    return is_refused() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return is_refused() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return is_refused() ? NULL : __real_realloc(old, size);
}

char *__wrap_strdup(const char *text)
{
    return is_refused() ? NULL : __real_strdup(text);
}

/* One run in which allocation n fails. True when it came to that. */
static bool run(size_t n, bool is_lasting, void (*scenario)(void *), void *context)
{
    oom.has_failed = false;
    oom.is_lasting = is_lasting;
    oom.suspended = 0;
    oom.left = n;
    scenario(context);
    oom.left = 0;
    return oom.has_failed;
}

static size_t loop(size_t max, bool may_vary, void (*scenario)(void *context), void *context)
{
    for (size_t n = 1; n <= max; n++) {
        bool has_failed_once = run(n, false, scenario, context);
        bool has_failed_lasting = run(n, true, scenario, context);
        if (has_failed_once != has_failed_lasting && !may_vary) {
            fprintf(stderr, "oom_loop: allocation %zu was reached in one run of two: the scenario varies\n", n);
            abort();
        }
        if (!has_failed_once && !has_failed_lasting)
            return n - 1;
    }
    fprintf(stderr, "oom_loop: still failing at allocation %zu\n", max);
    abort();
}

size_t oom_loop(size_t max, void (*scenario)(void *context), void *context)
{
    return loop(max, false, scenario, context);
}

size_t oom_loop_varying(size_t max, void (*scenario)(void *context), void *context)
{
    return loop(max, true, scenario, context);
}

bool oom_has_failed(void)
{
    return oom.has_failed;
}

void oom_suspend(void)
{
    oom.suspended++;
}

void oom_resume(void)
{
    oom.suspended--;
}
