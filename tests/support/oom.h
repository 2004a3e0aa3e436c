/* What happens when memory runs out: every allocation of a scenario is made to fail, one after the other.
 *
 *   static void scenario(void *context)
 *   {
 *       struct buffer b = {0};
 *       enum result r = buffer_append(&b, SLICE("x"));
 *       assert_true(r == RESULT_OK || (oom_has_failed() && r == RESULT_MEMORY));
 *       buffer_free(&b);
 *   }
 *   oom_loop(1000, scenario, &context);
 *
 * Run n lets the first n - 1 allocations succeed and fails the n-th; it is done twice, once with memory again from
 * there on and once without. The loop ends with the first n that no allocation reached: then all have failed once.
 * The scenario must do the same each time, release what it took (AddressSanitizer's leak check sees to that in
 * `make check-asan`), and accept a failure only when oom_has_failed().
 *
 * It works by the linker: a test that uses this is linked with --wrap for malloc, calloc, realloc, strdup and sodium_malloc, and for posix_spawn
 * and the calls that tell it about the child (each counts as an allocation, for libc makes some in there), so calls
 * from our own objects and static libraries are caught, those inside shared libraries (libc, SQLite) are not. What
 * allocates in other ways (strndup, asprintf, getline) escapes; the pure layers may not use it (tests/lint/layers). Each
 * thread has its own count, so other threads are left in peace, unless the loop is oom_loop_everywhere. */
#ifndef POSTERN_TESTS_SUPPORT_OOM_H
#define POSTERN_TESTS_SUPPORT_OOM_H

#include <stdbool.h>
#include <stddef.h>

/* Aborts with a message when the scenario still meets failures at n = max: it retries for ever, or max is too low.
 * Returns how many allocations the scenario makes when all goes well. */
size_t oom_loop(size_t max, void (*scenario)(void *context), void *context);

/* The same of a scenario that passes through sockets and threads, and allocates a little more or less each time: ends with the first n that neither run reached. */
size_t oom_loop_varying(size_t max, void (*scenario)(void *context), void *context);

/* The allocations of all threads in one count: for what works on threads of its own (the store, the verifier). Which one is the n-th differs from run to run. */
size_t oom_loop_everywhere(size_t max, void (*scenario)(void *context), void *context);

/* Has an allocation been refused in this run? */
bool oom_has_failed(void);

/* Between the two, allocations succeed and do not count (with oom_loop_everywhere: those of all threads): for what the test itself needs. */
void oom_suspend(void);
void oom_resume(void);

#endif
