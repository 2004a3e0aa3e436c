/* Programs that answer too early, made of ours: loaded before them (LD_PRELOAD), it takes the sense out of fsync and fdatasync. With that the
 * power-cut test must find lost mail; if it does not, it is the test that is broken.
 *
 *     POSTERN_BROKEN=nosync    they do nothing and say that they did
 *     POSTERN_BROKEN=late      they say so at once, and do it in a moment */
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void *sync_later(void *fd)
{
    nanosleep(&(struct timespec){.tv_nsec = 30 * 1000 * 1000}, NULL);
    syscall(SYS_fsync, (int)(intptr_t)fd);
    close((int)(intptr_t)fd);
    return NULL;
}

static int pretend(int fd)
{
    pthread_t thread;
    const char *how = getenv("POSTERN_BROKEN");
    if (!how || strcmp(how, "late") != 0)
        return 0;
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy >= 0 && pthread_create(&thread, NULL, sync_later, (void *)(intptr_t)copy) == 0)
        pthread_detach(thread);
    return 0;
}

int fsync(int fd)
{
    return pretend(fd);
}

int fdatasync(int fd)
{
    return pretend(fd);
}
