/* Writes Received: in clauses, each of which begins a new line where the old one would pass column 78. */
#include "mail/received.h"

#include "mail/date.h"

#include <stdio.h>
#include <string.h>

enum {
    COLUMN_MAX = 77,       /* of a clause: a ";" may follow */
    NAME_MAX_OCTETS = 255, /* of a host name, an address, a cipher */
};

struct writer {
    struct buffer *out;
    size_t column;
    enum result result;
};

static void append(struct writer *w, struct slice s)
{
    if (w->result == RESULT_OK)
        w->result = buffer_append(w->out, s);
    w->column += s.len;
}

/* A clause is broken at its front only. */
static void write_clause(struct writer *w, struct slice clause)
{
    if (w->column + 1 + clause.len > COLUMN_MAX) {
        append(w, SLICE("\r\n"));
        w->column = 0;
    }
    append(w, SLICE(" "));
    append(w, clause);
}

/* Text from outside stands between blanks here, so whatever has a meaning there goes: controls, blanks, comments, brackets that
 * would close ours, ";". UTF-8 stays, it is well-formed or an address would not have been accepted. */
static struct slice harmless(struct slice s, char *out)
{
    size_t len = 0;
    for (; len < s.len && len < NAME_MAX_OCTETS; len++) {
        unsigned char c = (unsigned char)s.ptr[len];
        out[len] = c > ' ' && c != 0x7f && strchr("()<>;\\,", c) == NULL ? s.ptr[len] : '?';
    }
    return slice_of(out, len);
}

static void write_words(struct writer *w, const char *before, struct slice word, const char *after)
{
    char text[NAME_MAX_OCTETS + 64], clean[NAME_MAX_OCTETS];
    struct slice harmless_word = harmless(word, clean);
    int len = snprintf(text, sizeof text, "%s%.*s%s", before, SLICE_ARG(harmless_word), after);
    write_clause(w, slice_of(text, (size_t)len));
}

/* "from HELO" and "([PEER])": the name is the peer's own, the address is what we saw. */
static void write_from(struct writer *w, const struct received *r)
{
    write_words(w, "from ", r->helo.len > 0 ? r->helo : SLICE("unknown"), "");
    if (r->peer.len > 0)
        write_words(w, slice_find(r->peer, ':') >= 0 ? "([IPv6:" : "([", r->peer, "])");
}

/* RFC 8314 4.3 wants the registered name of the cipher; mbedTLS writes TLS1-3-AES-256-GCM-SHA384 and TLS-ECDHE-... */
static void write_tls(struct writer *w, const struct received *r)
{
    char name[NAME_MAX_OCTETS];
    size_t len = 0;
    struct slice cipher = r->tls_cipher;
    if (slice_starts_with(cipher, SLICE("TLS1-3"))) {
        memcpy(name, "TLS", 3);
        len = 3;
        cipher = slice_skip(cipher, 6);
    }
    for (size_t i = 0; i < cipher.len && len < sizeof name; i++)
        name[len++] = cipher.ptr[i] == '-' ? '_' : cipher.ptr[i];
    write_words(w, "tls ", slice_of(name, len), "");
    write_words(w, "(", r->tls_version, ")");
}

/* An address is canonical, so it needs no cleaning, which would break its quotes. */
static void write_for(struct writer *w, struct slice address)
{
    char text[NAME_MAX_OCTETS + 8];
    int len = snprintf(text, sizeof text, "for <%.*s>", (int)slice_take(address, NAME_MAX_OCTETS).len, address.ptr);
    write_clause(w, slice_of(text, (size_t)len));
}

enum result received_format(const struct received *received, struct buffer *out)
{
    struct writer w = {.out = out};
    size_t before = buffer_len(out);
    char date[DATE_RFC5322];
    append(&w, SLICE("Received:"));
    if (!received->is_private)
        write_from(&w, received);
    write_words(&w, "by ", received->by, "");
    write_words(&w, "with ", slice_from_cstr(received->protocol), "");
    write_words(&w, "id ", received->id, "");
    if (received->for_address.len > 0)
        write_for(&w, received->for_address);
    if (received->tls_version.len > 0 && received->tls_cipher.len > 0)
        write_tls(&w, received);
    append(&w, SLICE(";"));
    date_format_rfc5322(received->at_ms, date);
    write_clause(&w, slice_from_cstr(date));
    append(&w, SLICE("\r\n"));
    if (w.result != RESULT_OK)
        buffer_truncate(out, before);
    return w.result;
}

/* ---- reading ---- */

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Octets of a comment at the front, with what is nested in it. */
static size_t comment_len(struct slice s)
{
    size_t depth = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '\\')
            i++;
        else if (s.ptr[i] == '(')
            depth++;
        else if (s.ptr[i] == ')' && --depth == 0)
            return i + 1;
    }
    return s.len;
}

/* The next word outside of comments; empty at the end or at ";". */
static struct slice next_word(struct slice *rest)
{
    while (rest->len > 0 && (is_space(rest->ptr[0]) || rest->ptr[0] == '('))
        *rest = slice_skip(*rest, rest->ptr[0] == '(' ? comment_len(*rest) : 1);
    size_t len = 0;
    while (len < rest->len && !is_space(rest->ptr[len]) && rest->ptr[len] != '(' && rest->ptr[len] != ';')
        len++;
    struct slice word = slice_take(*rest, len);
    *rest = slice_skip(*rest, len);
    return word;
}

bool received_is_by(struct slice value, struct slice host)
{
    for (struct slice word = next_word(&value); word.len > 0; word = next_word(&value))
        if (slice_equal_nocase(word, SLICE("by")))
            return slice_equal_nocase(next_word(&value), host);
    return false;
}
