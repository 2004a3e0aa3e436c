/* The key of the encrypted spool, looked for and made when memory runs out: it is found, or the words say that memory is missing, and never that there is no key. None is half written, nowhere are there two of them, nothing stays
 * open, and with memory again the same key is found that was there, or was being made.
 *
 * The secret service is this program, started once more as "postern-agent secret get|put NAME" (spool_key.c starts what it is itself): it keeps secrets in the folder that SERVICE names. */
#include "spool_key.h"

#include "support/oom.h"

#include "schema.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include <cmocka.h>

#define SERVICE "POSTERN_TEST_SERVICE"
#define REFUSAL "POSTERN_TEST_REFUSAL" /* of a verb: the service has no memory for it */
#define SILENCE "POSTERN_TEST_SILENCE" /* to a verb: no service answers in time */
#define BALLAST "POSTERN_TEST_BALLAST" /* more than an environment may hold: no program can be started with it */

static const char KNOWN[] = "00112233445566778899aabbccddeeff0123456789abcdeffedcba9876543210";
static const char NAME[] = "07070707070707070707070707070707";
enum { ALLOCATIONS_MAX = 200, DESCRIPTORS = 64, UNTOUCHED = 0xaa, PATH_ROOM = 128 };
enum home { NOWHERE, IN_FILE, IN_SERVICE };

struct spool {
    const char *words;             /* of a failure */
    enum settings_spool_key kind;
    enum home before, after;       /* where the key is, and where it will be */
    bool has_service;
    /* Its own: */
    char dir[64], keys[PATH_ROOM], file[PATH_ROOM], beside[PATH_ROOM], service[PATH_ROOM], secret[2 * PATH_ROOM], database[PATH_ROOM];
    struct dirs dirs;
    struct settings_values values;
    struct spool_key key;
    struct store_seal seal;
    char why[1200];
};

/* ---- the secret service ----------------------------------------------------------------------------------------- */

static int give(const char *path)
{
    char text[SPOOL_KEY_TEXT];
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        return EX_NOINPUT;
    return read(fd, text, sizeof text) == sizeof text && write(STDOUT_FILENO, text, sizeof text) == sizeof text ? EX_OK : EX_IOERR;
}

/* What ends early is kept as it is: the test is to see it. */
static int keep(const char *path)
{
    char text[SPOOL_KEY_TEXT];
    ssize_t len = read(STDIN_FILENO, text, sizeof text);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    return len >= 0 && fd >= 0 && write(fd, text, (size_t)len) == len ? EX_OK : EX_CANTCREAT;
}

/* A child that was started by half would talk with whoever the agent talks with. */
static bool is_whole(void)
{
    struct stat in, out, err, null;
    bool is_seen = fstat(STDIN_FILENO, &in) == 0 && fstat(STDOUT_FILENO, &out) == 0 && fstat(STDERR_FILENO, &err) == 0 && stat("/dev/null", &null) == 0;
    return is_seen && S_ISFIFO(in.st_mode) && S_ISFIFO(out.st_mode) && in.st_ino != out.st_ino && S_ISCHR(err.st_mode) && err.st_rdev == null.st_rdev && getpgrp() == getpid();
}

static int serve(const char *verb, const char *name)
{
    char path[4 * PATH_ROOM];
    const char *folder = getenv(SERVICE), *refusal = getenv(REFUSAL), *silence = getenv(SILENCE);
    if (silence && strcmp(silence, verb) == 0)
        return EX_NOHOST;
    if (refusal && strcmp(refusal, verb) == 0)
        return EX_OSERR;
    if (!is_whole())
        return EX_SOFTWARE;
    if (!folder)
        return EX_UNAVAILABLE;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return strcmp(verb, "put") == 0 ? keep(path) : give(path);
}

/* ---- the spool -------------------------------------------------------------------------------------------------- */

static void open_spool(struct spool *s)
{
    snprintf(s->dir, sizeof s->dir, "%s/oom-key-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    assert_non_null(mkdtemp(s->dir));
    snprintf(s->keys, sizeof s->keys, "%s/keys", s->dir);
    snprintf(s->file, sizeof s->file, "%s/keys/spool.key", s->dir);
    snprintf(s->beside, sizeof s->beside, "%s/keys/spool.key.new", s->dir);
    snprintf(s->service, sizeof s->service, "%s/service", s->dir);
    snprintf(s->secret, sizeof s->secret, "%s/%s", s->service, NAME);
    snprintf(s->database, sizeof s->database, "%s/agent.db", s->dir);
    assert_int_equal(mkdir(s->keys, 0700), 0);
    assert_int_equal(mkdir(s->service, 0700), 0);
    if (s->has_service)
        setenv(SERVICE, s->service, 1);
    s->dirs.keys = s->keys;
    s->values = (struct settings_values){.encrypts_spool = true, .spool_key = (int)s->kind, .spool_key_file = slice_from_cstr(s->file)};
    spool_key_prepare(&s->key, &s->dirs, &s->values, &s->seal);
}

static void empty_spool(const struct spool *s)
{
    unlink(s->file);
    unlink(s->secret);
}

static void close_spool(struct spool *s)
{
    empty_spool(s);
    unsetenv(SERVICE);
    assert_int_equal(rmdir(s->service), 0);
    assert_int_equal(rmdir(s->keys), 0);
    assert_int_equal(rmdir(s->dir), 0); /* nothing else has come there */
}

static void put_known(const struct spool *s)
{
    empty_spool(s);
    if (s->before == NOWHERE)
        return;
    int fd = open(s->before == IN_FILE ? s->file : s->secret, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_int_equal(write(fd, KNOWN, SPOOL_KEY_TEXT), SPOOL_KEY_TEXT);
    close(fd);
}

/* The key's text that is there, "" if none is. A file ends in an end of line that a secret has not. */
static void read_kept(const char *path, char text[static SPOOL_KEY_TEXT + 1])
{
    char octets[SPOOL_KEY_TEXT + 2] = "";
    uint8_t key[CRYPTO_KEY];
    text[0] = '\0';
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        return;
    ssize_t len = read(fd, octets, sizeof octets);
    close(fd);
    assert_in_range(len, SPOOL_KEY_TEXT, SPOOL_KEY_TEXT + 1); /* not half of one */
    assert_true(len == SPOOL_KEY_TEXT || octets[SPOOL_KEY_TEXT] == '\n');
    assert_true(crypto_hex_decode(slice_of(octets, SPOOL_KEY_TEXT), key, sizeof key));
    memcpy(text, octets, SPOOL_KEY_TEXT);
    text[SPOOL_KEY_TEXT] = '\0';
}

/* What is kept, in one place, and that one the right one; "" if nothing is. */
static void look(const struct spool *s, char text[static SPOOL_KEY_TEXT + 1])
{
    char elsewhere[SPOOL_KEY_TEXT + 1];
    read_kept(s->after == IN_FILE ? s->file : s->secret, text);
    read_kept(s->after == IN_FILE ? s->secret : s->file, elsewhere);
    assert_string_equal(elsewhere, "");
    assert_int_not_equal(access(s->beside, F_OK), 0);
}

static enum result ask(struct spool *s, char text[static SPOOL_KEY_TEXT + 1])
{
    uint8_t key[CRYPTO_KEY], id[SEAL_SALT];
    memset(key, UNTOUCHED, sizeof key);
    memset(id, 7, sizeof id);
    s->why[0] = '\0';
    enum result result = s->seal.find_key(s->seal.context, id, s->before != NOWHERE, key, s->why, sizeof s->why);
    crypto_hex(slice_of(key, sizeof key), text, SPOOL_KEY_TEXT + 1);
    assert_true(result == RESULT_OK || key[0] == UNTOUCHED);
    return result;
}

static unsigned count_open(void)
{
    unsigned n = 0;
    for (int fd = 0; fd < DESCRIPTORS; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void find_again(struct spool *s, const char *kept)
{
    char text[SPOOL_KEY_TEXT + 1], now_kept[SPOOL_KEY_TEXT + 1];
    for (int i = 0; i < 2; i++) {
        if (ask(s, text) != RESULT_OK)
            fail_msg("with memory again: %s", s->why);
        look(s, now_kept);
        assert_string_equal(now_kept, text);
        if (kept[0])
            assert_string_equal(text, kept);
        kept = now_kept;
    }
}

static void find(void *context)
{
    struct spool *s = context;
    char text[SPOOL_KEY_TEXT + 1], kept[SPOOL_KEY_TEXT + 1];
    oom_suspend();
    put_known(s);
    unsigned nopen = count_open();
    oom_resume();
    enum result result = ask(s, text);
    oom_suspend();
    look(s, kept);
    if (result == RESULT_OK) {
        assert_string_equal(text, kept);
    } else {
        assert_int_equal(result, RESULT_MEMORY);
        assert_true(oom_has_failed());
        if (!strstr(s->why, "memory"))
            fail_msg("no memory, and the words are: %s", s->why);
    }
    assert_true(s->before == NOWHERE || strcmp(kept, KNOWN) == 0);
    assert_int_equal(count_open(), nopen);
    assert_true(waitpid(-1, NULL, 0) == -1 && errno == ECHILD);
    find_again(s, kept);
    oom_resume();
}

/* ---- tests ------------------------------------------------------------------------------------------------------ */

static void run(struct spool s, size_t least)
{
    open_spool(&s);
    size_t n = oom_loop(ALLOCATIONS_MAX, find, &s);
    print_message("%zu allocations\n", n);
    assert_in_range(n, least, ALLOCATIONS_MAX);
    close_spool(&s);
}

enum { TEXT = 1, READ_FILE = 1, MAKE_FILE = 2, CHILD = 6, MAKE_SECRET = 1 + 2 * CHILD }; /* allocations at least */

static void a_file_is_read_or_memory_is_missing(void **state)
{
    (void)state;
    run((struct spool){.kind = SPOOL_KEY_FILE, .before = IN_FILE, .after = IN_FILE}, TEXT + READ_FILE);
    run((struct spool){.kind = SPOOL_KEY_AUTO, .before = IN_FILE, .after = IN_FILE, .has_service = true}, TEXT + READ_FILE);
}

static void a_file_is_made_whole_or_not_at_all(void **state)
{
    (void)state;
    run((struct spool){.kind = SPOOL_KEY_FILE, .after = IN_FILE}, TEXT + MAKE_FILE);
    run((struct spool){.kind = SPOOL_KEY_AUTO, .after = IN_FILE}, TEXT + CHILD + MAKE_FILE);
}

static void the_service_is_asked_or_memory_is_missing(void **state)
{
    (void)state;
    run((struct spool){.kind = SPOOL_KEY_SECRET, .before = IN_SERVICE, .after = IN_SERVICE, .has_service = true}, TEXT + CHILD);
    run((struct spool){.kind = SPOOL_KEY_AUTO, .before = IN_SERVICE, .after = IN_SERVICE, .has_service = true}, TEXT + CHILD);
}

/* And not in a file instead, because the service could not be asked once. */
static void a_secret_is_made_whole_or_not_at_all(void **state)
{
    (void)state;
    run((struct spool){.kind = SPOOL_KEY_SECRET, .after = IN_SERVICE, .has_service = true}, TEXT + CHILD + MAKE_SECRET);
    run((struct spool){.kind = SPOOL_KEY_AUTO, .after = IN_SERVICE, .has_service = true}, TEXT + CHILD + MAKE_SECRET);
}

/* The child has its own memory to run out of. */
static void a_child_without_memory_is_no_refusal(void **state)
{
    static const char *const verbs[] = {"get", "put"};
    char text[SPOOL_KEY_TEXT + 1], kept[SPOOL_KEY_TEXT + 1];
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct spool s = {.kind = SPOOL_KEY_AUTO, .after = IN_SERVICE, .has_service = true};
        open_spool(&s);
        setenv(REFUSAL, verbs[i], 1);
        assert_int_equal(ask(&s, text), RESULT_MEMORY);
        assert_non_null(strstr(s.why, "memory"));
        look(&s, kept);
        assert_string_equal(kept, "");
        unsetenv(REFUSAL);
        find_again(&s, "");
        close_spool(&s);
    }
}

/* The same with descriptors: two pipes want four. */
static void without_descriptors_the_service_is_not_asked_either(void **state)
{
    struct spool s = {.kind = SPOOL_KEY_AUTO, .before = IN_SERVICE, .after = IN_SERVICE, .has_service = true};
    char text[SPOOL_KEY_TEXT + 1], kept[SPOOL_KEY_TEXT + 1];
    struct rlimit limit;
    enum result result = RESULT_MEMORY;
    rlim_t most = 3;
    (void)state;
    open_spool(&s);
    put_known(&s);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    for (unsigned nopen = count_open(); result != RESULT_OK; most++) {
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &(struct rlimit){most, limit.rlim_max}), 0);
        result = ask(&s, text);
        setrlimit(RLIMIT_NOFILE, &limit);
        assert_true(result == RESULT_OK || ((result == RESULT_MEMORY || result == RESULT_IO) && strstr(s.why, "open files"))); /* IO: of the file, which is looked for first */
        assert_int_equal(count_open(), nopen);
    }
    assert_in_range(most, 3 + 4, DESCRIPTORS);
    look(&s, kept);
    assert_string_equal(text, kept);
    close_spool(&s);
}

/* No memory is missing, but the service: what one start says of it. The next one, when all is well again, finds or makes the key where it belongs. */
static void refuse(struct spool s, const char *variable, const char *value, const char *words, bool has_way_out)
{
    char text[SPOOL_KEY_TEXT + 1], kept[SPOOL_KEY_TEXT + 1];
    open_spool(&s);
    put_known(&s);
    setenv(variable, value, 1);
    assert_int_equal(ask(&s, text), RESULT_CANCELLED);
    unsetenv(variable);
    if (!strstr(s.why, words) || !strstr(s.why, "not lost") || has_way_out != (strstr(s.why, "[spool] key = file") != NULL))
        fail_msg("the words are: %s", s.why);
    look(&s, kept);
    assert_string_equal(kept, s.before == NOWHERE ? "" : KNOWN);
    find_again(&s, kept);
    close_spool(&s);
}

static void a_service_that_keeps_silent_is_none_for_a_new_spool(void **state)
{
    static const char *const verbs[] = {"get", "put"};
    char text[SPOOL_KEY_TEXT + 1];
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct spool s = {.kind = SPOOL_KEY_AUTO, .after = IN_FILE, .has_service = true};
        open_spool(&s);
        setenv(SILENCE, verbs[i], 1);
        assert_int_equal(ask(&s, text), RESULT_OK);
        unsetenv(SILENCE);
        find_again(&s, text);
        close_spool(&s);
    }
}

static void and_for_one_that_has_a_key_it_is_waited_for(void **state)
{
    (void)state;
    refuse((struct spool){.kind = SPOOL_KEY_AUTO, .before = IN_SERVICE, .after = IN_SERVICE, .has_service = true}, SILENCE, "get", "no secret service answers", false);
    refuse((struct spool){.kind = SPOOL_KEY_SECRET, .before = IN_SERVICE, .after = IN_SERVICE, .has_service = true}, SILENCE, "get", "no secret service answers", false);
    refuse((struct spool){.kind = SPOOL_KEY_SECRET, .after = IN_SERVICE, .has_service = true}, SILENCE, "get", "no secret service answers", true);
}

/* A key may be there: that nobody can be asked is not that nobody answers. */
static void a_child_that_cannot_be_started_is_told_with_its_cause(void **state)
{
    enum { MORE_THAN_A_VARIABLE_MAY_HOLD = 256 * 1024 };
    (void)state;
    char *ballast = malloc(MORE_THAN_A_VARIABLE_MAY_HOLD);
    assert_non_null(ballast);
    memset(ballast, 'x', MORE_THAN_A_VARIABLE_MAY_HOLD - 1);
    ballast[MORE_THAN_A_VARIABLE_MAY_HOLD - 1] = '\0';
    refuse((struct spool){.kind = SPOOL_KEY_AUTO, .after = IN_SERVICE, .has_service = true}, BALLAST, ballast, strerror(E2BIG), true);
    refuse((struct spool){.kind = SPOOL_KEY_AUTO, .before = IN_SERVICE, .after = IN_SERVICE, .has_service = true}, BALLAST, ballast, strerror(E2BIG), false);
    free(ballast);
    assert_int_equal(secret_child_get("/nowhere/postern-agent", NAME, (char[SPOOL_KEY_TEXT + 1]){0}), RESULT_DENIED);
    assert_int_equal(errno, ENOENT);
}

/* The store under that key: whatever fails, the words are not those that tell where the key is. */
static void open_store(void *context)
{
    struct spool *s = context;
    const struct log log = {0};
    const struct store_config config = {.path = s->database, .schema = schema_agent, .log = &log, .seal = &s->seal};
    struct store *store = NULL;
    enum result result = store_open(&store, &config, s->why, sizeof s->why);
    store_close(&store);
    if (result == RESULT_OK)
        return;
    assert_true(oom_has_failed());
    if (result != RESULT_MEMORY || !strstr(s->why, "memory"))
        fail_msg("no memory, and the words are %s: %s", result_name(result), s->why);
}

static void a_store_that_finds_no_memory_says_so(void **state)
{
    static const char *const endings[] = {"", ".lock", ".reserve"};
    struct spool s = {.kind = SPOOL_KEY_FILE, .after = IN_FILE};
    (void)state;
    open_spool(&s);
    size_t n = oom_loop(ALLOCATIONS_MAX, open_store, &s);
    print_message("%zu allocations\n", n);
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        char path[2 * PATH_ROOM];
        snprintf(path, sizeof path, "%s%s", s.database, endings[i]);
        unlink(path);
    }
    close_spool(&s);
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "secret") == 0)
        _exit(serve(argv[2], argv[3]));
    signal(SIGPIPE, SIG_IGN); /* as the agent */
    if (crypto_init() != RESULT_OK)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_read_or_memory_is_missing),
        cmocka_unit_test(a_file_is_made_whole_or_not_at_all),
        cmocka_unit_test(the_service_is_asked_or_memory_is_missing),
        cmocka_unit_test(a_secret_is_made_whole_or_not_at_all),
        cmocka_unit_test(a_child_without_memory_is_no_refusal),
        cmocka_unit_test(without_descriptors_the_service_is_not_asked_either),
        cmocka_unit_test(a_service_that_keeps_silent_is_none_for_a_new_spool),
        cmocka_unit_test(and_for_one_that_has_a_key_it_is_waited_for),
        cmocka_unit_test(a_child_that_cannot_be_started_is_told_with_its_cause),
        cmocka_unit_test(a_store_that_finds_no_memory_says_so),
    };
    return cmocka_run_group_tests_name("the spool's key without memory", tests, NULL, NULL);
}
