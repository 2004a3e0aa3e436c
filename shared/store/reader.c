/* The reader: one thread with a connection of its own, so that listings and bodies never wait for a commit, nor a commit for them.
 * It ends each task's read before the next begins: an open one would keep the write-ahead log from being emptied. */
#include "store/engine.h"

static void quiet(void *context)
{
    struct store *store = context;
    database_shrink(&store->reader_db);
    worker_trim();
}

void reader_main(void *context)
{
    struct store *store = context;
    struct worker *w = &store->reader;
    while (worker_wait(w, quiet, store)) {
        uv_mutex_lock(&w->mutex);
        struct store_task *task = task_queue_take(&w->queue);
        uv_mutex_unlock(&w->mutex);
        task->result = task->run(task, &store->reader_db);
        client_post(task);
    }
}
