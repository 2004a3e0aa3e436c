#include "support/netloop.h"

#include <assert.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { GUARD_MS = 10 * 1000 };

static void need(bool is_true, const char *what)
{
    if (!is_true) {
        fprintf(stderr, "netloop: %s\n", what);
        abort();
    }
}

static void on_guard(uv_timer_t *timer)
{
    timer->data = timer; /* late */
}

void netloop_open(struct netloop *net)
{
    signal(SIGPIPE, SIG_IGN);
    need(uv_loop_init(&net->loop) == 0 && uv_timer_init(&net->loop, &net->guard) == 0, "no loop");
    net->guard.data = NULL;
}

void netloop_arm(struct netloop *net)
{
    net->guard.data = NULL;
    uv_update_time(&net->loop);
    uv_timer_start(&net->guard, on_guard, GUARD_MS, 0);
}

bool netloop_step(struct netloop *net)
{
    uv_run(&net->loop, UV_RUN_ONCE);
    return net->guard.data == NULL;
}

static void show_handle(uv_handle_t *handle, void *unused)
{
    (void)unused;
    fprintf(stderr, "netloop: left over: %s\n", uv_handle_type_name(uv_handle_get_type(handle)));
}

void netloop_close(struct netloop *net)
{
    netloop_arm(net);
    uv_unref((uv_handle_t *)&net->guard);
    while (uv_loop_alive(&net->loop))
        need(netloop_step(net), "the loop does not come to its end");
    uv_close((uv_handle_t *)&net->guard, NULL);
    uv_run(&net->loop, UV_RUN_DEFAULT);
    int left = uv_loop_close(&net->loop);
    if (left)
        uv_walk(&net->loop, show_handle, NULL);
    need(left == 0, "the loop is not empty at its end");
}

int netloop_listen(struct sockaddr_storage *address)
{
    struct sockaddr_in in4 = {.sin_family = AF_INET};
    socklen_t len = sizeof *address;
    uv_ip4_addr("127.0.0.1", 0, &in4);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    need(fd >= 0 && bind(fd, (struct sockaddr *)&in4, sizeof in4) == 0 && listen(fd, 8) == 0 &&
             getsockname(fd, (struct sockaddr *)address, &len) == 0, "cannot listen");
    return fd;
}

static void on_event(void *context, struct stream *stream, enum stream_event event)
{
    struct net_end *end = context;
    end->told[event]++;
    if (event == STREAM_DATA && !end->keeps_input) {
        struct slice in = stream_input(stream);
        need(buffer_append(&end->got, in) == RESULT_OK, "memory");
        stream_consume(stream, in.len);
    }
    if (event == STREAM_FAILED)
        end->error = *stream_error(stream);
    if (end->hook)
        end->hook(end, event);
    if (event == STREAM_EOF && end->closes_at_end)
        stream_finish(stream, 1000);
    if (event == STREAM_FAILED && end->closes_at_end)
        stream_close(stream);
    if (event == STREAM_CLOSED)
        end->stream = NULL;
}

struct stream_owner net_end_owner(struct net_end *end)
{
    return (struct stream_owner){on_event, end};
}

void net_pair(struct netloop *net, struct net_end *left, struct net_end *right)
{
    struct sockaddr_storage address;
    int listener = netloop_listen(&address);
    left->got = right->got = BUFFER(64 * 1024 * 1024);
    need(stream_connect(&left->stream, &net->loop, (struct sockaddr *)&address, net_end_owner(left), NULL) == RESULT_OK, "connect");
    netloop_arm(net);
    while (!left->told[STREAM_OPENED])
        need(netloop_step(net), "no connection");
    int fd = accept(listener, NULL, NULL);
    need(fd >= 0 && stream_accept(&right->stream, &net->loop, fd, net_end_owner(right), NULL) == RESULT_OK, "accept");
    close(listener);
}

void net_end_write(struct net_end *end, const char *text)
{
    need(stream_write(end->stream, slice_from_cstr(text)) == RESULT_OK, "write");
}

void net_pair_close(struct netloop *net, struct net_end *left, struct net_end *right)
{
    if (left->stream)
        stream_close(left->stream);
    if (right->stream)
        stream_close(right->stream);
    netloop_arm(net);
    while (left->stream || right->stream)
        need(netloop_step(net), "CLOSED does not come");
    need(left->told[STREAM_CLOSED] == 1 && right->told[STREAM_CLOSED] == 1, "CLOSED exactly once");
    buffer_free(&left->got);
    buffer_free(&right->got);
}
