/* The child is asked and waited for: it is asked at the start only, before there is a loop whose turns could wait. */
#include "spool_key.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

extern char **environ;

struct child {
    pid_t pid;
    int in, out; /* our ends */
};

/* Whether there is a service is not known when there is no child to ask it: for want of memory, processes or open files, or, say, because the program's file has gone, which errno tells. */
static enum result result_of_error(int error)
{
    bool is_short = error == ENOMEM || error == EAGAIN || error == EMFILE || error == ENFILE;
    errno = error;
    return error == 0 ? RESULT_OK : is_short ? RESULT_MEMORY : RESULT_DENIED;
}

static int make_pipes(int in[2], int out[2])
{
    if (pipe2(in, O_CLOEXEC) != 0)
        return errno;
    if (pipe2(out, O_CLOEXEC) == 0)
        return 0;
    int error = errno;
    close(in[0]);
    close(in[1]);
    return error;
}

/* What it says on stderr is for who starts it by hand. Each call may find no memory, and a child that was not told all of it would have our own stdin and stdout. */
static int redirect(posix_spawn_file_actions_t *actions, int in, int out)
{
    int error = posix_spawn_file_actions_adddup2(actions, in, STDIN_FILENO);
    if (error == 0)
        error = posix_spawn_file_actions_adddup2(actions, out, STDOUT_FILENO);
    return error == 0 ? posix_spawn_file_actions_addopen(actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0) : error;
}

/* In a group of its own, so that a helper of the library's goes with it. */
static int detach(posix_spawnattr_t *attributes)
{
    int error = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETPGROUP);
    return error == 0 ? posix_spawnattr_setpgroup(attributes, 0) : error;
}

static int spawn_with(const posix_spawn_file_actions_t *actions, const char *program, char *const arguments[], pid_t *pid)
{
    posix_spawnattr_t attributes;
    int error = posix_spawnattr_init(&attributes);
    if (error != 0)
        return error;
    error = detach(&attributes);
    if (error == 0)
        error = posix_spawn(pid, program, actions, &attributes, arguments, environ);
    posix_spawnattr_destroy(&attributes);
    return error;
}

static int spawn(const char *program, char *const arguments[], int in, int out, pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    int error = posix_spawn_file_actions_init(&actions);
    if (error != 0)
        return error;
    error = redirect(&actions, in, out);
    if (error == 0)
        error = spawn_with(&actions, program, arguments, pid);
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

static enum result start(struct child *child, const char *program, const char *verb, const char *name)
{
    char *arguments[] = {(char *)(uintptr_t) "postern-agent", (char *)(uintptr_t) "secret", (char *)(uintptr_t)verb, (char *)(uintptr_t)name, NULL};
    int in[2], out[2];
    if (program[0] == '\0')
        return result_of_error(ENOENT);
    int error = make_pipes(in, out);
    if (error != 0)
        return result_of_error(error);
    error = spawn(program, arguments, in[0], out[1], &child->pid);
    close(in[0]);
    close(out[1]);
    child->in = in[1];
    child->out = out[0];
    if (error != 0) {
        close(child->in);
        close(child->out);
    }
    return result_of_error(error);
}

/* Adds to the *len octets, up to SPOOL_KEY_TEXT; false: not all of it came in time. */
static bool listen_to(const struct child *child, char *text, size_t *len)
{
    uint64_t end_ns = uv_hrtime() + (uint64_t)SPOOL_KEY_SECRET_MS * 1000000;
    for (;;) {
        uint64_t now_ns = uv_hrtime();
        struct pollfd ready = {.fd = child->out, .events = POLLIN};
        int n = now_ns < end_ns ? poll(&ready, 1, (int)((end_ns - now_ns) / 1000000) + 1) : 0;
        if (n == 0)
            return false;
        if (n < 0)
            continue;
        ssize_t got = read(child->out, text + *len, (size_t)SPOOL_KEY_TEXT - *len);
        if (got <= 0)
            return got == 0;
        *len += (size_t)got;
        if (*len == SPOOL_KEY_TEXT)
            return true;
    }
}

static int wait_for(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return EX_SOFTWARE;
    return WIFEXITED(status) ? WEXITSTATUS(status) : EX_TEMPFAIL; /* its own alarm, or ours: no answer in time */
}

static enum result result_of(int exit_code)
{
    switch (exit_code) {
    case EX_OK: return RESULT_OK;
    case EX_NOINPUT: return RESULT_NOT_FOUND;
    case EX_TEMPFAIL: return RESULT_CANCELLED;
    case EX_NOHOST: return RESULT_LIMIT;
    case EX_OSERR: return RESULT_MEMORY;
    default: return RESULT_IO;
    }
}

static enum result ask(const char *program, const char *verb, const char *name, struct slice said, char *text, size_t *len)
{
    struct child child;
    *len = 0;
    enum result result = start(&child, program, verb, name);
    if (result != RESULT_OK)
        return result;
    /* A pipe takes that much at once; one whose reader is gone says so by EPIPE, for SIGPIPE is ignored. */
    bool is_said = write(child.in, said.ptr ? said.ptr : "", said.len) == (ssize_t)said.len;
    close(child.in);
    if (!listen_to(&child, text, len))
        kill(-child.pid, SIGKILL);
    close(child.out);
    result = result_of(wait_for(child.pid));
    return is_said || result != RESULT_OK ? result : RESULT_IO;
}

enum result secret_child_get(const char *program, const char *name, char text[static SPOOL_KEY_TEXT + 1])
{
    size_t len;
    enum result result = ask(program, "get", name, (struct slice){0}, text, &len);
    text[len] = '\0';
    return result == RESULT_OK && len != SPOOL_KEY_TEXT ? RESULT_IO : result;
}

enum result secret_child_put(const char *program, const char *name, const char text[static SPOOL_KEY_TEXT + 1])
{
    char nothing[SPOOL_KEY_TEXT];
    size_t len;
    return ask(program, "put", name, slice_of(text, SPOOL_KEY_TEXT), nothing, &len);
}
