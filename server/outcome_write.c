#include "outcome.h"

#include "base/utf8.h"
#include "mail/address.h"
#include "mail/xtext.h"

#include <assert.h>

/* The lines of XOUTCOME's answer (schema/link.md). A function of what the store said, and nothing else. */

enum {
    RCPT_MAX = ADDRESS_MAX + 16, /* octets of an address */
    HOST_MAX = 255 + 1 + 41 + 6, /* octets of "name [address]:port" */
    FRONT_MAX = 64,              /* of a line, up to the address */
    END_LINE = 1 + 4 + 1 + 10,   /* "\nmore 4294967295" */
};
/* In xtext an octet becomes three at most. */
static_assert(FRONT_MAX + 3 * RCPT_MAX + 3 * HOST_MAX < OUTCOME_LINE_MAX, "any address and any host fit a line");

static bool is_waiting(enum store_state state)
{
    switch (state) {
    case STORE_QUEUED:
    case STORE_UNCERTAIN: return true;
    case STORE_HELD: /* until a person says so */
    case STORE_RELAYED:
    case STORE_DELIVERED:
    case STORE_BOUNCED: break;
    }
    return false;
}

/* No octet of it ends a line, and no character is cut in half. */
static enum result add_words(struct slice words, size_t most, struct buffer *line)
{
    enum result result = RESULT_OK;
    while (words.len > 0 && result == RESULT_OK) {
        uint32_t character;
        size_t len = utf8_next(words, &character);
        bool is_fit = len > 0 && !utf8_is_control(character);
        struct slice piece = is_fit ? slice_take(words, len) : SLICE("?");
        if (buffer_len(line) + piece.len > most)
            break;
        result = buffer_append(line, piece);
        words = slice_skip(words, len > 0 ? len : 1);
    }
    return result;
}

static long long seconds(int64_t ms)
{
    return ms > 0 ? ms / 1000 : 0;
}

/* What the disk has altered is told cut, and readable: what became of the others must not be lost with it. */
static enum result write_line(const struct store_recipient *recipient, struct buffer *line)
{
    struct slice address = slice_take(recipient->envelope.address, RCPT_MAX);
    long long asked_s = seconds(recipient->at_ms), next_s = is_waiting(recipient->state) ? seconds(recipient->next_attempt_ms) : 0;
    enum result result = buffer_printf(line, "\n%s %lld %lld ", store_state_name(recipient->state), asked_s, next_s);
    if (result == RESULT_OK)
        result = xtext_encode(address.len > 0 ? address : SLICE("?"), line);
    if (result == RESULT_OK)
        result = buffer_append(line, SLICE(" "));
    if (result == RESULT_OK)
        result = recipient->host.len > 0 ? xtext_encode(slice_take(recipient->host, HOST_MAX), line) : buffer_append(line, SLICE("-"));
    if (result == RESULT_OK && recipient->reply.len > 0)
        result = buffer_append(line, SLICE(" "));
    return result == RESULT_OK ? add_words(recipient->reply, OUTCOME_LINE, line) : result;
}

/* *nwritten: of the n that there are, those that fitted. */
static enum result write_recipients(const struct store_recipient *recipients, size_t n, struct buffer *text, uint32_t *nwritten)
{
    struct buffer line = {0};
    enum result result = RESULT_OK;
    *nwritten = 0;
    while (*nwritten < n) {
        buffer_clear(&line);
        result = write_line(&recipients[*nwritten], &line);
        assert(buffer_len(&line) <= OUTCOME_LINE_MAX);
        if (result != RESULT_OK || buffer_len(text) + buffer_len(&line) + END_LINE > OUTCOME_TEXT_MAX)
            break;
        result = buffer_append(text, buffer_slice(&line));
        if (result != RESULT_OK)
            break;
        ++*nwritten;
    }
    buffer_free(&line);
    return result;
}

enum result outcome_write(const struct store_recipient *recipients, size_t n, uint32_t first, uint32_t total, struct buffer *text)
{
    uint32_t nwritten = 0;
    enum result result = buffer_printf(text, "%lu recipients from %lu", (unsigned long)total, (unsigned long)first);
    if (result == RESULT_OK)
        result = write_recipients(recipients, n, text, &nwritten);
    if (result != RESULT_OK)
        return result;
    /* Without a step there would be no end. */
    if (nwritten > 0 && first < total && nwritten < total - first)
        return buffer_printf(text, "\nmore %lu", (unsigned long)(first + nwritten));
    return buffer_append_cstr(text, "\nend");
}
