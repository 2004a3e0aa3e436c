#include "config/private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_SIZE = 4096 };

static enum result refuse(struct private_error *error, enum result result, const char *format, ...) PRINTF_LIKE(3, 4);
static enum result refuse(struct private_error *error, enum result result, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error->text, sizeof error->text, format, args);
    va_end(args);
    return result;
}

/* Of the errno that a call on path has just left. */
static enum result refuse_errno(struct private_error *error, const char *path)
{
    int number = errno;
    if (number == ELOOP)
        return refuse(error, RESULT_DENIED, "%s: is a symbolic link; give the file itself", path);
    enum result result = number == ENOENT || number == ENOTDIR                        ? RESULT_NOT_FOUND
                         : number == EACCES || number == EPERM || number == EROFS     ? RESULT_DENIED
                         : number == ENOSPC || number == EDQUOT                       ? RESULT_FULL
                                                                                      : RESULT_IO;
    return refuse(error, result, "%s: %s", path, strerror(number));
}

static bool is_ours(const struct stat *status)
{
    return status->st_uid == geteuid() || status->st_uid == 0;
}

enum result private_check_fd(int fd, const char *path, struct private_error *error)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        return refuse_errno(error, path);
    if (!S_ISREG(status.st_mode))
        return refuse(error, RESULT_DENIED, "%s: is not a file", path);
    if (!is_ours(&status))
        return refuse(error, RESULT_DENIED, "%s: belongs to another user; run: chown %u %s", path, (unsigned)geteuid(), path);
    if ((status.st_mode & 077) != 0)
        return refuse(error, RESULT_DENIED, "%s: others can read it; run: chmod 600 %s", path, path);
    return RESULT_OK;
}

/* One octet more than may be is asked for, to tell a file that is too long. */
static enum result read_all(int fd, const char *path, struct buffer *out, struct private_error *error)
{
    char *at = NULL, beyond = 0;
    size_t room = buffer_room(out), len = 0;
    if (buffer_reserve(out, room, &at) != RESULT_OK)
        return refuse(error, RESULT_MEMORY, "%s: out of memory", path);
    for (;;) {
        ssize_t n = len < room ? read(fd, at + len, room - len) : read(fd, &beyond, 1);
        if (n < 0 && errno != EINTR)
            return refuse_errno(error, path);
        if (n == 0)
            break;
        if (n > 0 && len == room) {
            explicit_bzero(&beyond, 1);
            return refuse(error, RESULT_LIMIT, "%s: is longer than %zu octets", path, room);
        }
        len += n > 0 ? (size_t)n : 0;
    }
    buffer_commit(out, len);
    return RESULT_OK;
}

static bool write_all(int fd, struct slice content)
{
    while (content.len > 0) {
        ssize_t n = write(fd, content.ptr, content.len);
        if (n < 0 && errno != EINTR)
            return false;
        content = slice_skip(content, n > 0 ? (size_t)n : 0);
    }
    return fsync(fd) == 0;
}

/* The folder of path, in out. */
static bool folder_of(const char *path, char out[static PATH_SIZE])
{
    struct slice folder = slice_from_cstr(path);
    ptrdiff_t slash = slice_find_last(folder, '/');
    if (slash < 0)
        return slice_to_cstr(SLICE("."), out, PATH_SIZE);
    return slice_to_cstr(slice_take(folder, slash > 0 ? (size_t)slash : 1), out, PATH_SIZE);
}

enum result private_check_unwritable(int fd, const char *path, struct private_error *error)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        return refuse_errno(error, path);
    bool is_file = S_ISREG(status.st_mode), is_folder = S_ISDIR(status.st_mode) && (status.st_mode & S_ISVTX) == 0;
    if ((is_file || is_folder) && (status.st_mode & 022) != 0)
        return refuse(error, RESULT_DENIED, "%s: others can write to it; run: chmod go-w %s", path, path);
    return RESULT_OK;
}

enum result private_check_folder_of(const char *path, struct private_error *error)
{
    char folder[PATH_SIZE];
    if (!folder_of(path, folder))
        return refuse(error, RESULT_IO, "%.80s...: the path is too long", path);
    int fd = open(folder, O_PATH | O_CLOEXEC | O_DIRECTORY);
    if (fd < 0)
        return refuse_errno(error, folder);
    enum result result = private_check_unwritable(fd, folder, error);
    close(fd);
    return result;
}

enum result private_read(const char *path, struct buffer *out, struct private_error *error)
{
    /* O_NONBLOCK: a pipe in the file's place must not hold us up before the check refuses it. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return refuse_errno(error, path);
    enum result result = private_check_fd(fd, path, error);
    if (result == RESULT_OK)
        result = private_check_folder_of(path, error); /* who can write there can put another in its place */
    if (result == RESULT_OK)
        result = read_all(fd, path, out, error);
    close(fd);
    return result;
}

static bool sync_folder(const char *folder)
{
    int fd = open(folder, O_RDONLY | O_CLOEXEC | O_DIRECTORY);
    bool is_synced = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return is_synced;
}

/* Under the new name whole, or not at all; with is_new never over another. */
static enum result put_in_place(const char *temporary, const char *path, bool is_new, const char *folder, struct private_error *error)
{
    if ((is_new ? link(temporary, path) : rename(temporary, path)) != 0)
        return errno == EEXIST ? refuse(error, RESULT_EXISTS, "%s: is there already", path) : refuse_errno(error, path);
    if (is_new && unlink(temporary) != 0)
        return refuse_errno(error, temporary);
    return sync_folder(folder) ? RESULT_OK : refuse_errno(error, path);
}

static enum result write_file(const char *path, struct slice content, bool is_new, struct private_error *error)
{
    char folder[PATH_SIZE], temporary[PATH_SIZE];
    if (!folder_of(path, folder) || snprintf(temporary, sizeof temporary, "%s.new", path) >= (int)sizeof temporary)
        return refuse(error, RESULT_IO, "%.80s...: the path is too long", path);
    unlink(temporary); /* left by a crash */
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return refuse_errno(error, temporary);
    enum result result = RESULT_OK;
    if (!write_all(fd, content))
        result = refuse_errno(error, temporary);
    if (close(fd) != 0 && result == RESULT_OK)
        result = refuse_errno(error, temporary);
    if (result == RESULT_OK)
        result = put_in_place(temporary, path, is_new, folder, error);
    if (result != RESULT_OK)
        unlink(temporary);
    return result;
}

enum result private_write(const char *path, struct slice content, struct private_error *error)
{
    return write_file(path, content, false, error);
}

enum result private_write_new(const char *path, struct slice content, struct private_error *error)
{
    return write_file(path, content, true, error);
}

static enum result check_folder(const char *path, struct private_error *error)
{
    struct stat status;
    if (stat(path, &status) != 0)
        return refuse_errno(error, path);
    if (!S_ISDIR(status.st_mode))
        return refuse(error, RESULT_DENIED, "%s: is not a folder", path);
    if (!is_ours(&status))
        return refuse(error, RESULT_DENIED, "%s: belongs to another user; run: chown %u %s", path, (unsigned)geteuid(), path);
    if ((status.st_mode & 022) != 0)
        return refuse(error, RESULT_DENIED, "%s: others can write to it; run: chmod go-w %s", path, path);
    return RESULT_OK;
}

enum result private_make_folder(const char *path, struct private_error *error)
{
    char partial[PATH_SIZE];
    struct slice whole = slice_from_cstr(path);
    if (whole.len == 0 || whole.len >= sizeof partial)
        return refuse(error, RESULT_IO, "%.80s: the path is empty or too long", path);
    for (size_t len = 1; len <= whole.len; len++) {
        if (len < whole.len && path[len] != '/')
            continue;
        bool fits = slice_to_cstr(slice_take(whole, len), partial, sizeof partial);
        if (!fits || (mkdir(partial, 0700) != 0 && errno != EEXIST))
            return refuse_errno(error, partial);
    }
    return check_folder(path, error);
}
