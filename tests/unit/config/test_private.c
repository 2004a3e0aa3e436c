/* config/private.h: who may read a secret, and the errors that tell what to run. */
#include "config/private.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];
static char path[96];

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/postern-private.XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/key", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    chmod(folder, 0700);
    unlink(path);
    return rmdir(folder);
}

static void write_file(const char *content, mode_t mode)
{
    unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, strlen(content)), strlen(content));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static void expect_refusal(enum result expected, const char *words)
{
    struct buffer content = BUFFER(8);
    struct private_error error = {0};
    enum result result = private_read(path, &content, &error);
    if (result != expected || !strstr(error.text, words) || !strstr(error.text, path))
        fail_msg("%s, \"%s\" instead of %s, \"%s\"", result_name(result), error.text, result_name(expected), words);
    assert_int_equal(buffer_len(&content), 0);
    buffer_wipe_free(&content);
}

static void test_reads_a_private_file(void **state)
{
    (void)state;
    static const mode_t modes[] = {0600, 0400, 0700};
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        struct buffer content = BUFFER(8);
        struct private_error error = {0};
        write_file("12345678", modes[i]);
        assert_int_equal(private_read(path, &content, &error), RESULT_OK);
        assert_true(slice_equal(buffer_slice(&content), SLICE("12345678")));
        buffer_wipe_free(&content);
    }
}

static void test_refuses_what_others_read(void **state)
{
    (void)state;
    static const mode_t modes[] = {0640, 0620, 0610, 0604, 0602, 0601, 0644};
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        char advice[128];
        snprintf(advice, sizeof advice, "run: chmod 600 %s", path);
        write_file("secret", modes[i]);
        expect_refusal(RESULT_DENIED, advice);
    }
}

static void test_refuses_a_stranger(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip(); /* only root can give a file away */
    write_file("secret", 0600);
    assert_int_equal(chown(path, 12345, 12345), 0);
    expect_refusal(RESULT_DENIED, "belongs to another user; run: chown 0");
}

static void test_refuses_what_is_no_file(void **state)
{
    (void)state;
    expect_refusal(RESULT_NOT_FOUND, "No such file");
    assert_int_equal(symlink("/dev/null", path), 0);
    expect_refusal(RESULT_DENIED, "symbolic link");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    expect_refusal(RESULT_DENIED, "is not a file");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    expect_refusal(RESULT_DENIED, "is not a file");
    assert_int_equal(rmdir(path), 0);
}

static void test_refuses_what_is_too_long(void **state)
{
    (void)state;
    write_file("123456789", 0600);
    expect_refusal(RESULT_LIMIT, "is longer than 8 octets");
}

static void test_writes_privately(void **state)
{
    (void)state;
    struct private_error error = {0};
    struct stat status;
    struct buffer content = BUFFER(64);
    mode_t before = umask(0);
    write_file("old, and open to all", 0666);
    assert_int_equal(private_write(path, SLICE("new"), &error), RESULT_OK);
    umask(before);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    assert_int_equal(private_read(path, &content, &error), RESULT_OK);
    assert_true(slice_equal(buffer_slice(&content), SLICE("new")));
    buffer_wipe_free(&content);
}

/* A folder in the file's place makes the last step fail: nothing is left behind. */
static void test_a_write_that_fails_leaves_nothing(void **state)
{
    (void)state;
    struct private_error error = {0};
    char temporary[128];
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_not_equal(private_write(path, SLICE("new"), &error), RESULT_OK);
    assert_non_null(strstr(error.text, path));
    snprintf(temporary, sizeof temporary, "%s.new", path);
    assert_int_equal(access(temporary, F_OK), -1);
    assert_int_equal(rmdir(path), 0);
    snprintf(temporary, sizeof temporary, "%s/none/key", folder);
    assert_int_equal(private_write(temporary, SLICE("new"), &error), RESULT_NOT_FOUND);
}

static void test_makes_folders(void **state)
{
    (void)state;
    struct private_error error = {0};
    struct stat status;
    char deep[128], advice[160];
    snprintf(deep, sizeof deep, "%s/key/b/", folder);
    assert_int_equal(private_make_folder(deep, &error), RESULT_OK);
    assert_int_equal(private_make_folder(deep, &error), RESULT_OK);
    assert_int_equal(stat(deep, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0700);
    assert_int_equal(chmod(deep, 0770), 0);
    snprintf(advice, sizeof advice, "run: chmod go-w %s", deep);
    assert_int_equal(private_make_folder(deep, &error), RESULT_DENIED);
    assert_non_null(strstr(error.text, advice));
    assert_int_equal(rmdir(deep), 0);
    assert_int_equal(rmdir(path), 0);
    write_file("", 0600);
    assert_int_equal(private_make_folder(path, &error), RESULT_DENIED);
    assert_non_null(strstr(error.text, "is not a folder"));
    assert_int_equal(private_make_folder("", &error), RESULT_IO);
}

static void test_folder_of_a_file(void **state)
{
    (void)state;
    static const struct {
        mode_t mode;
        enum result result;
    } modes[] = {{0700, RESULT_OK}, {0755, RESULT_OK}, {0770, RESULT_DENIED}, {0702, RESULT_DENIED}, {01777, RESULT_OK}};
    struct private_error error = {0};
    struct buffer content = {0};
    char advice[256];
    assert_int_equal(private_write(path, SLICE("secret"), &error), RESULT_OK);
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        assert_int_equal(chmod(folder, modes[i].mode), 0);
        assert_int_equal(private_check_folder_of(path, &error), modes[i].result);
        assert_int_equal(private_read(path, &content, &error), modes[i].result); /* nor is a secret taken out of it */
        assert_int_equal(buffer_len(&content) > 0, modes[i].result == RESULT_OK);
        buffer_wipe_free(&content);
    }
    assert_int_equal(chmod(folder, 0702), 0);
    assert_int_equal(private_read(path, &content, &error), RESULT_DENIED);
    snprintf(advice, sizeof advice, "%s: others can write to it; run: chmod go-w %s", folder, folder);
    assert_string_equal(error.text, advice);
    snprintf(advice, sizeof advice, "%s/none/key", folder);
    assert_int_equal(private_check_folder_of(advice, &error), RESULT_NOT_FOUND);
}

static void test_a_new_file_never_replaces_one(void **state)
{
    (void)state;
    struct private_error error = {0};
    struct buffer content = {0};
    struct stat status;
    assert_int_equal(private_write_new(path, SLICE("first"), &error), RESULT_OK);
    assert_int_equal(private_write_new(path, SLICE("second"), &error), RESULT_EXISTS);
    assert_non_null(strstr(error.text, "is there already"));
    assert_int_equal(private_read(path, &content, &error), RESULT_OK);
    assert_true(slice_equal(buffer_slice(&content), SLICE("first")));
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_int_equal(status.st_nlink, 1);
    buffer_wipe_free(&content);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(test_reads_a_private_file),    IN_FOLDER(test_refuses_what_others_read), IN_FOLDER(test_refuses_a_stranger),
        IN_FOLDER(test_refuses_what_is_no_file), IN_FOLDER(test_refuses_what_is_too_long), IN_FOLDER(test_writes_privately),
        IN_FOLDER(test_a_write_that_fails_leaves_nothing), IN_FOLDER(test_makes_folders), IN_FOLDER(test_folder_of_a_file),
        IN_FOLDER(test_a_new_file_never_replaces_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
