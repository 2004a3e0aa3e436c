/* Kills a running process when it enters its Nth system call from now on, all its threads counted together: nothing of what it was about to ask of the kernel happens.
 *
 *     killat PID N
 *
 * "ready" on standard output: from here on the calls count. Then it waits until the process is dead, or until standard input ends, which lets the process go on unharmed. The last line is "killed N CALL", with the number of the system call it died at, or
 * "survived N", with how many calls there were. N 0 kills nobody: it counts.
 *
 * Exit: 0; 1 on a failure of its own, with words on standard error (the process is left alone). */
#include "base/slice.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS_MAX = 256, OPTIONS = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK };

static pid_t traced[THREADS_MAX];
static size_t ntraced;

static int fail(const char *what)
{
    fprintf(stderr, "killat: %s: %s\n", what, strerror(errno));
    return 1;
}

static size_t place_of(pid_t thread)
{
    for (size_t i = 0; i < ntraced; i++)
        if (traced[i] == thread)
            return i;
    if (ntraced == THREADS_MAX)
        exit(fail("too many threads"));
    traced[ntraced] = thread;
    return ntraced++;
}

/* A thread that begins meanwhile is caught by PTRACE_O_TRACECLONE of its parent. */
static bool seize_all(pid_t process)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", (int)process);
    DIR *tasks = opendir(path);
    if (!tasks)
        return false;
    for (struct dirent *entry; (entry = readdir(tasks));) {
        uint64_t thread;
        if (slice_to_u64(slice_from_cstr(entry->d_name), INT32_MAX, &thread) && ptrace(PTRACE_SEIZE, (pid_t)thread, NULL, (void *)(long)OPTIONS) == 0)
            (void)place_of((pid_t)thread);
    }
    closedir(tasks);
    for (size_t i = 0; i < ntraced; i++)
        ptrace(PTRACE_INTERRUPT, traced[i], NULL, NULL);
    return ntraced > 0;
}

/* Until all have stopped once for PTRACE_INTERRUPT: then every later call counts. */
struct count {
    long calls, kill_at;
    size_t nstopped;
    bool is_ready, is_dead;
};

static void go_on(pid_t thread, int signal_number)
{
    ptrace(PTRACE_SYSCALL, thread, NULL, (void *)(long)signal_number);
}

static void on_call(struct count *count, pid_t process, pid_t thread)
{
    struct __ptrace_syscall_info info = {0};
    bool is_entry = ptrace(PTRACE_GET_SYSCALL_INFO, thread, (void *)sizeof info, &info) > 0 && info.op == PTRACE_SYSCALL_INFO_ENTRY;
    if (is_entry && count->is_ready && ++count->calls == count->kill_at) {
        printf("killed %ld %llu\n", count->calls, (unsigned long long)info.entry.nr);
        kill(process, SIGKILL);
    } else {
        go_on(thread, 0);
    }
}

static void on_stop(struct count *count, pid_t process, pid_t thread, int status)
{
    int number = WSTOPSIG(status), event = status >> 16;
    if (number == (SIGTRAP | 0x80)) {
        on_call(count, process, thread);
    } else if (event == PTRACE_EVENT_STOP) {
        (void)place_of(thread);
        count->nstopped++;
        go_on(thread, 0);
    } else {
        go_on(thread, event ? 0 : number);
    }
}

static void take_stops(struct count *count, pid_t process)
{
    int status;
    for (pid_t thread; !count->is_dead && (thread = waitpid(-1, &status, __WALL | WNOHANG)) > 0;) {
        if (WIFSTOPPED(status))
            on_stop(count, process, thread, status);
        else
            count->is_dead = thread == process;
    }
}

/* Until the process is dead, or nobody wants it to die any more. */
static void follow(struct count *count, pid_t process, int changes)
{
    struct pollfd waits[] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = changes, .events = POLLIN}};
    for (;;) {
        struct signalfd_siginfo change;
        char octet;
        take_stops(count, process);
        if (count->is_dead)
            return;
        if (!count->is_ready && count->nstopped >= ntraced) {
            count->is_ready = true;
            puts("ready");
        }
        if (poll(waits, 2, -1) < 0)
            continue;
        if (waits[0].revents && read(STDIN_FILENO, &octet, 1) <= 0)
            return;
        if (waits[1].revents && read(changes, &change, sizeof change) < 0)
            return;
    }
}

/* Who only exits leaves the process as it is: the kernel detaches it from a dead tracer. */
int main(int argc, char **argv)
{
    struct count count = {0};
    uint64_t process, kill_at;
    if (argc != 3 || !slice_to_u64(slice_from_cstr(argv[1]), INT32_MAX, &process) || !slice_to_u64(slice_from_cstr(argv[2]), INT32_MAX, &kill_at)) {
        fprintf(stderr, "usage: killat PID N\n");
        return 1;
    }
    count.kill_at = (long)kill_at;
    setvbuf(stdout, NULL, _IOLBF, 0);
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    sigprocmask(SIG_BLOCK, &children, NULL);
    int changes = signalfd(-1, &children, SFD_CLOEXEC);
    if (changes < 0 || !seize_all((pid_t)process))
        return fail("ptrace");
    follow(&count, (pid_t)process, changes);
    if (!count.is_dead)
        printf("survived %ld\n", count.calls);
    return 0;
}
