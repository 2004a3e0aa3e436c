/* config/config.h: what a file may hold, what the struct then holds, and the words of every refusal. */
#include "config/config.h"
#include "net/address.h"
#include "queue/schedule.h"
#include "support/guard.h"

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

/* ---- a program's table -------------------------------------------------------------------------------------------- */

enum mode { PLAIN = 1, SECRET_MODE = 2 };

struct listener {
    struct net_address address;
    struct slice mode;
};

struct settings {
    struct slice name, password, file;
    bool is_fast;
    int64_t count, offset, timeout_ms, size;
    int mode;
    struct net_address bind;
    struct net_prefix prefix;
    struct schedule retry;
    struct config_list peers, listen;
};

static enum result parse_listener(struct config_value *value, void *out)
{
    struct listener *listener = out;
    struct slice address, mode;
    if (!slice_cut(value->text, ' ', &address, &mode)) {
        value->why = "the mode is missing";
        return RESULT_SYNTAX;
    }
    if (net_address_parse(address, &listener->address) != RESULT_OK)
        return RESULT_SYNTAX;
    return arena_copy(value->arena, slice_trim(mode), &listener->mode);
}

static const struct config_word modes[] = {{"plain", PLAIN}, {"secret", SECRET_MODE}, {NULL, 0}};

#define AT(field) .at = offsetof(struct settings, field)
static const struct config_key keys[] = {
    {"", "name", CONFIG_TEXT, .is_required = true, AT(name), .accepted = "1 to 20 octets", .min = 1, .max = 20},
    {"", "password", CONFIG_TEXT, .is_secret = true, AT(password), .accepted = "3 octets at least", .min = 3},
    {"main", "file", CONFIG_PATH, AT(file), .fallback = "data/x", .accepted = "a file"},
    {"main", "fast", CONFIG_BOOL, AT(is_fast), .fallback = "yes", .accepted = "yes or no"},
    {"main", "count", CONFIG_INTEGER, AT(count), .fallback = "7", .min = 1, .max = 9, .accepted = "a number from 1 to 9"},
    {"main", "offset", CONFIG_INTEGER, AT(offset), .fallback = "0", .min = -5, .max = 5, .accepted = "a number from -5 to 5"},
    {"main", "timeout", CONFIG_DURATION, AT(timeout_ms), .fallback = "5m", .min = 1000, .max = 3600000, .accepted = "a duration from 1s to 1h"},
    {"main", "size", CONFIG_SIZE, AT(size), .fallback = "50M", .accepted = "a size such as 800, 50K, 50M or 2G"},
    {"main", "mode", CONFIG_WORD, AT(mode), .fallback = "plain", .words = modes, .accepted = "plain or secret"},
    {"main", "bind", CONFIG_ADDRESS, AT(bind), .accepted = "ADDRESS:PORT"},
    {"main", "prefix", CONFIG_PREFIX, AT(prefix), .accepted = "ADDRESS/BITS"},
    {"main", "retry", CONFIG_SCHEDULE, AT(retry), .fallback = "1m, 5m*2, 1h", .accepted = "a schedule"},
    {"main", "peer", CONFIG_TEXT, .is_list = true, AT(peers), .accepted = "a name", .min = 1},
    {"net-work", "listen", CONFIG_CUSTOM, .is_list = true, AT(listen), .fallback = "127.0.0.1:25 plain\n[::1]:25 plain", .accepted = "ADDRESS:PORT MODE",
     .item_size = sizeof(struct listener), .parse = parse_listener},
};

static const struct config_schema schema = {
    .keys = keys, .nkeys = sizeof keys / sizeof keys[0], .size = sizeof(struct settings), .missing = "run: the-program init"};

struct loaded {
    struct settings settings;
    struct arena arena;
    struct config_error error;
    enum result result;
};

static void load(struct loaded *loaded, const char *text, size_t len)
{
    memset(loaded, 0, sizeof *loaded);
    loaded->arena = ARENA(CONFIG_ARENA_MAX);
    struct slice copy = guard_dup(slice_of(text, len));
    loaded->result = config_load_text(&schema, "/etc/t/t.conf", copy, &loaded->arena, &loaded->settings, &loaded->error);
    guard_free(&copy);
    assert_int_equal(loaded->result == RESULT_OK, loaded->error.len == 0);
    assert_int_equal(strlen(loaded->error.text), loaded->error.len);
}

static void load_well(struct loaded *loaded, const char *text)
{
    load(loaded, text, strlen(text));
    if (loaded->result != RESULT_OK)
        fail_msg("%s: %s", text, loaded->error.text);
}

static void unload(struct loaded *loaded)
{
    config_unload(&schema, &loaded->arena, &loaded->settings);
    assert_int_equal(loaded->settings.name.len, 0);
}

static void assert_slice(struct slice s, const char *expected)
{
    assert_true(slice_equal(s, slice_from_cstr(expected)));
    assert_int_equal(s.ptr[s.len], '\0');
}

/* ---- what is accepted --------------------------------------------------------------------------------------------- */

static void test_defaults(void **state)
{
    (void)state;
    struct loaded l;
    load_well(&l, "name = x");
    assert_slice(l.settings.name, "x");
    assert_int_equal(l.settings.password.len, 0);
    assert_slice(l.settings.file, "/etc/t/data/x");
    assert_true(l.settings.is_fast);
    assert_int_equal(l.settings.count, 7);
    assert_int_equal(l.settings.timeout_ms, 300000);
    assert_int_equal(l.settings.size, 50 * 1024 * 1024);
    assert_int_equal(l.settings.mode, PLAIN);
    assert_int_equal(l.settings.bind.any.sa_family, 0);
    assert_int_equal(l.settings.retry.nsteps, 3);
    assert_int_equal(l.settings.peers.count, 0);
    const struct listener *listeners = l.settings.listen.items;
    assert_int_equal(l.settings.listen.count, 2);
    assert_int_equal(net_address_port(&listeners[1].address), 25);
    assert_int_equal(listeners[1].address.any.sa_family, AF_INET6);
    assert_slice(listeners[1].mode, "plain");
    unload(&l);
}

static void test_every_type(void **state)
{
    (void)state;
    struct loaded l;
    load_well(&l, "\xef\xbb\xbf; a comment\r\n"
                  "  # another\r\n"
                  "\r\n"
                  "name=x\r\n"
                  "[main]\r\n"
                  "file = /abs/y\n"
                  "\tfast\t=\tOFF\t\n"
                  "  count = 9\n"
                  "offset = -5\n"
                  "timeout = 90s\n"
                  "size = 2g\n"
                  "mode = Secret\n"
                  "bind = [::1]:2525\n"
                  "prefix = 10.0.0.0/8\n"
                  "retry = 5m\n"
                  "[net-work]\n"
                  "listen = 0.0.0.0:465 tls\n"
                  "[main]\n" /* a section may come again */
                  "peer = a\n"
                  "peer = b\n"
                  "peer = c");
    assert_slice(l.settings.file, "/abs/y");
    assert_false(l.settings.is_fast);
    assert_int_equal(l.settings.count, 9);
    assert_int_equal(l.settings.offset, -5);
    assert_int_equal(l.settings.timeout_ms, 90000);
    assert_int_equal(l.settings.size, INT64_C(2) << 30);
    assert_int_equal(l.settings.mode, SECRET_MODE);
    assert_int_equal(net_address_port(&l.settings.bind), 2525);
    assert_int_equal(l.settings.prefix.bits, 8);
    assert_int_equal(l.settings.retry.nsteps, 1);
    assert_int_equal(l.settings.listen.count, 1); /* the file's in place of the defaults */
    const struct slice *peers = l.settings.peers.items;
    assert_int_equal(l.settings.peers.count, 3);
    assert_slice(peers[0], "a");
    assert_slice(peers[2], "c");
    unload(&l);
}

/* Nothing in a password is a comment, and quotes keep what would be cut. */
static void test_values_survive(void **state)
{
    (void)state;
    static const struct {
        const char *written;
        const char *value;
    } rows[] = {
        {"pass#word", "pass#word"},       {"pass ;word # too", "pass ;word # too"}, {"#;#", "#;#"},
        {";;;", ";;;"},                   {"a = b = c", "a = b = c"},               {"a:b[c]", "a:b[c]"},
        {"  abc\t ", "abc"},              {"\"  abc \"", "  abc "},                 {"\"a\\\"b\\\\c\"", "a\"b\\c"},
        {"it's \"quoted\"", "it's \"quoted\""}, {"C:\\x\\", "C:\\x\\"},              {"\"\\\\\\\\\\\\\"", "\\\\\\"},
        {"\xc3\xbc\xc3\xbc", "\xc3\xbc\xc3\xbc"}, {"\"#;\\\\\"", "#;\\"},            {"%n%s%n", "%n%s%n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct loaded l;
        char text[128];
        snprintf(text, sizeof text, "name = x\npassword = %s\n", rows[i].written);
        load_well(&l, text);
        if (!slice_equal(l.settings.password, slice_from_cstr(rows[i].value)))
            fail_msg("%s: %.*s", rows[i].written, SLICE_ARG(l.settings.password));
        unload(&l);
    }
}

static void fill_line(char *text, size_t size, size_t value_len)
{
    snprintf(text, size, "name = x\npassword = %0*d\n[main]\n", (int)value_len, 0);
}

/* libinih of Debian stops at 200 octets; we do not. */
static void test_long_lines(void **state)
{
    (void)state;
    struct loaded l;
    static char text[CONFIG_LINE_MAX + 64];
    size_t most = CONFIG_LINE_MAX - strlen("password = ");
    fill_line(text, sizeof text, most);
    load_well(&l, text);
    assert_int_equal(l.settings.password.len, most);
    unload(&l);
    fill_line(text, sizeof text, most + 1);
    load(&l, text, strlen(text));
    assert_string_equal(l.error.text, "/etc/t/t.conf:2: the line is too long; accepted: 4096 octets");
    unload(&l);
}

static void test_long_lists(void **state)
{
    (void)state;
    struct loaded l;
    static char text[CONFIG_LIST_MAX * 16];
    size_t len = (size_t)snprintf(text, sizeof text, "name = x\n[main]\n");
    for (size_t i = 0; i < CONFIG_LIST_MAX; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "peer = p%zu\n", i);
    load_well(&l, text);
    const struct slice *peers = l.settings.peers.items;
    assert_int_equal(l.settings.peers.count, CONFIG_LIST_MAX);
    assert_slice(peers[CONFIG_LIST_MAX - 1], "p255");
    unload(&l);
    snprintf(text + len, sizeof text - len, "peer = more\n");
    load(&l, text, strlen(text));
    assert_non_null(strstr(l.error.text, ":259: key \"peer\": \"more\" is not accepted: too many of them; accepted: a name"));
    unload(&l);
}

/* ---- what is refused ---------------------------------------------------------------------------------------------- */

static const struct {
    const char *text;
    const char *error; /* after "/etc/t/t.conf" */
} refusals[] = {
    {"", ": key \"name\" in section [] is missing; accepted: 1 to 20 octets"},
    {"name =\n", ":1: key \"name\": \"\" is not accepted: it is empty; accepted: 1 to 20 octets"},
    {"name = \"\"\n", ":1: key \"name\": \"\" is not accepted: it is empty; accepted: 1 to 20 octets"},
    {"name = 123456789012345678901\n", ":1: key \"name\": \"123456789012345678901\" is not accepted: too long; accepted: 1 to 20 octets"},
    {"name = x\nname = y\n", ":2: key \"name\": \"y\" is not accepted: it is given for the second time; accepted: 1 to 20 octets"},
    {"name = x\n\n[main]\nfasst = yes\n",
     ":4: key \"fasst\" is not known in section [main]; accepted: file, fast, count, offset, timeout, size, mode, bind, prefix, retry, peer"},
    {"name = x\nfast = yes\n", ":2: key \"fast\" is not known before the first section; accepted: name, password"},
    {"name = x\n[mian]\nfast = yes\n", ":2: section \"mian\" is not known; accepted: [main] [net-work]"},
    {"name = x\n[]\n", ":2: section \"\" is not known; accepted: [main] [net-work]"},
    {"name = x\n[main\nfast = yes\n", ":2: the line begins with [ and does not end with ]; accepted: [section]"},
    {"name = x\n[\n", ":2: the line begins with [ and does not end with ]; accepted: [section]"},
    {"name = x\n[main] # here\n", ":2: the line begins with [ and does not end with ]; accepted: [section]"},
    {"name = x\nfast\n", ":2: the line is neither a section, nor a key, nor a comment; accepted: [section], key = value, # comment"},
    {"name = x\n= yes\n", ":2: the line is neither a section, nor a key, nor a comment; accepted: [section], key = value, # comment"},
    {"name: x\n", ":1: the line is neither a section, nor a key, nor a comment; accepted: [section], key = value, # comment\n"
                  "/etc/t/t.conf: key \"name\" in section [] is missing; accepted: 1 to 20 octets"},
    {"name = x\n[main]\nfa;st = yes\n",
     ":3: key \"fa;st\" is not known in section [main]; accepted: file, fast, count, offset, timeout, size, mode, bind, prefix, retry, peer"},
    {"name = x\nname ; = y\n", ":2: key \"name ;\" is not known before the first section; accepted: name, password"},
    {"name = a\x01" "b\n", ":1: the line holds a control character; accepted: text\n"
                        "/etc/t/t.conf: key \"name\" in section [] is missing; accepted: 1 to 20 octets"},
    {"name = \"x\n", ":1: key \"name\": \"\"x\" is not accepted: the closing quote is missing; accepted: 1 to 20 octets"},
    {"name = \"\n", ":1: key \"name\": \"\"\" is not accepted: the closing quote is missing; accepted: 1 to 20 octets"},
    {"name = \"x\" y\n", ":1: key \"name\": \"\"x\" y\" is not accepted: something follows the closing quote; accepted: 1 to 20 octets"},
    {"name = \"x\\y\"\n",
     ":1: key \"name\": \"\"x\\y\"\" is not accepted: within quotes a backslash stands before \" or \\ only; accepted: 1 to 20 octets"},
    {"name = \"x\\\n",
     ":1: key \"name\": \"\"x\\\" is not accepted: within quotes a backslash stands before \" or \\ only; accepted: 1 to 20 octets"},
    {"name = x\n[main]\nfast = maybe\n", ":3: key \"fast\": \"maybe\" is not accepted; accepted: yes or no"},
    {"name = x\n[main]\ncount = 0\n", ":3: key \"count\": \"0\" is not accepted: too small; accepted: a number from 1 to 9"},
    {"name = x\n[main]\ncount = 10\n", ":3: key \"count\": \"10\" is not accepted: too large; accepted: a number from 1 to 9"},
    {"name = x\n[main]\ncount = 9223372036854775808\n", ":3: key \"count\": \"9223372036854775808\" is not accepted; accepted: a number from 1 to 9"},
    {"name = x\n[main]\ncount = 1x\n", ":3: key \"count\": \"1x\" is not accepted; accepted: a number from 1 to 9"},
    {"name = x\n[main]\ncount =\n", ":3: key \"count\": \"\" is not accepted; accepted: a number from 1 to 9"},
    {"name = x\n[main]\noffset = -6\n", ":3: key \"offset\": \"-6\" is not accepted: too small; accepted: a number from -5 to 5"},
    {"name = x\n[main]\noffset = --1\n", ":3: key \"offset\": \"--1\" is not accepted; accepted: a number from -5 to 5"},
    {"name = x\n[main]\ntimeout = 60\n", ":3: key \"timeout\": \"60\" is not accepted; accepted: a duration from 1s to 1h"},
    {"name = x\n[main]\ntimeout = 2h\n", ":3: key \"timeout\": \"2h\" is not accepted: too large; accepted: a duration from 1s to 1h"},
    {"name = x\n[main]\nsize = 50T\n", ":3: key \"size\": \"50T\" is not accepted; accepted: a size such as 800, 50K, 50M or 2G"},
    {"name = x\n[main]\nsize = K\n", ":3: key \"size\": \"K\" is not accepted; accepted: a size such as 800, 50K, 50M or 2G"},
    {"name = x\n[main]\nsize = 9223372036854775807K\n",
     ":3: key \"size\": \"9223372036854775807K\" is not accepted; accepted: a size such as 800, 50K, 50M or 2G"},
    {"name = x\n[main]\nmode = none\n", ":3: key \"mode\": \"none\" is not accepted; accepted: plain or secret"},
    {"name = x\n[main]\nbind = localhost:25\n", ":3: key \"bind\": \"localhost:25\" is not accepted; accepted: ADDRESS:PORT"},
    {"name = x\n[main]\nprefix = 10.0.0.1/8\n", ":3: key \"prefix\": \"10.0.0.1/8\" is not accepted; accepted: ADDRESS/BITS"},
    {"name = x\n[main]\nretry = soon\n", ":3: key \"retry\": \"soon\" is not accepted; accepted: a schedule"},
    {"name = x\n[net-work]\nlisten = 1.2.3.4:25\n",
     ":3: key \"listen\": \"1.2.3.4:25\" is not accepted: the mode is missing; accepted: ADDRESS:PORT MODE"},
    /* a secret is in no error */
    {"name = x\npassword = hm\n", ":2: key \"password\": the value (not shown) is not accepted: too short; accepted: 3 octets at least"},
    {"name = x\npassword = \"hunter2\n", ":2: key \"password\": the value (not shown) is not accepted: the closing quote is missing; accepted: 3 octets at least"},
    {"name = x\npassword = hunter1\npassword = hunter2\n",
     ":3: key \"password\": the value (not shown) is not accepted: it is given for the second time; accepted: 3 octets at least"},
};

static void test_refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        struct loaded l;
        char expected[1024];
        snprintf(expected, sizeof expected, "/etc/t/t.conf%s", refusals[i].error);
        load(&l, refusals[i].text, strlen(refusals[i].text));
        if (l.result != RESULT_SYNTAX || strcmp(l.error.text, expected) != 0)
            fail_msg("%s\n%s: %s\ninstead of %s", refusals[i].text, result_name(l.result), l.error.text, expected);
        unload(&l);
    }
}

/* A NUL does not end the file: what is behind it is not passed over. */
static void test_nul(void **state)
{
    (void)state;
    struct loaded l;
    static const char text[] = "name = x\n\0\n[mian]\n";
    load(&l, text, sizeof text - 1);
    assert_int_equal(l.error.count, 2);
    assert_non_null(strstr(l.error.text, ":2: the line holds a control character"));
    assert_non_null(strstr(l.error.text, ":3: section \"mian\""));
    unload(&l);
}

/* Several errors are told at once, and beyond eight their number; long ones are cut. */
static void test_many_errors(void **state)
{
    (void)state;
    struct loaded l;
    char text[4096] = "name = x\n";
    for (int i = 0; i < 11; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "k%d = 1\n", i);
    load(&l, text, strlen(text));
    assert_int_equal(l.error.count, 11);
    assert_non_null(strstr(l.error.text, "t.conf:2: key \"k0\""));
    assert_non_null(strstr(l.error.text, "\n/etc/t/t.conf:9: key \"k7\""));
    assert_null(strstr(l.error.text, "k8"));
    assert_non_null(strstr(l.error.text, "\n/etc/t/t.conf: and 3 more errors"));
    unload(&l);
    snprintf(text, sizeof text, "name = %0500d\n", 0);
    load(&l, text, strlen(text));
    assert_non_null(strstr(l.error.text, "000...\" is not accepted: too long"));
    unload(&l);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    for (size_t max = 0; max < 400; max += 8) {
        struct settings settings;
        struct arena arena = ARENA(max + 1);
        struct config_error error;
        enum result result = config_load_text(&schema, "t", SLICE("name = x\n[main]\npeer = y\npeer = z\n"), &arena, &settings, &error);
        assert_true(result == RESULT_OK || result == RESULT_MEMORY);
        assert_int_equal(error.count, 0);
        config_unload(&schema, &arena, &settings);
    }
}

/* ---- single values, and files ------------------------------------------------------------------------------------- */

static void test_set(void **state)
{
    (void)state;
    struct loaded l;
    load_well(&l, "name = x");
    assert_int_equal(config_set(&schema, "main", "count", SLICE("3"), &l.arena, &l.settings, &l.error), RESULT_OK);
    assert_int_equal(l.settings.count, 3);
    assert_int_equal(config_set(&schema, "", "name", SLICE("\"q\""), &l.arena, &l.settings, &l.error), RESULT_OK);
    assert_slice(l.settings.name, "\"q\"");
    assert_int_equal(config_set(&schema, "main", "peer", SLICE("a"), &l.arena, &l.settings, &l.error), RESULT_OK);
    assert_int_equal(l.settings.peers.count, 1);
    assert_int_equal(config_set(&schema, "main", "count", SLICE("30"), &l.arena, &l.settings, &l.error), RESULT_SYNTAX);
    assert_string_equal(l.error.text, "count: key \"count\": \"30\" is not accepted: too large; accepted: a number from 1 to 9");
    assert_int_equal(config_set(&schema, "", "name", SLICE("a\nb"), &l.arena, &l.settings, &l.error), RESULT_SYNTAX);
    assert_string_equal(l.error.text, "name: key \"name\": \"a?b\" is not accepted: it holds a control character; accepted: 1 to 20 octets");
    assert_int_equal(config_set(&schema, "main", "name", SLICE("3"), &l.arena, &l.settings, &l.error), RESULT_NOT_FOUND);
    unload(&l);
}

static char folder[64], path[96];

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/postern-config.XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/t.conf", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static void write_file(const char *content, size_t len, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, len), len);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static enum result load_file(struct loaded *l)
{
    memset(l, 0, sizeof *l);
    l->result = config_load(&schema, path, &l->arena, &l->settings, &l->error);
    return l->result;
}

static void assert_error(struct loaded *l, const char *words)
{
    char expected[256];
    snprintf(expected, sizeof expected, "%s: %s", path, words);
    assert_string_equal(l->error.text, expected);
    assert_int_equal(l->error.count, 1);
    unload(l);
}

static void test_file(void **state)
{
    (void)state;
    struct loaded l;
    char expected[128];
    assert_int_equal(load_file(&l), RESULT_NOT_FOUND);
    assert_error(&l, "No such file or directory; run: the-program init");
    write_file("name = x\n", 9, 0644);
    assert_int_equal(load_file(&l), RESULT_OK);
    snprintf(expected, sizeof expected, "%s/data/x", folder);
    assert_slice(l.settings.file, expected);
    unload(&l);
    static char large[CONFIG_FILE_MAX];
    memset(large, '\n', sizeof large);
    write_file(large, sizeof large - 1, 0644);
    assert_int_equal(load_file(&l), RESULT_SYNTAX); /* no name */
    unload(&l);
    write_file(large, sizeof large, 0644);
    assert_int_equal(load_file(&l), RESULT_SYNTAX);
    assert_error(&l, "the file is too large; accepted: under 256K");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(load_file(&l), RESULT_IO);
    assert_error(&l, "Is a directory");
    assert_int_equal(rmdir(path), 0);
}

/* A file without a secret may be read by everybody, and written by its owner alone. */
static void test_writable_file(void **state)
{
    (void)state;
    static const mode_t writable[] = {0620, 0602, 0666};
    struct loaded l;
    char words[256];
    snprintf(words, sizeof words, "others can write to it; run: chmod go-w %s", path);
    for (size_t i = 0; i < sizeof writable / sizeof writable[0]; i++) {
        write_file("name = x\n", 9, writable[i]);
        assert_int_equal(load_file(&l), RESULT_DENIED);
        assert_error(&l, words);
    }
    write_file("name = x\n", 9, 0644);
    assert_int_equal(load_file(&l), RESULT_OK);
    unload(&l);
}

/* Only a file that holds a secret must be private. */
static void test_secret_file(void **state)
{
    (void)state;
    struct loaded l;
    char words[256];
    static const char text[] = "name = x\npassword = hunter2\n";
    write_file(text, sizeof text - 1, 0640);
    assert_int_equal(load_file(&l), RESULT_DENIED);
    snprintf(words, sizeof words, "others can read it; run: chmod 600 %s (key \"password\" is a secret)", path);
    assert_error(&l, words);
    write_file(text, sizeof text - 1, 0600);
    assert_int_equal(load_file(&l), RESULT_OK);
    assert_slice(l.settings.password, "hunter2");
    unload(&l);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),   cmocka_unit_test(test_every_type), cmocka_unit_test(test_values_survive), cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_long_lists), cmocka_unit_test(test_refusals),   cmocka_unit_test(test_nul),            cmocka_unit_test(test_many_errors),
        cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_set),     IN_FOLDER(test_file),                  IN_FOLDER(test_writable_file),
        IN_FOLDER(test_secret_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
