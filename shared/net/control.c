#include "net/control.h"

#include "base/buffer.h"
#include "base/list.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

struct control_server {
    uv_pipe_t pipe;
    control_handler *handler;
    void *context;
    const struct log *log;
    char *path;
    struct list calls;
    bool is_closing, is_pipe_closed;
    void (*on_closed)(void *);
    void *closed_context;
};

/* A call over the socket has a server and a pipe; a local one has on_line. The connection and the handler's debt end independently, the memory
 * goes when both have. */
struct control_call {
    struct list_node node;
    struct control_server *server;
    uv_pipe_t pipe;
    struct buffer input;
    char read_block[4096];
    bool is_asked;    /* the handler has it and owes an answer */
    bool is_answered;
    bool is_closing, is_closed; /* the pipe */
    void (*on_line)(void *context, const json_t *line);
    void *line_context;
};

/* ---- writing an answer ------------------------------------------------------------------------------------------ */

struct line_write {
    uv_write_t request;
    char *text;
};

static void call_release(struct control_call *call)
{
    bool is_owed = call->is_asked && !call->is_answered;
    if (is_owed || (call->server && !call->is_closed))
        return;
    struct control_server *server = call->server;
    list_remove(&call->node);
    buffer_free(&call->input);
    free(call);
    if (server && server->is_pipe_closed && list_is_empty(&server->calls)) {
        if (server->on_closed)
            server->on_closed(server->closed_context);
        free(server->path);
        free(server);
    }
}

static void on_pipe_closed(uv_handle_t *handle)
{
    struct control_call *call = handle->data;
    call->is_closed = true;
    call_release(call);
}

static void hang_up(struct control_call *call)
{
    if (!call->server || call->is_closing)
        return;
    call->is_closing = true;
    uv_close((uv_handle_t *)&call->pipe, on_pipe_closed);
}

static void on_written(uv_write_t *request, int status)
{
    struct line_write *write = LIST_OWNER(request, struct line_write, request);
    struct control_call *call = request->data;
    free(write->text);
    free(write);
    if (status == UV_ECANCELED)
        return;
    if (status < 0 || (call->is_answered && uv_stream_get_write_queue_size((uv_stream_t *)&call->pipe) == 0))
        hang_up(call);
}

static char line_feed[] = "\n"; /* libuv takes no const */

static void send_line(struct control_call *call, const json_t *line)
{
    if (call->is_closing)
        return;
    struct line_write *write = calloc(1, sizeof *write);
    char *text = json_dumps(line, JSON_COMPACT);
    if (!write || !text)
        goto fail;
    write->text = text;
    write->request.data = call;
    uv_buf_t parts[] = {uv_buf_init(text, (unsigned)strlen(text)), uv_buf_init(line_feed, 1)};
    if (uv_write(&write->request, (uv_stream_t *)&call->pipe, parts, 2, on_written) == 0)
        return;
fail:
    free(text);
    free(write);
    hang_up(call);
}

static void emit(struct control_call *call, json_t *line)
{
    if (!line)
        line = json_pack("{s:s, s:i}", "error", "out of memory", "exit", EX_OSERR);
    if (!line)
        hang_up(call);
    else if (call->server)
        send_line(call, line);
    else
        call->on_line(call->line_context, line);
    json_decref(line);
}

void control_progress(struct control_call *call, json_t *progress)
{
    emit(call, json_pack("{s:o}", "progress", progress));
}

static void answer(struct control_call *call, json_t *line)
{
    assert(!call->is_answered);
    call->is_answered = true;
    emit(call, line);
    call_release(call);
}

void control_result(struct control_call *call, json_t *result)
{
    answer(call, json_pack("{s:o}", "result", result));
}

void control_error(struct control_call *call, int exit_code, const char *format, ...)
{
    char words[CONTROL_WORDS_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(words, sizeof words, format, args);
    va_end(args);
    answer(call, json_pack("{s:s, s:i}", "error", words, "exit", exit_code));
}

bool control_is_abandoned(const struct control_call *call)
{
    return call->server && call->is_closing;
}

/* ---- the server ------------------------------------------------------------------------------------------------- */

static void ask_handler(struct control_call *call, struct slice line)
{
    json_t *request = json_loadb(line.ptr, line.len, 0, NULL);
    const char *command = json_string_value(json_object_get(request, "command"));
    json_t *arguments = json_object_get(request, "arguments");
    call->is_asked = true;
    if (!command || (arguments && !json_is_object(arguments))) {
        control_error(call, EX_PROTOCOL, "the control socket takes one line of JSON: {\"command\": ..., \"arguments\": {...}}");
    } else {
        json_t *none = arguments ? NULL : json_object();
        call->server->handler(call->server->context, call, command, arguments ? arguments : none);
        json_decref(none);
    }
    json_decref(request);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct control_call *call = handle->data;
    (void)suggested;
    *buf = uv_buf_init(call->read_block, sizeof call->read_block);
}

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf)
{
    struct control_call *call = stream->data;
    struct slice line, rest;
    if (nread == 0)
        return;
    /* Behind the request only the end of the connection means something: the asker has gone. */
    if (nread < 0 || call->is_asked) {
        if (nread < 0)
            hang_up(call);
        return;
    }
    if (buffer_append(&call->input, slice_of(buf->base, (size_t)nread)) != RESULT_OK) {
        hang_up(call);
        return;
    }
    if (slice_cut(buffer_slice(&call->input), '\n', &line, &rest))
        ask_handler(call, line);
}

static bool is_allowed(const struct control_call *call)
{
    int fd;
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (uv_fileno((const uv_handle_t *)&call->pipe, &fd) < 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
        return false;
    return peer.uid == 0 || peer.uid == geteuid();
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct control_server *server = listener->data;
    if (status < 0)
        return;
    struct control_call *call = calloc(1, sizeof *call);
    if (!call || uv_pipe_init(listener->loop, &call->pipe, 0) < 0) {
        free(call);
        return;
    }
    call->server = server;
    call->input = BUFFER(CONTROL_REQUEST_MAX);
    call->pipe.data = call;
    list_append(&server->calls, &call->node);
    bool is_accepted = uv_accept(listener, (uv_stream_t *)&call->pipe) == 0;
    if (!is_accepted || server->calls.count > CONTROL_CALLS_MAX || !is_allowed(call) ||
        uv_read_start((uv_stream_t *)&call->pipe, on_alloc, on_read) < 0)
        hang_up(call);
}

/* A path of a unix socket is at most 107 octets; a longer one is reached through its folder's descriptor. */
static bool short_path(const char *path, char *out, size_t size, int *folder_fd)
{
    *folder_fd = -1;
    if (strlen(path) < size) {
        memcpy(out, path, strlen(path) + 1);
        return true;
    }
    const char *name = strrchr(path, '/');
    char *folder = name ? strndup(path, (size_t)(name - path)) : NULL;
    *folder_fd = folder ? open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    free(folder);
    return *folder_fd >= 0 && (size_t)snprintf(out, size, "/proc/self/fd/%d%s", *folder_fd, name) < size;
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct control_server *server = handle->data;
    server->is_pipe_closed = true;
    if (!list_is_empty(&server->calls))
        return;
    if (server->on_closed)
        server->on_closed(server->closed_context);
    free(server->path);
    free(server);
}

static int bind_and_listen(struct control_server *server, const char *path)
{
    char name[sizeof ((struct sockaddr_un *)NULL)->sun_path];
    int folder_fd;
    if (!short_path(path, name, sizeof name, &folder_fd))
        return UV_ENAMETOOLONG;
    unlink(path);
    mode_t mask = umask(0177);
    int rc = uv_pipe_bind(&server->pipe, name);
    umask(mask);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)&server->pipe, 16, on_connection);
    if (folder_fd >= 0)
        close(folder_fd);
    return rc;
}

enum result control_server_open(struct control_server **out, uv_loop_t *loop, const char *socket_path, control_handler *handler, void *context,
                                const struct log *log, char *why, size_t why_size)
{
    struct control_server *server = calloc(1, sizeof *server);
    *out = NULL;
    if (!server || !(server->path = strdup(socket_path)) || uv_pipe_init(loop, &server->pipe, 0) < 0) {
        if (server)
            free(server->path);
        free(server);
        snprintf(why, why_size, "out of memory");
        return RESULT_MEMORY;
    }
    server->handler = handler;
    server->context = context;
    server->log = log;
    server->pipe.data = server;
    int rc = bind_and_listen(server, socket_path);
    if (rc < 0) {
        snprintf(why, why_size, "cannot make the control socket %s: %s", socket_path, uv_strerror(rc));
        control_server_close(server, NULL, NULL);
        return rc == UV_EACCES || rc == UV_EPERM ? RESULT_DENIED : RESULT_IO;
    }
    /* Answers that are owed keep the loop alive through their own handles; waiting for questions does not. */
    uv_unref((uv_handle_t *)&server->pipe);
    *out = server;
    return RESULT_OK;
}

void control_server_close(struct control_server *server, void (*on_closed)(void *), void *context)
{
    assert(!server->is_closing);
    server->is_closing = true;
    server->on_closed = on_closed;
    server->closed_context = context;
    unlink(server->path);
    LIST_EACH(node, &server->calls)
        hang_up(LIST_OWNER(node, struct control_call, node));
    uv_close((uv_handle_t *)&server->pipe, on_listener_closed);
}

void control_call_local(control_handler *handler, void *handler_context, const char *command, const json_t *arguments,
                        void (*on_line)(void *context, const json_t *line), void *context)
{
    struct control_call *call = calloc(1, sizeof *call);
    if (!call) {
        json_t *line = json_pack("{s:s, s:i}", "error", "out of memory", "exit", EX_OSERR);
        on_line(context, line);
        json_decref(line);
        return;
    }
    call->on_line = on_line;
    call->line_context = context;
    call->is_asked = true;
    handler(handler_context, call, command, arguments);
}

/* ---- the asker -------------------------------------------------------------------------------------------------- */

static enum result dial(const char *path, int *out)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int folder_fd;
    *out = -1;
    if (!short_path(path, address.sun_path, sizeof address.sun_path, &folder_fd))
        return RESULT_NOT_FOUND;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = fd < 0 ? -1 : connect(fd, (struct sockaddr *)&address, sizeof address);
    int error = errno;
    if (folder_fd >= 0)
        close(folder_fd);
    if (rc == 0) {
        *out = fd;
        return RESULT_OK;
    }
    if (fd >= 0)
        close(fd);
    return error == ENOENT || error == ECONNREFUSED || error == ENOTDIR ? RESULT_NOT_FOUND : error == EACCES || error == EPERM ? RESULT_DENIED : RESULT_IO;
}

static bool is_final(const json_t *line)
{
    return json_object_get(line, "result") || json_object_get(line, "error");
}

static enum result read_answer(FILE *from, void (*on_line)(void *context, const json_t *line), void *context)
{
    char *text = NULL;
    size_t size = 0;
    ssize_t len;
    bool is_whole = false;
    while (!is_whole && (len = getline(&text, &size, from)) > 0) {
        json_t *line = json_loadb(text, (size_t)len, 0, NULL);
        is_whole = is_final(line);
        if (line)
            on_line(context, line);
        json_decref(line);
    }
    free(text);
    return is_whole ? RESULT_OK : RESULT_IO;
}

enum result control_ask(const char *socket_path, const char *command, const json_t *arguments, void (*on_line)(void *context, const json_t *line),
                        void *context)
{
    int fd;
    enum result dialled = dial(socket_path, &fd);
    if (dialled != RESULT_OK)
        return dialled;
    FILE *stream = fdopen(fd, "r+");
    json_t *request = json_pack("{s:s, s:O?}", "command", command, "arguments", (json_t *)(uintptr_t)arguments);
    enum result result = RESULT_IO;
    if (stream && request && json_dumpf(request, stream, JSON_COMPACT) == 0 && fputs("\n", stream) >= 0 && fflush(stream) == 0)
        result = read_answer(stream, on_line, context);
    json_decref(request);
    if (stream)
        fclose(stream);
    else
        close(fd);
    return result;
}
