/* A thread with a queue of tasks, and the rules by which it sleeps.
 *
 * 1 At rest it sleeps without a time limit: no wake-ups while there is nothing to do.
 * 2 After work it sleeps once with a limit, and when that passes without work it calls `quiet`, which gives memory back. */
#include "store/engine.h"

#include <malloc.h>

/* Under AddressSanitizer the heap is its own. glibc's has not even been begun then, and two threads that are quiet at the same moment would begin it at once, which it does not bear. */
#if defined(__SANITIZE_ADDRESS__)
#define HAS_OTHER_HEAP
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_OTHER_HEAP
#endif
#endif

static const uint64_t QUIET_AFTER_NS = 500 * 1000000ull;
enum { STACK_OCTETS = 256 * 1024 };

void task_queue_add(struct task_queue *queue, struct store_task *task)
{
    task->next = NULL;
    if (queue->last)
        queue->last->next = task;
    else
        queue->first = task;
    queue->last = task;
    queue->count++;
    queue->nurgent += task->is_urgent;
    queue->octets += task->octets;
}

struct store_task *task_queue_take(struct task_queue *queue)
{
    struct store_task *task = queue->first;
    if (!task)
        return NULL;
    queue->first = task->next;
    if (!queue->first)
        queue->last = NULL;
    queue->count--;
    queue->nurgent -= task->is_urgent;
    queue->octets -= task->octets;
    task->next = NULL;
    return task;
}

enum result worker_start(struct worker *worker, void (*run)(void *), void *context)
{
    uv_thread_options_t options = {.flags = UV_THREAD_HAS_STACK_SIZE, .stack_size = STACK_OCTETS};
    if (uv_mutex_init(&worker->mutex) != 0)
        return RESULT_MEMORY;
    if (uv_cond_init(&worker->wake) != 0)
        goto no_wake;
    if (uv_thread_create_ex(&worker->thread, &options, run, context) != 0)
        goto no_thread;
    worker->is_started = true;
    return RESULT_OK;
no_thread:
    uv_cond_destroy(&worker->wake);
no_wake:
    uv_mutex_destroy(&worker->mutex);
    return RESULT_MEMORY;
}

void worker_stop(struct worker *worker)
{
    if (!worker->is_started)
        return;
    uv_mutex_lock(&worker->mutex);
    worker->is_stopping = true;
    uv_cond_signal(&worker->wake);
    uv_mutex_unlock(&worker->mutex);
    uv_thread_join(&worker->thread);
    uv_cond_destroy(&worker->wake);
    uv_mutex_destroy(&worker->mutex);
    worker->is_started = false;
}

void worker_trim(void)
{
#if defined(__GLIBC__) && !defined(HAS_OTHER_HEAP)
    malloc_trim(0);
#endif
}

bool worker_wait(struct worker *worker, void (*quiet)(void *), void *context)
{
    uv_mutex_lock(&worker->mutex);
    while (!worker->queue.first && !worker->is_stopping) {
        if (!worker->is_warm) {
            uv_cond_wait(&worker->wake, &worker->mutex);
        } else if (uv_cond_timedwait(&worker->wake, &worker->mutex, QUIET_AFTER_NS) == UV_ETIMEDOUT && !worker->queue.first) {
            worker->is_warm = false;
            uv_mutex_unlock(&worker->mutex);
            quiet(context);
            uv_mutex_lock(&worker->mutex);
        }
    }
    bool has_work = worker->queue.first != NULL;
    worker->is_warm |= has_work;
    uv_mutex_unlock(&worker->mutex);
    return has_work;
}
