#include "path/ways.h"

static bool parse_mode(struct slice text, enum path_mode *out)
{
    bool is_tls = slice_equal_nocase(text, SLICE("tls"));
    *out = is_tls ? PATH_TLS : PATH_STARTTLS;
    return is_tls || slice_equal_nocase(text, SLICE("starttls"));
}

/* "192.0.2.1" or "[2001:db8::1]". */
static bool parse_host(struct slice text, struct path_address *out)
{
    bool is_bracketed = text.len > 2 && text.ptr[0] == '[' && text.ptr[text.len - 1] == ']';
    if (is_bracketed)
        text = slice_take(slice_skip(text, 1), text.len - 2);
    return path_address_parse(text, out) && (out->family == 6) == is_bracketed;
}

/* "PORT/MODE" or "ADDRESS:PORT/MODE". */
static bool parse_way(struct slice word, struct finder_way *out)
{
    struct slice mode, port = {0};
    uint64_t number;
    *out = (struct finder_way){0};
    if (!slice_cut(word, '/', &word, &mode) || !parse_mode(mode, &out->mode))
        return false;
    ptrdiff_t colon = slice_find_last(word, ':');
    port = slice_skip(word, (size_t)(colon + 1));
    if (colon >= 0 && !parse_host(slice_take(word, (size_t)colon), &out->address))
        return false;
    if (!slice_to_u64(port, 65535, &number) || number == 0)
        return false;
    out->port = (uint16_t)number;
    return true;
}

bool path_way_equal(const struct finder_way *a, const struct finder_way *b)
{
    return path_address_equal(&a->address, &b->address) && a->port == b->port && a->mode == b->mode;
}

bool path_ways_have(const struct finder_way *ways, size_t n, const struct finder_way *way)
{
    for (size_t i = 0; i < n; i++)
        if (path_way_equal(&ways[i], way))
            return true;
    return false;
}

size_t path_ways_parse(struct slice text, struct finder_way *out, size_t max)
{
    size_t n = 0;
    for (bool has_more = true; has_more && n < max;) {
        struct slice word;
        struct finder_way way;
        has_more = slice_cut(text, ' ', &word, &text);
        if (parse_way(slice_trim(word), &way) && !path_ways_have(out, n, &way))
            out[n++] = way;
    }
    return n;
}
