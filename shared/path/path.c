#include "path/path.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *path_mode_name(enum path_mode mode)
{
    switch (mode) {
    case PATH_TLS:
        return "tls";
    case PATH_STARTTLS:
        return "starttls";
    }
    return "?";
}

const char *path_alpn_name(enum path_alpn alpn)
{
    switch (alpn) {
    case PATH_ALPN_NONE:
        return "";
    case PATH_ALPN_SMTP:
        return "smtp";
    case PATH_ALPN_HTTP:
        return "http/1.1";
    }
    return "?";
}

const char *path_via_name(enum path_via via)
{
    switch (via) {
    case PATH_DIRECT:
        return "direct";
    case PATH_HTTP_CONNECT:
        return "http-connect";
    case PATH_SOCKS5:
        return "socks5";
    }
    return "?";
}

/* In the order of enum path_verdict. */
static const struct {
    const char *name;
    const char *words;
} verdicts[] = {
    [PATH_UNTRIED] = {"untried", "has not been tried"},
    [PATH_OPEN] = {"open", "is open"},
    [PATH_DROPPED] = {"dropped", "does not answer"},
    [PATH_REFUSED] = {"refused", "refuses the connection"},
    [PATH_UNREACHABLE] = {"unreachable", "cannot be reached"},
    [PATH_DNS] = {"dns", "cannot be found: its name does not resolve here"},
    [PATH_FOREIGN_BANNER] = {"foreign-banner", "is answered by something that is not the relay"},
    [PATH_HTTP] = {"http", "is answered by a web page, as of a login portal"},
    [PATH_STARTTLS_MISSING] = {"starttls-missing", "has STARTTLS taken out"},
    [PATH_WRONG_CERTIFICATE] = {"wrong-certificate", "is answered by a stranger's certificate"},
    [PATH_TLS_FAILED] = {"tls-failed", "connects, but TLS does not come to an end"},
    [PATH_DIED_EARLY] = {"died-early", "worked, then broke off"},
    [PATH_PROXY_REFUSED] = {"proxy-refused", "is refused by the proxy"},
    [PATH_RELAY_REFUSED] = {"relay-refused", "reaches the relay, which refuses"},
};

const char *path_verdict_name(enum path_verdict verdict)
{
    return (size_t)verdict < sizeof verdicts / sizeof verdicts[0] ? verdicts[verdict].name : "?";
}

const char *path_verdict_words(enum path_verdict verdict)
{
    return (size_t)verdict < sizeof verdicts / sizeof verdicts[0] ? verdicts[verdict].words : "?";
}

static size_t octets_of(uint8_t family)
{
    return family == 4 ? 4 : family == 6 ? 16 : 0;
}

bool path_address_equal(const struct path_address *a, const struct path_address *b)
{
    return a->family == b->family && memcmp(a->octets, b->octets, octets_of(a->family)) == 0 && a->scope == b->scope;
}

bool path_equal(const struct path *a, const struct path *b)
{
    return path_address_equal(&a->address, &b->address) && a->port == b->port && a->mode == b->mode && a->alpn == b->alpn && a->via == b->via &&
           (a->via == PATH_DIRECT || (path_address_equal(&a->proxy.address, &b->proxy.address) && a->proxy.port == b->proxy.port));
}

static unsigned group_of(const struct path_address *address, size_t i)
{
    return (unsigned)address->octets[2 * i] << 8 | address->octets[2 * i + 1];
}

/* RFC 5952 4.2: the longest run of at least two zero groups, the first of equals, becomes "::". *start is 8 when there is none. */
static size_t longest_zero_run(const struct path_address *address, size_t *start)
{
    size_t best = 1, run = 0;
    *start = 8;
    for (size_t i = 0; i < 8; i++) {
        run = group_of(address, i) == 0 ? run + 1 : 0;
        if (run > best) {
            best = run;
            *start = i + 1 - run;
        }
    }
    return best;
}

/* Text under construction; what does not fit is cut. */
struct text {
    char *out;
    size_t size;
    size_t len;
};

static void add(struct text *text, const char *format, ...) PRINTF_LIKE(2, 3);
static void add(struct text *text, const char *format, ...)
{
    va_list args;
    if (text->len >= text->size)
        return;
    va_start(args, format);
    int n = vsnprintf(text->out + text->len, text->size - text->len, format, args);
    va_end(args);
    text->len += n > 0 ? (size_t)n : 0;
}

static void add_v4(struct text *text, const uint8_t *octets)
{
    add(text, "%u.%u.%u.%u", octets[0], octets[1], octets[2], octets[3]);
}

static void add_v6(struct text *text, const struct path_address *address)
{
    static const uint8_t mapped[12] = {[10] = 0xff, 0xff};
    size_t zeros_at, zeros = longest_zero_run(address, &zeros_at);
    bool is_mapped = memcmp(address->octets, mapped, sizeof mapped) == 0;
    for (size_t i = 0; i < (is_mapped ? 6 : 8); i++) {
        bool needs_colon = i > 0 && i != zeros_at + zeros;
        if (i != zeros_at) {
            add(text, "%s%x", needs_colon ? ":" : "", group_of(address, i));
        } else {
            add(text, "::");
            i += zeros - 1;
        }
    }
    if (is_mapped) {
        add(text, ":");
        add_v4(text, address->octets + 12);
    }
    if (address->scope != 0)
        add(text, "%%%u", (unsigned)address->scope);
}

static void add_address(struct text *text, const struct path_address *address)
{
    if (address->family == 4)
        add_v4(text, address->octets);
    else if (address->family == 6)
        add_v6(text, address);
    else
        add(text, "none");
}

void path_address_format(const struct path_address *address, char *out, size_t size)
{
    struct text text = {out, size, 0};
    add_address(&text, address);
}

/* ---- addresses out of text ---- */

static bool parse_v4(struct slice text, uint8_t out[static 4])
{
    for (size_t i = 0; i < 4; i++) {
        struct slice number;
        uint64_t value;
        bool has_more = slice_cut(text, '.', &number, &text);
        bool has_leading_zero = number.len > 1 && number.ptr[0] == '0'; /* octal to some */
        if (has_more != (i < 3) || has_leading_zero || !slice_to_u64(number, 255, &value))
            return false;
        out[i] = (uint8_t)value;
    }
    return true;
}

static bool parse_group(struct slice text, uint8_t out[static 2])
{
    unsigned value = 0;
    if (text.len == 0 || text.len > 4)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i], lower = (char)(c | 0x20);
        if (!(c >= '0' && c <= '9') && !(lower >= 'a' && lower <= 'f'))
            return false;
        value = value << 4 | (unsigned)(c <= '9' ? c - '0' : lower - 'a' + 10);
    }
    out[0] = (uint8_t)(value >> 8);
    out[1] = (uint8_t)value;
    return true;
}

/* Groups with a colon between two of them, the last two perhaps as IPv4: their octets, at most 16; SIZE_MAX: it is something else. */
static size_t parse_groups(struct slice text, uint8_t out[static 16])
{
    size_t n = 0;
    for (bool has_more = text.len > 0; has_more;) {
        struct slice group;
        has_more = slice_cut(text, ':', &group, &text);
        bool is_v4 = !has_more && slice_find(group, '.') >= 0;
        size_t len = is_v4 ? 4 : 2;
        if (n + len > 16 || !(is_v4 ? parse_v4(group, out + n) : parse_group(group, out + n)))
            return SIZE_MAX;
        n += len;
    }
    return n;
}

/* RFC 4291 2.2: eight groups, or fewer around one "::". */
static bool parse_v6(struct slice text, uint8_t out[static 16])
{
    uint8_t tail[16];
    ptrdiff_t gap = -1;
    for (size_t i = 0; i + 1 < text.len && gap < 0; i++)
        if (text.ptr[i] == ':' && text.ptr[i + 1] == ':')
            gap = (ptrdiff_t)i;
    if (gap < 0)
        return parse_groups(text, out) == 16;
    struct slice front = slice_take(text, (size_t)gap);
    size_t nfront = parse_groups(front, out), ntail = parse_groups(slice_skip(text, (size_t)gap + 2), tail);
    if (nfront == SIZE_MAX || ntail == SIZE_MAX || nfront + ntail > 14 || slice_find(front, '.') >= 0)
        return false;
    memset(out + nfront, 0, 16 - nfront - ntail);
    memcpy(out + 16 - ntail, tail, ntail);
    return true;
}

bool path_address_parse(struct slice text, struct path_address *out)
{
    struct path_address address = {.family = 6};
    struct slice scope;
    uint64_t number = 0;
    if (slice_find(text, ':') < 0) {
        address.family = 4;
        if (!parse_v4(text, address.octets))
            return false;
    } else if ((slice_cut(text, '%', &text, &scope) && (!slice_to_u64(scope, UINT32_MAX, &number) || number == 0)) || !parse_v6(text, address.octets)) {
        return false;
    }
    address.scope = (uint32_t)number;
    *out = address;
    return true;
}

/* ---- paths as text ---- */

static void add_endpoint(struct text *text, const struct path_address *address, uint16_t port)
{
    bool is_v6 = address->family == 6;
    add(text, "%s", is_v6 ? "[" : "");
    if (address->family == 0)
        add(text, "*");
    else
        add_address(text, address);
    add(text, "%s:%u", is_v6 ? "]" : "", (unsigned)port);
}

void path_format(const struct path *path, char *out, size_t size)
{
    struct text text = {out, size, 0};
    add_endpoint(&text, &path->address, path->port);
    add(&text, " %s", path_mode_name(path->mode));
    if (path->alpn != PATH_ALPN_NONE)
        add(&text, " %s", path_alpn_name(path->alpn));
    if (path->via == PATH_DIRECT)
        return;
    add(&text, " via %s ", path_via_name(path->via));
    add_endpoint(&text, &path->proxy.address, path->proxy.port);
}
