/* Files that nobody else may read: keys, passwords, the configuration that holds one. And the folders they live in.
 *
 * A secret file is a regular file (never reached through a symbolic link as its last step), owned by us or by root, and closed to group and others, in a folder that these can't write to. */
#ifndef POSTERN_CONFIG_PRIVATE_H
#define POSTERN_CONFIG_PRIVATE_H

#include "base/buffer.h"
#include "base/result.h"

enum { PRIVATE_ERROR_MAX = 512 };

struct private_error {
    char text[PRIVATE_ERROR_MAX]; /* "keys/relay.key: others can read it; run: chmod 600 keys/relay.key" */
};

/* Checks an open file or folder. RESULT_OK; RESULT_DENIED with error filled; RESULT_IO. path is for the error's text. */
MUST_CHECK enum result private_check_fd(int fd, const char *path, struct private_error *error);
/* Of what is not secret but must be nobody else's to change: neither group nor others can write to the file or folder (one with the sticky bit is let
 * pass: nobody can replace another's file in it). RESULT_OK; RESULT_DENIED with error filled; RESULT_IO. */
MUST_CHECK enum result private_check_unwritable(int fd, const char *path, struct private_error *error);
/* The same of the folder that a file is in. Also RESULT_NOT_FOUND. */
MUST_CHECK enum result private_check_folder_of(const char *path, struct private_error *error);
/* Opens, checks (its folder, too) and reads a secret of at most the buffer's maximum. The memory is reserved in full before the first octet is read, so free it with
 * buffer_wipe_free. RESULT_OK, RESULT_NOT_FOUND, RESULT_DENIED, RESULT_LIMIT (too long), RESULT_IO, RESULT_MEMORY; error filled on all but OK. */
MUST_CHECK enum result private_read(const char *path, struct buffer *out, struct private_error *error);
/* Writes a secret: a new file of mode 0600 in place of an old one, durable when this returns. RESULT_OK, RESULT_DENIED, RESULT_FULL, RESULT_IO. */
MUST_CHECK enum result private_write(const char *path, struct slice content, struct private_error *error);
/* The same, but never in place of an old one: RESULT_EXISTS, and that one is as it was. */
MUST_CHECK enum result private_write_new(const char *path, struct slice content, struct private_error *error);
/* Makes a folder of mode 0700 and those above it that are missing; one that exists must be a folder, ours or root's, and not writable by others.
 * RESULT_OK, RESULT_DENIED, RESULT_FULL, RESULT_IO. */
MUST_CHECK enum result private_make_folder(const char *path, struct private_error *error);

#endif
