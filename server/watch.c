#include "watch.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { WATCHED = 2, PATH_ROOM = 4096 };

struct watch {
    uv_fs_event_t events[WATCHED];
    uv_timer_t quiet;
    char names[WATCHED][PATH_ROOM]; /* of the files in their folders */
    int handles_open;
    void (*on_changed)(void *context);
    void *context;
};

static void watch_on_quiet(uv_timer_t *timer)
{
    struct watch *watch = timer->data;
    watch->on_changed(watch->context);
}

/* Links are followed by many renewal tools, so any change in the folder counts that names our file, or names nothing. */
static void watch_on_event(uv_fs_event_t *event, const char *filename, int events, int status)
{
    struct watch *watch = event->data;
    (void)events;
    bool is_ours = !filename || strcmp(filename, watch->names[0]) == 0 || strcmp(filename, watch->names[1]) == 0;
    if (status == 0 && is_ours)
        uv_timer_start(&watch->quiet, watch_on_quiet, WATCH_QUIET_MS, 0);
}

/* False: the path does not fit. */
static bool watch_split(struct slice path, char folder[PATH_ROOM], char name[PATH_ROOM])
{
    ptrdiff_t slash = slice_find_last(path, '/');
    struct slice head = slash < 0 ? SLICE(".") : slash == 0 ? SLICE("/") : slice_take(path, (size_t)slash);
    return slice_to_cstr(head, folder, PATH_ROOM) && slice_to_cstr(slice_skip(path, (size_t)(slash + 1)), name, PATH_ROOM);
}

static void watch_on_closed(uv_handle_t *handle)
{
    struct watch *watch = handle->data;
    if (--watch->handles_open == 0)
        free(watch);
}

enum result watch_open(struct watch **out, uv_loop_t *loop, struct slice certificate, struct slice key, void (*on_changed)(void *context),
                       void *context)
{
    const struct slice paths[WATCHED] = {certificate, key};
    char folder[PATH_ROOM];
    struct watch *watch = calloc(1, sizeof *watch);
    if (!watch)
        return RESULT_MEMORY;
    watch->on_changed = on_changed;
    watch->context = context;
    watch->handles_open = WATCHED + 1;
    uv_timer_init(loop, &watch->quiet);
    watch->quiet.data = watch;
    for (size_t i = 0; i < WATCHED; i++) {
        uv_fs_event_init(loop, &watch->events[i]);
        watch->events[i].data = watch;
        if (watch_split(paths[i], folder, watch->names[i]))
            (void)uv_fs_event_start(&watch->events[i], watch_on_event, folder, 0);
    }
    *out = watch;
    return RESULT_OK;
}

void watch_close(struct watch **at)
{
    struct watch *watch = *at;
    if (!watch)
        return;
    *at = NULL;
    for (size_t i = 0; i < WATCHED; i++)
        uv_close((uv_handle_t *)&watch->events[i], watch_on_closed);
    uv_close((uv_handle_t *)&watch->quiet, watch_on_closed);
}
