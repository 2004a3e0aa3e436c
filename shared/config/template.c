#include "config/template.h"

#include <string.h>

enum { FILLS_MAX = 128 };

struct filling {
    const struct config_fill *fills;
    size_t n;
    bool is_done[FILLS_MAX]; /* the key's line was found */
    struct slice section;
    struct buffer *out;
};

static bool is_key_line(struct slice line, struct slice key)
{
    struct slice name, value;
    if (line.len > 0 && line.ptr[0] == '#')
        line = slice_skip(line, 1);
    return slice_cut(line, '=', &name, &value) && slice_equal(slice_trim(name), key) && line.ptr[0] != ' ';
}

static bool needs_quotes(struct slice value)
{
    struct slice trimmed = slice_trim(value);
    return value.len == 0 || trimmed.len != value.len || value.ptr[0] == '"';
}

static enum result append_value(struct buffer *out, struct slice value)
{
    enum result result = RESULT_OK;
    for (size_t i = 0; i < value.len; i++)
        if ((unsigned char)value.ptr[i] < ' ' || value.ptr[i] == 0x7f)
            return RESULT_SYNTAX;
    if (!needs_quotes(value))
        return buffer_append(out, value);
    result = buffer_append_cstr(out, "\"");
    for (size_t i = 0; i < value.len && result == RESULT_OK; i++) {
        bool is_escaped = value.ptr[i] == '"' || value.ptr[i] == '\\';
        result = buffer_printf(out, is_escaped ? "\\%c" : "%c", value.ptr[i]);
    }
    return result == RESULT_OK ? buffer_append_cstr(out, "\"") : result;
}

static enum result append_fill(struct filling *f, size_t i)
{
    enum result result = buffer_printf(f->out, "%s = ", f->fills[i].key);
    if (result == RESULT_OK)
        result = append_value(f->out, f->fills[i].value);
    return result == RESULT_OK ? buffer_append_cstr(f->out, "\n") : result;
}

/* All values of a key stand where its first line stood. *is_key: the line is one of ours to replace. */
static enum result replace(struct filling *f, struct slice line, bool *is_key)
{
    enum result result = RESULT_OK;
    *is_key = false;
    for (size_t i = 0; i < f->n && result == RESULT_OK; i++) {
        bool is_mine = slice_equal(f->section, slice_from_cstr(f->fills[i].section)) && is_key_line(line, slice_from_cstr(f->fills[i].key));
        *is_key = *is_key || is_mine;
        if (is_mine && !f->is_done[i]) {
            f->is_done[i] = true;
            result = append_fill(f, i);
        }
    }
    return result;
}

enum result config_template_fill(struct slice template_text, const struct config_fill *fills, size_t n, struct buffer *out)
{
    struct filling f = {.fills = fills, .n = n, .out = out};
    struct slice rest = template_text, line;
    enum result result = n <= FILLS_MAX ? RESULT_OK : RESULT_LIMIT;
    while (rest.len > 0 && result == RESULT_OK) {
        bool is_key;
        slice_cut(rest, '\n', &line, &rest);
        if (line.len > 1 && line.ptr[0] == '[')
            f.section = slice_take(slice_skip(line, 1), line.len - 2);
        result = replace(&f, line, &is_key);
        if (result == RESULT_OK && !is_key)
            result = buffer_append(out, line);
        if (result == RESULT_OK && !is_key)
            result = buffer_append_cstr(out, "\n");
    }
    for (size_t i = 0; i < n && result == RESULT_OK; i++)
        if (!f.is_done[i])
            result = RESULT_NOT_FOUND;
    return result;
}
