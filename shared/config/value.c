#include "config/value.h"

#include "net/address.h"
#include "queue/schedule.h"

#include <string.h>

size_t config_value_size(const struct config_key *key)
{
    switch (key->type) {
    case CONFIG_TEXT:
    case CONFIG_PATH:
        return sizeof(struct slice);
    case CONFIG_BOOL:
        return sizeof(bool);
    case CONFIG_INTEGER:
    case CONFIG_DURATION:
    case CONFIG_SIZE:
        return sizeof(int64_t);
    case CONFIG_WORD:
        return sizeof(int);
    case CONFIG_ADDRESS:
        return sizeof(struct net_address);
    case CONFIG_PREFIX:
        return sizeof(struct net_prefix);
    case CONFIG_SCHEDULE:
        return sizeof(struct schedule);
    case CONFIG_CUSTOM:
        return key->item_size;
    }
    return 0;
}

/* text begins behind the opening quote. */
static enum result unquote(struct slice text, char *out, size_t *len, const char **why)
{
    *len = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '"') {
            *why = "something follows the closing quote";
            return i + 1 == text.len ? RESULT_OK : RESULT_SYNTAX;
        }
        if (c == '\\') {
            c = ++i < text.len ? text.ptr[i] : '\0';
            if (c != '"' && c != '\\') {
                *why = "within quotes a backslash stands before \" or \\ only";
                return RESULT_SYNTAX;
            }
        }
        out[(*len)++] = c;
    }
    *why = "the closing quote is missing";
    return RESULT_SYNTAX;
}

enum result config_value_unquote(struct slice text, char *out, struct slice *unquoted, const char **why)
{
    *unquoted = text;
    if (text.len == 0 || text.ptr[0] != '"')
        return RESULT_OK;
    size_t len = 0;
    enum result result = unquote(slice_skip(text, 1), out, &len, why);
    *unquoted = slice_of(out, len);
    return result;
}

static enum result refuse(struct config_value *value, const char *why)
{
    value->why = why;
    return RESULT_SYNTAX;
}

static enum result parse_text(const struct config_key *key, struct config_value *value, struct slice *out)
{
    if (value->text.len < (size_t)key->min)
        return refuse(value, value->text.len == 0 ? "it is empty" : "too short");
    if (key->max > 0 && value->text.len > (size_t)key->max)
        return refuse(value, "too long");
    return arena_copy(value->arena, value->text, out);
}

static enum result parse_path(const struct config_key *key, const char *file, struct config_value *value, struct slice *out)
{
    struct slice folder = slice_from_cstr(file);
    folder.len = (size_t)(slice_find_last(folder, '/') + 1);
    if (value->text.len == 0 || value->text.ptr[0] == '/' || folder.len == 0)
        return parse_text(key, value, out);
    const char *joined = arena_printf(value->arena, "%.*s%.*s", SLICE_ARG(folder), SLICE_ARG(value->text));
    *out = slice_from_cstr(joined);
    return joined ? RESULT_OK : RESULT_MEMORY;
}

static enum result parse_word(struct slice text, const struct config_word *words, int *out)
{
    for (; words->name; words++) {
        if (slice_equal_nocase(text, slice_from_cstr(words->name))) {
            *out = words->value;
            return RESULT_OK;
        }
    }
    return RESULT_SYNTAX;
}

static enum result parse_bool(struct slice text, bool *out)
{
    static const struct config_word words[] = {{"yes", 1}, {"no", 0}, {"true", 1}, {"false", 0}, {"on", 1}, {"off", 0}, {NULL, 0}};
    int value = 0;
    enum result result = parse_word(text, words, &value);
    *out = value == 1;
    return result;
}

static enum result parse_integer(struct slice text, int64_t *out)
{
    bool is_negative = text.len > 0 && text.ptr[0] == '-';
    uint64_t number = 0;
    if (!slice_to_u64(slice_skip(text, is_negative ? 1 : 0), INT64_MAX, &number))
        return RESULT_SYNTAX;
    *out = is_negative ? -(int64_t)number : (int64_t)number;
    return RESULT_OK;
}

static enum result parse_size(struct slice text, int64_t *out)
{
    static const char units[] = "KMG";
    const char *unit = text.len > 0 ? memchr(units, text.ptr[text.len - 1] & ~0x20, 3) : NULL;
    unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
    uint64_t number = 0;
    if (!slice_to_u64(slice_take(text, text.len - (unit ? 1 : 0)), (uint64_t)INT64_MAX >> shift, &number))
        return RESULT_SYNTAX;
    *out = (int64_t)(number << shift);
    return RESULT_OK;
}

static enum result parse_number(const struct config_key *key, struct config_value *value, enum result parse(struct slice, int64_t *), int64_t *out)
{
    enum result result = parse(value->text, out);
    if (result != RESULT_OK)
        return result;
    if (*out < key->min)
        return refuse(value, "too small");
    if (*out > key->max && (key->min != 0 || key->max != 0))
        return refuse(value, "too large");
    return RESULT_OK;
}

enum result config_value_parse(const struct config_key *key, const char *file, struct config_value *value, void *out)
{
    switch (key->type) {
    case CONFIG_TEXT:
        return parse_text(key, value, out);
    case CONFIG_PATH:
        return parse_path(key, file, value, out);
    case CONFIG_BOOL:
        return parse_bool(value->text, out);
    case CONFIG_INTEGER:
        return parse_number(key, value, parse_integer, out);
    case CONFIG_DURATION:
        return parse_number(key, value, duration_parse, out);
    case CONFIG_SIZE:
        return parse_number(key, value, parse_size, out);
    case CONFIG_WORD:
        return parse_word(value->text, key->words, out);
    case CONFIG_ADDRESS:
        return net_address_parse(value->text, out);
    case CONFIG_PREFIX:
        return net_prefix_parse(value->text, out);
    case CONFIG_SCHEDULE:
        return schedule_parse(value->text, out);
    case CONFIG_CUSTOM:
        return key->parse(value, out);
    }
    return RESULT_SYNTAX;
}
