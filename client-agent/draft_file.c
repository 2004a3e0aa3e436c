#include "draft_file.h"

#include "crypto/seal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 64 * 1024, RECORD = BLOCK + SEAL_OVERHEAD, NO_BLOCK = -1 };

/* Whole blocks are on the disk, sealed; the last one, not yet whole, is in `tail`. */
struct draft_file {
    FILE *disk; /* NULL: nothing had to go there */
    struct seal *seal;
    int64_t nblocks, loaded; /* on the disk; the one that is in `block` */
    int64_t size, at;        /* octets */
    char tail[BLOCK], block[BLOCK];
    uint8_t record[RECORD];
};

static struct seal_place place_of(int64_t number)
{
    return (struct seal_place){.seq = (uint32_t)number};
}

static bool write_block(struct draft_file *file)
{
    const struct seal_place place = place_of(file->nblocks);
    if (!file->disk)
        file->disk = tmpfile();
    if (!file->disk || seal_put(file->seal, &place, slice_of(file->tail, BLOCK), file->record) != RESULT_OK)
        return false;
    if (pwrite(fileno(file->disk), file->record, RECORD, file->nblocks * RECORD) != RECORD)
        return false;
    file->nblocks++;
    return true;
}

static bool read_block(struct draft_file *file, int64_t number)
{
    const struct seal_place place = place_of(number);
    if (file->loaded == number)
        return true;
    file->loaded = NO_BLOCK;
    if (pread(fileno(file->disk), file->record, RECORD, number * RECORD) != RECORD ||
        seal_take(file->seal, &place, slice_of(file->record, RECORD), (uint8_t *)file->block) != RESULT_OK) {
        errno = EIO;
        return false;
    }
    file->loaded = number;
    return true;
}

/* ---- as a stream of the C library's ------------------------------------------------------------------------------ */

/* Always at the end. */
static ssize_t on_write(void *cookie, const char *octets, size_t len)
{
    struct draft_file *file = cookie;
    for (size_t done = 0; done < len;) {
        size_t filled = (size_t)(file->size - file->nblocks * BLOCK), n = len - done < BLOCK - filled ? len - done : BLOCK - filled;
        memcpy(file->tail + filled, octets + done, n);
        file->size += (int64_t)n;
        done += n;
        if (filled + n == BLOCK && !write_block(file))
            return 0;
    }
    file->at = file->size;
    return (ssize_t)len;
}

static ssize_t on_read(void *cookie, char *out, size_t len)
{
    struct draft_file *file = cookie;
    int64_t number = file->at / BLOCK, left = file->size - file->at;
    size_t from = (size_t)(file->at % BLOCK), n = len < BLOCK - from ? len : BLOCK - from;
    if (left <= 0)
        return 0;
    if ((int64_t)n > left)
        n = (size_t)left;
    if (number < file->nblocks && !read_block(file, number))
        return -1;
    memcpy(out, (number < file->nblocks ? file->block : file->tail) + from, n);
    file->at += (int64_t)n;
    return (ssize_t)n;
}

static int on_seek(void *cookie, off64_t *offset, int whence)
{
    struct draft_file *file = cookie;
    int64_t base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? file->at : file->size;
    if (base + *offset < 0 || base + *offset > file->size)
        return -1;
    file->at = *offset = base + *offset;
    return 0;
}

static int on_close(void *cookie)
{
    struct draft_file *file = cookie;
    if (file->disk)
        fclose(file->disk);
    seal_free(&file->seal);
    crypto_wipe(file, sizeof *file);
    free(file);
    return 0;
}

FILE *draft_file_open(void)
{
    static const cookie_io_functions_t functions = {.read = on_read, .write = on_write, .seek = on_seek, .close = on_close};
    const uint8_t salt[SEAL_SALT] = {0};
    struct draft_file *file = calloc(1, sizeof *file);
    uint8_t *key = crypto_secret_alloc(CRYPTO_KEY);
    if (file && key) {
        crypto_random(key, CRYPTO_KEY);
        file->loaded = NO_BLOCK;
        file->seal = seal_new(key, salt, SLICE("draft"));
    }
    crypto_secret_free((void **)&key);
    FILE *stream = file && file->seal ? fopencookie(file, "w+", functions) : NULL;
    if (!stream && file) {
        seal_free(&file->seal);
        free(file);
    }
    if (!stream)
        errno = ENOMEM;
    return stream;
}
