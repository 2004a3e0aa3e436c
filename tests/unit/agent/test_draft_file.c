/* A draft's temporary file: what was written is read, twice, and none of it is in the clear on the disk. */
#include "draft_file.h"

#include "crypto/crypto.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { SIZE_MAX_OCTETS = 300 * 1024 };

static char written[SIZE_MAX_OCTETS], read_back[SIZE_MAX_OCTETS + 1];

static void round_trip(size_t size, size_t piece)
{
    FILE *file = draft_file_open();
    assert_non_null(file);
    for (size_t at = 0; at < size; at += piece) {
        size_t n = size - at < piece ? size - at : piece;
        assert_int_equal(fwrite(written + at, 1, n, file), n);
    }
    assert_int_equal(fflush(file), 0);
    for (int i = 0; i < 2; i++) {
        rewind(file);
        memset(read_back, 0, sizeof read_back);
        assert_int_equal(fread(read_back, 1, size / 2, file), size / 2);
        assert_int_equal(ftello(file), size / 2);
        assert_int_equal(fread(read_back + size / 2, 1, sizeof read_back - size / 2, file), size - size / 2);
        assert_int_equal(ferror(file), 0);
        assert_memory_equal(read_back, written, size);
    }
    assert_int_equal(fclose(file), 0);
}

static void what_was_written_is_read_twice(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 4095, 65535, 65536, 65537, 131072, SIZE_MAX_OCTETS};
    for (size_t i = 0; i < sizeof written; i++)
        written[i] = (char)(i * 31 + i / 251);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        round_trip(sizes[i], 1000);
        round_trip(sizes[i], 70000);
    }
}

/* Of every file that this process has open: how many octets, and whether the word is among them. */
static size_t look_into_open_files(const char *word, bool *is_there)
{
    size_t total = 0;
    DIR *folder = opendir("/proc/self/fd");
    assert_non_null(folder);
    for (struct dirent *e; (e = readdir(folder));) {
        uint64_t fd;
        ssize_t n = slice_to_u64(slice_from_cstr(e->d_name), 1000, &fd) ? pread((int)fd, read_back, sizeof read_back, 0) : 0;
        if (n > 0 && fd > 2) {
            total += (size_t)n;
            *is_there = *is_there || memmem(read_back, (size_t)n, word, strlen(word));
        }
    }
    closedir(folder);
    return total;
}

static void nothing_on_the_disk_is_in_the_clear(void **state)
{
    (void)state;
    bool is_there = false;
    FILE *file = draft_file_open();
    assert_non_null(file);
    for (size_t i = 0; i < 20000; i++)
        fputs("canary-word\r\n", file);
    assert_int_equal(fflush(file), 0);
    assert_true(look_into_open_files("canary-word", &is_there) > 3 * 65536);
    assert_false(is_there);
    fclose(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_was_written_is_read_twice), cmocka_unit_test(nothing_on_the_disk_is_in_the_clear)};
    if (crypto_init() != RESULT_OK)
        return 1;
    return cmocka_run_group_tests_name("draft file", tests, NULL, NULL);
}
