/* A program for test_monitor.py: says what net/monitor.h tells, one line an event, on stdout.
 *
 *   event up=1 key=HEX|- changed=1 slept=0
 *   settled gathered=N rests=1       after SIGUSR1, when nothing is under way any more: how often the facts were gathered; whether the loop waits for descriptors alone, without any timer
 *   stopped                          after SIGTERM, when everything is closed
 *
 * SIGUSR2: the machine sleeps for 100 s, as far as this process can see (a time namespace, time_namespaces(7)), and monitor_look is called.
 * Argument --poll: the portable source. */
#include "net/monitor_internal.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SIGNALS = 3, SETTLE_MS = 10 };

struct watch {
    uv_loop_t loop;
    struct monitor *monitor;
    uv_signal_t signals[SIGNALS];
    uv_timer_t settle;
};

static void say(const char *words)
{
    if (write(STDOUT_FILENO, words, strlen(words)) < 0)
        abort();
}

static void on_change(void *context, const struct monitor_event *event)
{
    char key[2 * MONITOR_NETWORK_KEY + 1] = "-", line[128];
    (void)context;
    if (event->has_key)
        crypto_hex(slice_of(event->key, sizeof event->key), key, sizeof key);
    snprintf(line, sizeof line, "event up=%d key=%s changed=%d slept=%d\n", event->is_up, key, event->has_changed, event->has_slept);
    say(line);
}

static void on_settle(uv_timer_t *timer)
{
    struct watch *watch = timer->data;
    char line[80];
    if (!monitor_is_settled(watch->monitor))
        return;
    uv_timer_stop(timer);
    snprintf(line, sizeof line, "settled gathered=%llu rests=%d\n", (unsigned long long)watch->monitor->ngathered, uv_backend_timeout(&watch->loop) == -1);
    say(line);
}

static void write_file(const char *file, const char *text)
{
    int fd = open(file, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        say("error: no time namespace\n");
    if (fd >= 0)
        close(fd);
}

static void pretend_sleep(void)
{
    if (unshare(CLONE_NEWTIME) != 0)
        say("error: no time namespace\n");
    write_file("/proc/self/timens_offsets", "boottime 100 0\n");
    int fd = open("/proc/self/ns/time_for_children", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || setns(fd, CLONE_NEWTIME) != 0)
        say("error: can't enter the time namespace\n");
    if (fd >= 0)
        close(fd);
}

static void on_stopped(void *context)
{
    struct watch *watch = context;
    for (int i = 0; i < SIGNALS; i++)
        uv_close((uv_handle_t *)&watch->signals[i], NULL);
    uv_close((uv_handle_t *)&watch->settle, NULL);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct watch *watch = handle->data;
    if (number == SIGUSR1) {
        uv_timer_start(&watch->settle, on_settle, SETTLE_MS, SETTLE_MS);
    } else if (number == SIGUSR2) {
        pretend_sleep();
        monitor_look(watch->monitor);
    } else if (watch->monitor) {
        monitor_stop(&watch->monitor, on_stopped, watch);
    }
}

static enum result start(struct watch *watch, bool shall_poll)
{
    const struct monitor_config config = {.secret = "a secret of the tests", .poll_ms = 50, .on_change = on_change, .context = watch};
    return shall_poll ? monitor_start_polling(&watch->monitor, &watch->loop, &config) : monitor_start(&watch->monitor, &watch->loop, &config);
}

int main(int argc, char **argv)
{
    static const int NUMBERS[SIGNALS] = {SIGUSR1, SIGUSR2, SIGTERM};
    static struct watch watch;
    if (crypto_init() != RESULT_OK || uv_loop_init(&watch.loop) != 0)
        return 1;
    for (int i = 0; i < SIGNALS; i++) {
        uv_signal_init(&watch.loop, &watch.signals[i]);
        watch.signals[i].data = &watch;
        uv_signal_start(&watch.signals[i], on_signal, NUMBERS[i]);
    }
    uv_timer_init(&watch.loop, &watch.settle);
    watch.settle.data = &watch;
    if (start(&watch, argc > 1 && strcmp(argv[1], "--poll") == 0) != RESULT_OK)
        return 1;
    uv_run(&watch.loop, UV_RUN_DEFAULT);
    if (uv_loop_close(&watch.loop) != 0)
        return 1;
    say("stopped\n");
    return 0;
}
