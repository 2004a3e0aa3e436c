#include "support/oom.h"

#include <errno.h>
#include <spawn.h>
#include <stdatomic.h>
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

/* The same for all threads at once, when is_on. */
static struct {
    atomic_bool is_on, is_lasting, has_failed;
    atomic_long left;
    atomic_uint suspended;
} everywhere;

/* The linker binds these names, so no header declares them. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
char *__real_strdup(const char *text);
void *__real_sodium_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
char *__wrap_strdup(const char *text);
void *__wrap_sodium_malloc(size_t size);
int __real_posix_spawn(pid_t *pid, const char *program, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attributes, char *const arguments[], char *const environment[]);
int __real_posix_spawn_file_actions_init(posix_spawn_file_actions_t *actions);
int __real_posix_spawn_file_actions_adddup2(posix_spawn_file_actions_t *actions, int from, int to);
int __real_posix_spawn_file_actions_addopen(posix_spawn_file_actions_t *actions, int fd, const char *path, int flags, mode_t mode);
int __real_posix_spawnattr_init(posix_spawnattr_t *attributes);
int __wrap_posix_spawn(pid_t *pid, const char *program, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attributes, char *const arguments[], char *const environment[]);
int __wrap_posix_spawn_file_actions_init(posix_spawn_file_actions_t *actions);
int __wrap_posix_spawn_file_actions_adddup2(posix_spawn_file_actions_t *actions, int from, int to);
int __wrap_posix_spawn_file_actions_addopen(posix_spawn_file_actions_t *actions, int fd, const char *path, int flags, mode_t mode);
int __wrap_posix_spawnattr_init(posix_spawnattr_t *attributes);

static bool is_refused_everywhere(void)
{
    if (everywhere.suspended > 0)
        return false;
    long left = atomic_fetch_sub(&everywhere.left, 1);
    if (left > 1)
        return false;
    everywhere.has_failed = true;
    errno = ENOMEM;
    return left == 1 || everywhere.is_lasting;
}

static bool is_refused(void)
{
    if (everywhere.is_on)
        return is_refused_everywhere();
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

/* What secrets are kept in. */
void *__wrap_sodium_malloc(size_t size)
{
    return is_refused() ? NULL : __real_sodium_malloc(size);
}

/* What a child is started with: POSIX lets each of these find no memory. */
int __wrap_posix_spawn(pid_t *pid, const char *program, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attributes, char *const arguments[], char *const environment[])
{
    return is_refused() ? ENOMEM : __real_posix_spawn(pid, program, actions, attributes, arguments, environment);
}

int __wrap_posix_spawn_file_actions_init(posix_spawn_file_actions_t *actions)
{
    return is_refused() ? ENOMEM : __real_posix_spawn_file_actions_init(actions);
}

int __wrap_posix_spawn_file_actions_adddup2(posix_spawn_file_actions_t *actions, int from, int to)
{
    return is_refused() ? ENOMEM : __real_posix_spawn_file_actions_adddup2(actions, from, to);
}

int __wrap_posix_spawn_file_actions_addopen(posix_spawn_file_actions_t *actions, int fd, const char *path, int flags, mode_t mode)
{
    return is_refused() ? ENOMEM : __real_posix_spawn_file_actions_addopen(actions, fd, path, flags, mode);
}

int __wrap_posix_spawnattr_init(posix_spawnattr_t *attributes)
{
    return is_refused() ? ENOMEM : __real_posix_spawnattr_init(attributes);
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

static bool run_everywhere(size_t n, bool is_lasting, void (*scenario)(void *), void *context)
{
    everywhere.has_failed = false;
    everywhere.is_lasting = is_lasting;
    everywhere.suspended = 0;
    everywhere.left = (long)n;
    everywhere.is_on = true;
    scenario(context);
    everywhere.is_on = false;
    return everywhere.has_failed;
}

static size_t loop(size_t max, bool may_vary, bool (*run_one)(size_t n, bool is_lasting, void (*scenario)(void *), void *context), void (*scenario)(void *context), void *context)
{
    for (size_t n = 1; n <= max; n++) {
        bool has_failed_once = run_one(n, false, scenario, context);
        bool has_failed_lasting = run_one(n, true, scenario, context);
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
    return loop(max, false, run, scenario, context);
}

size_t oom_loop_varying(size_t max, void (*scenario)(void *context), void *context)
{
    return loop(max, true, run, scenario, context);
}

size_t oom_loop_everywhere(size_t max, void (*scenario)(void *context), void *context)
{
    return loop(max, true, run_everywhere, scenario, context);
}

bool oom_has_failed(void)
{
    return everywhere.is_on ? everywhere.has_failed : oom.has_failed;
}

void oom_suspend(void)
{
    oom.suspended++;
    everywhere.suspended++;
}

void oom_resume(void)
{
    oom.suspended--;
    everywhere.suspended--;
}
