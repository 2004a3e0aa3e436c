#include "smtp/outcome.h"

#include "base/utf8.h"
#include "mail/xtext.h"
#include "smtp/reply.h"

enum {
    XTEXT_FACTOR = 3, /* octets of xtext that one octet may take */
};
static const uint64_t TIME_MAX_S = 253402300799; /* the end of the year 9999 */

static const char *const STATES[] = {
    [SMTP_OUTCOME_QUEUED] = "queued",       [SMTP_OUTCOME_HELD] = "held",       [SMTP_OUTCOME_UNCERTAIN] = "uncertain",
    [SMTP_OUTCOME_DELIVERED] = "delivered", [SMTP_OUTCOME_BOUNCED] = "bounced",
};

/* ---- words of a line ---- */

static bool take_state(struct slice *line, enum smtp_outcome_state *out)
{
    struct slice word;
    slice_cut(*line, ' ', &word, line);
    for (size_t i = 0; i < sizeof STATES / sizeof *STATES; i++) {
        *out = (enum smtp_outcome_state)i;
        if (slice_equal(word, slice_from_cstr(STATES[i])))
            return true;
    }
    return false;
}

static bool take_time(struct slice *line, int64_t *out)
{
    struct slice word;
    uint64_t value;
    slice_cut(*line, ' ', &word, line);
    if (!slice_to_u64(word, TIME_MAX_S, &value))
        return false;
    *out = (int64_t)value;
    return true;
}

static bool has_control(struct slice text)
{
    uint32_t character;
    for (size_t len; text.len > 0; text = slice_skip(text, len)) {
        len = utf8_next(text, &character);
        if (len == 0 || utf8_is_control(character))
            return true;
    }
    return false;
}

/* A word of xtext, not empty; it ends up in listings and logs, so what could lead a reader astray is refused. */
static enum result take_xtext(struct slice *line, size_t max, struct arena *arena, struct slice *out)
{
    struct slice word;
    struct buffer decoded = BUFFER(max);
    slice_cut(*line, ' ', &word, line);
    if (word.len == 0 || word.len > XTEXT_FACTOR * max)
        return RESULT_SYNTAX;
    enum result result = xtext_decode(word, &decoded);
    if (result == RESULT_OK && has_control(buffer_slice(&decoded)))
        result = RESULT_SYNTAX;
    if (result == RESULT_OK)
        result = arena_copy(arena, buffer_slice(&decoded), out);
    buffer_free(&decoded);
    return result == RESULT_LIMIT ? RESULT_SYNTAX : result;
}

/* ---- lines ---- */

/* state at next address host words */
static enum result parse_outcome(struct slice line, struct arena *arena, struct smtp_outcome *out)
{
    *out = (struct smtp_outcome){0};
    if (!take_state(&line, &out->state) || !take_time(&line, &out->at_s) || !take_time(&line, &out->next_s))
        return RESULT_SYNTAX;
    enum result result = take_xtext(&line, SMTP_OUTCOME_ADDRESS_MAX, arena, &out->address);
    if (result == RESULT_OK)
        result = take_xtext(&line, SMTP_OUTCOME_HOST_MAX, arena, &out->host);
    if (slice_equal(out->host, SLICE("-")))
        out->host = (struct slice){0};
    out->words = line;
    return result;
}

static bool to_u32(struct slice word, uint32_t *out)
{
    uint64_t value = 0;
    bool is_number = slice_to_u64(word, UINT32_MAX, &value);
    *out = (uint32_t)value;
    return is_number;
}

static bool take_u32(struct slice *line, uint32_t *out)
{
    struct slice word;
    slice_cut(*line, ' ', &word, line);
    return to_u32(word, out);
}

static bool take_word(struct slice *line, struct slice expected)
{
    struct slice word;
    slice_cut(*line, ' ', &word, line);
    return slice_equal(word, expected);
}

/* "N recipients from FIRST" */
static bool parse_head(struct slice line, struct smtp_outcomes *out)
{
    return take_u32(&line, &out->total) && take_word(&line, SLICE("recipients")) && take_word(&line, SLICE("from")) && to_u32(line, &out->first);
}

/* "end", or "more N", where N is the recipient behind the last one told. */
static bool parse_tail(struct slice line, struct smtp_outcomes *out)
{
    uint64_t behind = (uint64_t)out->first + out->n;
    if (slice_equal(line, SLICE("end")))
        return out->n == 0 ? out->first >= out->total : behind == out->total;
    return take_word(&line, SLICE("more")) && to_u32(line, &out->next) && out->n > 0 && out->next == behind && behind < out->total;
}

/* ---- the whole ---- */

static size_t count_lines(struct slice text)
{
    size_t n = 1;
    for (size_t i = 0; i < text.len; i++)
        n += text.ptr[i] == '\n';
    return n;
}

enum result smtp_outcomes_parse(struct slice text, struct arena *arena, struct smtp_outcomes *out)
{
    struct slice line;
    size_t nlines = count_lines(text);
    *out = (struct smtp_outcomes){0};
    slice_cut(text, '\n', &line, &text);
    if (nlines < 2 || nlines > SMTP_REPLY_LINES_MAX || !parse_head(line, out))
        return RESULT_SYNTAX;
    out->outcomes = arena_alloc(arena, (nlines - 1) * sizeof *out->outcomes);
    if (!out->outcomes)
        return RESULT_MEMORY;
    while (slice_cut(text, '\n', &line, &text)) {
        enum result result = parse_outcome(line, arena, &out->outcomes[out->n++]);
        if (result != RESULT_OK)
            return result;
    }
    return parse_tail(line, out) ? RESULT_OK : RESULT_SYNTAX;
}
