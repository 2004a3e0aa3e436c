/* A configuration file of any octets: it loads, or it is refused with words that name the file and forge no line. What loads keeps to its
 * bounds. */
#include "config/config.h"
#include "net/address.h"
#include "queue/schedule.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct settings {
    struct slice name, secret, file;
    bool flag;
    int64_t count, time_ms, size;
    int word;
    struct net_address bind;
    struct net_prefix prefix;
    struct schedule retry;
    struct config_list peers, listen;
};

static const struct config_word words[] = {{"one", 1}, {"two", 2}, {NULL, 0}};

#define AT(field) .at = offsetof(struct settings, field)
static const struct config_key keys[] = {
    {"", "name", CONFIG_TEXT, AT(name), .accepted = "1 to 20 octets", .min = 1, .max = 20},
    {"", "secret", CONFIG_TEXT, .is_secret = true, AT(secret), .accepted = "8 octets at least", .min = 8},
    {"a", "file", CONFIG_PATH, AT(file), .accepted = "a file"},
    {"a", "flag", CONFIG_BOOL, AT(flag), .accepted = "yes or no"},
    {"a", "count", CONFIG_INTEGER, AT(count), .min = -9, .max = 9, .accepted = "a number"},
    {"a", "time", CONFIG_DURATION, AT(time_ms), .min = 1000, .max = 3600000, .accepted = "a duration"},
    {"a", "size", CONFIG_SIZE, AT(size), .accepted = "a size"},
    {"a", "word", CONFIG_WORD, AT(word), .words = words, .accepted = "one or two"},
    {"b", "bind", CONFIG_ADDRESS, AT(bind), .accepted = "ADDRESS:PORT"},
    {"b", "prefix", CONFIG_PREFIX, AT(prefix), .accepted = "ADDRESS/BITS"},
    {"b", "retry", CONFIG_SCHEDULE, AT(retry), .accepted = "a schedule"},
    {"b", "peer", CONFIG_TEXT, .is_list = true, AT(peers), .accepted = "a name"},
    {"b", "listen", CONFIG_ADDRESS, .is_list = true, AT(listen), .accepted = "ADDRESS:PORT"},
};
static const struct config_schema schema = {.keys = keys, .nkeys = sizeof keys / sizeof keys[0], .size = sizeof(struct settings)};

static void require(bool is_true)
{
    if (!is_true)
        abort();
}

static bool has_control(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (((unsigned char)text.ptr[i] < ' ' && text.ptr[i] != '\t') || text.ptr[i] == 0x7f)
            return true;
    return false;
}

static void check_settings(const struct settings *s)
{
    require(s->name.len <= 20 && !has_control(s->name));
    require(s->secret.len == 0 || s->secret.len >= 8);
    require(s->file.len == 0 || s->file.ptr[0] == '/');
    require(s->count >= -9 && s->count <= 9 && s->size >= 0);
    require(s->time_ms == 0 || (s->time_ms >= 1000 && s->time_ms <= 3600000));
    require(s->word >= 0 && s->word <= 2);
    require(s->peers.count <= CONFIG_LIST_MAX && s->listen.count <= CONFIG_LIST_MAX);
    const struct slice *peers = s->peers.items;
    for (size_t i = 0; i < s->peers.count; i++)
        require(!has_control(peers[i]) && peers[i].ptr[peers[i].len] == '\0');
}

static void check_errors(const struct config_error *error)
{
    require(error->count > 0 && error->len > 0 && error->len < sizeof error->text);
    require(strlen(error->text) == error->len && strncmp(error->text, "/f/c:", 5) == 0);
    for (size_t i = 0; i < error->len; i++)
        require(error->text[i] == '\n' || ((unsigned char)error->text[i] >= ' ' && error->text[i] != 0x7f));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = ARENA(CONFIG_ARENA_MAX);
    struct settings settings;
    struct config_error error;
    enum result result = config_load_text(&schema, "/f/c", slice_of(data, size), &arena, &settings, &error);
    if (result == RESULT_OK) {
        require(error.count == 0 && error.len == 0);
        check_settings(&settings);
    } else if (result != RESULT_MEMORY) {
        require(result == RESULT_SYNTAX);
        check_errors(&error);
    }
    config_unload(&schema, &arena, &settings);
    return 0;
}
