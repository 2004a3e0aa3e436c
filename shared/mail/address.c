/* Parses Mailbox and path of RFC 5321 4.1.2, writing the canonical form as it goes.
 *
 * A parser here takes a cursor, consumes what it understands and says whether that was whole. The local part is first
 * taken out of its quotes, then written back with the least quoting, so that two spellings come out as one. */
#include "mail/address.h"

#include "base/utf8.h"

#include <string.h>

struct cursor {
    struct slice rest;
    bool allow_utf8;
};

struct slice address_text(const struct mail_address *address)
{
    return slice_of(address->text, address->len);
}

struct slice address_local(const struct mail_address *address)
{
    return slice_of(address->text, address->local_len);
}

struct slice address_domain(const struct mail_address *address)
{
    return slice_skip(address_text(address), address->local_len + 1);
}

static bool is_let_dig(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_atext(char c)
{
    return is_let_dig(c) || (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

/* Octets of a character above ASCII at the front that RFC 6531 3.3 lets stand in an address, or 0. */
static size_t utf8_front(const struct cursor *c)
{
    uint32_t character;
    if (!c->allow_utf8 || c->rest.len == 0 || !(c->rest.ptr[0] & 0x80))
        return 0;
    size_t len = utf8_next(c->rest, &character);
    return len > 0 && !utf8_is_control(character) ? len : 0;
}

static bool at(const struct cursor *c, char expected)
{
    return c->rest.len > 0 && c->rest.ptr[0] == expected;
}

static bool take(struct cursor *c, char expected)
{
    if (!at(c, expected))
        return false;
    c->rest = slice_skip(c->rest, 1);
    return true;
}

/* ---- local part ---- */

/* A local part out of its quotes. One that is longer than its limit stays marked so. */
struct local {
    char octets[ADDRESS_LOCAL_MAX];
    size_t len;
    bool is_too_long;
};

static void local_put(struct local *local, struct slice s)
{
    if (s.len > sizeof local->octets - local->len) {
        local->is_too_long = true;
        return;
    }
    memcpy(local->octets + local->len, s.ptr, s.len);
    local->len += s.len;
}

static void take_into(struct cursor *c, size_t n, struct local *local)
{
    local_put(local, slice_take(c->rest, n));
    c->rest = slice_skip(c->rest, n);
}

static size_t atext_front(const struct cursor *c)
{
    return c->rest.len > 0 && is_atext(c->rest.ptr[0]) ? 1 : utf8_front(c);
}

static bool take_dot_string(struct cursor *c, struct local *local)
{
    do {
        size_t n = atext_front(c);
        if (n == 0)
            return false;
        for (; n > 0; n = atext_front(c))
            take_into(c, n, local);
        if (!at(c, '.'))
            return true;
        take_into(c, 1, local);
    } while (true);
}

static bool is_printable(char c)
{
    return c >= ' ' && c <= '~';
}

static bool take_quoted_string(struct cursor *c, struct local *local)
{
    if (!take(c, '"'))
        return false;
    while (!take(c, '"')) {
        bool is_pair = take(c, '\\');
        size_t n = c->rest.len > 0 && is_printable(c->rest.ptr[0]) ? 1 : is_pair ? 0 : utf8_front(c);
        if (n == 0)
            return false;
        take_into(c, n, local);
    }
    return true;
}

static bool is_dot_string(const struct local *local)
{
    struct local scratch = {0};
    struct cursor c = {.rest = slice_of(local->octets, local->len), .allow_utf8 = true};
    return take_dot_string(&c, &scratch) && c.rest.len == 0;
}

static void put(struct mail_address *out, char c)
{
    if (out->len < ADDRESS_MAX)
        out->text[out->len] = c;
    out->len++;
}

static void write_local(const struct local *local, struct mail_address *out)
{
    bool needs_quotes = !is_dot_string(local);
    if (needs_quotes)
        put(out, '"');
    for (size_t i = 0; i < local->len; i++) {
        if (local->octets[i] == '"' || local->octets[i] == '\\')
            put(out, '\\');
        put(out, local->octets[i]);
    }
    if (needs_quotes)
        put(out, '"');
    out->local_len = out->len;
}

static enum result take_local(struct cursor *c, struct mail_address *out)
{
    struct local local = {0};
    bool is_whole = at(c, '"') ? take_quoted_string(c, &local) : take_dot_string(c, &local);
    if (!is_whole)
        return RESULT_SYNTAX;
    if (local.is_too_long)
        return RESULT_LIMIT;
    write_local(&local, out);
    return out->local_len > ADDRESS_LOCAL_MAX ? RESULT_LIMIT : RESULT_OK;
}

/* ---- domain ---- */

/* Octets of the label at the front: letters, digits, hyphens, and U-labels' letters. */
static size_t label_front(const struct cursor *c)
{
    struct cursor ahead = *c;
    size_t len = 0;
    while (ahead.rest.len > 0) {
        char first = ahead.rest.ptr[0];
        size_t n = is_let_dig(first) || first == '-' ? 1 : utf8_front(&ahead);
        if (n == 0)
            break;
        ahead.rest = slice_skip(ahead.rest, n);
        len += n;
    }
    return len;
}

static bool is_ascii(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] & 0x80)
            return false;
    return true;
}

static bool is_digits(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
    return s.len > 0;
}

static bool label_is_valid(struct slice label)
{
    return label.len > 0 && label.ptr[0] != '-' && label.ptr[label.len - 1] != '-' && (label.len <= ADDRESS_LABEL_MAX || !is_ascii(label));
}

/* Consumes a domain and gives it as it stands. The last label must not be a number: 192.0.2.1 without brackets is
 * an address that lost them, and no name (RFC 3696 2). */
static enum result take_domain(struct cursor *c, struct slice *domain)
{
    struct slice whole = c->rest, label;
    size_t len = 0;
    do {
        label = slice_take(c->rest, label_front(c));
        if (!label_is_valid(label))
            return label.len > ADDRESS_LABEL_MAX ? RESULT_LIMIT : RESULT_SYNTAX;
        c->rest = slice_skip(c->rest, label.len);
        len += label.len + 1;
    } while (take(c, '.'));
    *domain = slice_take(whole, len - 1);
    if (is_digits(label))
        return RESULT_SYNTAX;
    return domain->len > ADDRESS_DOMAIN_MAX ? RESULT_LIMIT : RESULT_OK;
}

bool address_domain_is_valid(struct slice domain, bool allow_utf8)
{
    struct cursor c = {.rest = domain, .allow_utf8 = allow_utf8};
    struct slice taken;
    return take_domain(&c, &taken) == RESULT_OK && c.rest.len == 0;
}

/* ---- address literals ---- */

static bool ipv4_is_valid(struct slice text)
{
    for (int part = 0; part < 4; part++) {
        struct slice number;
        uint64_t value;
        bool has_more = slice_cut(text, '.', &number, &text);
        if (has_more != (part < 3) || number.len > 3 || !slice_to_u64(number, 255, &value))
            return false;
    }
    return true;
}

static bool is_hex16(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (!(text.ptr[i] >= '0' && text.ptr[i] <= '9') && !((text.ptr[i] | 0x20) >= 'a' && (text.ptr[i] | 0x20) <= 'f'))
            return false;
    return text.len >= 1 && text.len <= 4;
}

/* RFC 4291 2.2: eight groups; one "::" stands for one or more of them; the last two may be an IPv4 address. */
static bool ipv6_is_valid(struct slice text)
{
    int groups = 0;
    bool has_gap = false;
    if (slice_starts_with(text, SLICE("::"))) {
        has_gap = true;
        text = slice_skip(text, 2);
    }
    while (text.len > 0) {
        struct slice group, rest;
        bool has_more = slice_cut(text, ':', &group, &rest);
        if (!has_more && slice_find(group, '.') >= 0) {
            groups += 2;
            return ipv4_is_valid(group) && (has_gap ? groups < 8 : groups == 8);
        }
        if (!is_hex16(group) || (has_more && rest.len == 0))
            return false;
        groups++;
        text = rest;
        if (has_more && rest.ptr[0] == ':') {
            if (has_gap)
                return false;
            has_gap = true;
            text = slice_skip(rest, 1);
        }
    }
    return has_gap ? groups < 8 : groups == 8;
}

bool address_literal_is_valid(struct slice literal)
{
    static const size_t brackets = 2;
    if (literal.len < brackets || literal.ptr[0] != '[' || literal.ptr[literal.len - 1] != ']')
        return false;
    struct slice inner = slice_of(literal.ptr + 1, literal.len - brackets);
    if (slice_starts_with_nocase(inner, SLICE("IPv6:")))
        return ipv6_is_valid(slice_skip(inner, 5));
    return ipv4_is_valid(inner);
}

static enum result take_literal(struct cursor *c, struct slice *literal)
{
    ptrdiff_t end = slice_find(c->rest, ']');
    *literal = slice_take(c->rest, (size_t)(end + 1));
    if (end < 0 || !address_literal_is_valid(*literal))
        return RESULT_SYNTAX;
    c->rest = slice_skip(c->rest, literal->len);
    return RESULT_OK;
}

/* ---- mailbox and path ---- */

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

static enum result take_mailbox(struct cursor *c, struct mail_address *out)
{
    struct slice domain;
    *out = (struct mail_address){0};
    enum result taken = take_local(c, out);
    if (taken != RESULT_OK)
        return taken;
    if (!take(c, '@'))
        return RESULT_SYNTAX;
    out->is_literal = at(c, '[');
    taken = out->is_literal ? take_literal(c, &domain) : take_domain(c, &domain);
    if (taken != RESULT_OK)
        return taken;
    put(out, '@');
    for (size_t i = 0; i < domain.len; i++)
        put(out, lower(domain.ptr[i]));
    if (out->len > ADDRESS_MAX)
        return RESULT_LIMIT;
    out->text[out->len] = '\0';
    out->needs_smtputf8 = !is_ascii(address_text(out));
    return RESULT_OK;
}

/* A failed parse leaves no half address behind. */
static enum result finish(enum result result, struct mail_address *out)
{
    if (result != RESULT_OK)
        *out = (struct mail_address){0};
    return result;
}

static enum result parse_all(struct cursor *c, struct mail_address *out)
{
    enum result taken = take_mailbox(c, out);
    return taken == RESULT_OK && c->rest.len > 0 ? RESULT_SYNTAX : taken;
}

enum result address_parse(struct slice text, unsigned flags, struct mail_address *out)
{
    struct cursor c = {.rest = text, .allow_utf8 = (flags & ADDRESS_ALLOW_UTF8) != 0};
    return finish(parse_all(&c, out), out);
}

/* "@a,@b:" before the mailbox: RFC 5321 4.1.1.3 lets us ignore it, and the mailbox alone is where the mail goes. */
static enum result skip_source_route(struct cursor *c)
{
    struct slice domain;
    do {
        enum result taken = take(c, '@') ? take_domain(c, &domain) : RESULT_SYNTAX;
        if (taken != RESULT_OK)
            return taken;
    } while (take(c, ','));
    return take(c, ':') ? RESULT_OK : RESULT_SYNTAX;
}

static bool take_postmaster(struct cursor *c, struct mail_address *out)
{
    static const struct slice name = {"postmaster", 10};
    if (!slice_starts_with_nocase(c->rest, name) || c->rest.len <= name.len || c->rest.ptr[name.len] != '>')
        return false;
    *out = (struct mail_address){.len = name.len, .local_len = name.len};
    memcpy(out->text, name.ptr, name.len);
    c->rest = slice_skip(c->rest, name.len);
    return true;
}

static enum result take_path(struct cursor *c, unsigned flags, struct mail_address *out)
{
    *out = (struct mail_address){0};
    if (!take(c, '<'))
        return RESULT_SYNTAX;
    if ((flags & ADDRESS_ALLOW_EMPTY) && take(c, '>'))
        return RESULT_OK;
    if ((flags & ADDRESS_ALLOW_POSTMASTER) && take_postmaster(c, out))
        return take(c, '>') ? RESULT_OK : RESULT_SYNTAX;
    enum result taken = at(c, '@') ? skip_source_route(c) : RESULT_OK;
    if (taken == RESULT_OK)
        taken = take_mailbox(c, out);
    return taken == RESULT_OK && !take(c, '>') ? RESULT_SYNTAX : taken;
}

enum result address_parse_path(struct slice in, unsigned flags, struct mail_address *out, size_t *used)
{
    struct cursor c = {.rest = in, .allow_utf8 = (flags & ADDRESS_ALLOW_UTF8) != 0};
    enum result taken = finish(take_path(&c, flags, out), out);
    *used = taken == RESULT_OK ? in.len - c.rest.len : 0;
    return taken;
}

/* ---- send-as lists ---- */

bool address_pattern_is_valid(struct slice pattern)
{
    struct mail_address address;
    if (slice_starts_with(pattern, SLICE("@")))
        return address_domain_is_valid(slice_skip(pattern, 1), true);
    return address_parse(pattern, ADDRESS_ALLOW_UTF8, &address) == RESULT_OK;
}

bool address_matches(struct slice pattern, struct slice address)
{
    struct mail_address who, listed;
    if (!address_pattern_is_valid(pattern) || address_parse(address, ADDRESS_ALLOW_UTF8, &who) != RESULT_OK)
        return false;
    if (pattern.ptr[0] == '@')
        return slice_equal_nocase(slice_skip(pattern, 1), address_domain(&who));
    return address_parse(pattern, ADDRESS_ALLOW_UTF8, &listed) == RESULT_OK && slice_equal_nocase(address_text(&listed), address_text(&who));
}

struct slice address_domain_of(struct slice address)
{
    ptrdiff_t at = slice_find_last(address, '@');
    return at < 0 ? (struct slice){0} : slice_skip(address, (size_t)at + 1);
}
