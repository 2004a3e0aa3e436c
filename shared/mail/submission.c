/* The stream around the header's judgement: gathers the section line by line, then watches the body go by.
 *
 *   header -> body | refused | out of memory
 *   (resumed) -> body
 *
 * Every octet of the header goes through one small machine, so that the cut of the pieces can't matter. */
#include "mail/submission.h"

#include "base/arena.h"
#include "base/buffer.h"
#include "mail/header.h"
#include "mail/submission_header.h"

#include <stdio.h>
#include <stdlib.h>

enum submission_state { STATE_HEADER, STATE_BODY, STATE_REFUSED, STATE_MEMORY };

enum {
    CONFIG_MAX = 16 * 1024,  /* octets of the configuration's texts, all that we may put into a header */
    ADDED_MAX = 17 * 1024,   /* the same with names of fields */
    FACTS_MAX = 1024 * 1024, /* octets of addresses */
};

struct submission {
    struct submission_config config; /* its slices lie in `own` */
    struct arena own, facts_arena;
    enum submission_state state;
    struct submission_verdict verdict;
    char words[160];

    struct buffer section; /* the header as it comes */
    struct buffer header;  /* as it goes out; lives until the next call */
    size_t line_start;     /* in section */
    uint64_t came;         /* octets that the section has taken, with what was removed since */
    size_t left;           /* of these, no header but the body's first line */
    size_t nfields;
    bool has_cr;           /* the octet before was a CR */

    size_t body_line_len;
    bool body_has_cr;
    struct submission_facts facts;
};

static bool copy_config(struct submission *s, const struct submission_config *config)
{
    struct slice *texts[] = {&s->config.received, &s->config.date, &s->config.message_id, &s->config.from, &s->config.own_name};
    s->config = *config;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (arena_copy(&s->own, *texts[i], texts[i]) != RESULT_OK)
            return false;
    return true;
}

struct submission *submission_new(const struct submission_config *config)
{
    struct submission *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->own = ARENA(CONFIG_MAX);
    s->facts_arena = ARENA(FACTS_MAX);
    s->section = BUFFER(SUBMISSION_HEADER_MAX + 2); /* the line end that a header without body may lack */
    s->header = BUFFER(SUBMISSION_HEADER_MAX + ADDED_MAX);
    if (!copy_config(s, config))
        submission_free(&s);
    return s;
}

struct submission *submission_resume(const struct submission_past *past)
{
    struct submission *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->state = STATE_BODY;
    s->facts.header_octets = past->header_octets;
    s->facts.size_octets = past->stored_octets;
    s->facts.has_8bit_header = past->has_8bit_header;
    s->facts.is_header_utf8 = past->is_header_utf8;
    s->facts.has_8bit_body = past->has_8bit_body;
    return s;
}

void submission_free(struct submission **submission)
{
    struct submission *s = *submission;
    if (!s)
        return;
    buffer_free(&s->section);
    buffer_free(&s->header);
    arena_free(&s->facts_arena);
    arena_free(&s->own);
    free(s);
    *submission = NULL;
}

static enum result refuse(struct submission *s, enum submission_refusal refusal)
{
    s->verdict.refusal = refusal;
    s->state = STATE_REFUSED;
    snprintf(s->words, sizeof s->words, "The message has more than one %s: field; only one may stand (RFC 5322 3.6)",
             s->verdict.field ? s->verdict.field : "");
    buffer_free(&s->section);
    buffer_free(&s->header);
    return RESULT_DENIED;
}

static enum result run_out(struct submission *s)
{
    s->state = STATE_MEMORY;
    buffer_free(&s->section);
    buffer_free(&s->header);
    return RESULT_MEMORY;
}

/* ---- body ---- */

/* Facts only; the octets are the caller's. The length of a line counts up to its LF, less the CR before it. */
static void watch_body(struct submission *s, struct slice piece)
{
    s->facts.size_octets += piece.len;
    s->facts.has_8bit_body = s->facts.has_8bit_body || mail_has_8bit(piece);
    while (piece.len > 0 && !s->facts.has_long_line) {
        ptrdiff_t lf = slice_find(piece, '\n');
        size_t len = lf < 0 ? piece.len : (size_t)lf;
        bool ends_in_cr = len > 0 ? piece.ptr[len - 1] == '\r' : s->body_has_cr;
        s->body_line_len += len;
        s->body_has_cr = ends_in_cr;
        s->facts.has_long_line = s->body_line_len - ends_in_cr > SUBMISSION_LINE_MAX;
        if (lf >= 0) {
            s->body_line_len = 0;
            s->body_has_cr = false;
        }
        piece = slice_skip(piece, lf < 0 ? piece.len : len + 1);
    }
}

/* ---- the end of the header ---- */

/* `left` octets at the end of the section are no header: the first line of a body that came without an empty line. */
static enum result end_header(struct submission *s, size_t left)
{
    struct slice all = buffer_slice(&s->section);
    struct slice section = slice_take(all, all.len - left), body = slice_skip(all, all.len - left);
    enum result result = submission_header_judge(&s->config, section, &s->facts_arena, &s->header, &s->facts, &s->verdict);
    if (result == RESULT_DENIED)
        return refuse(s, s->verdict.refusal);
    s->facts.size_octets = s->facts.header_octets;
    if (result == RESULT_OK)
        result = buffer_append(&s->header, body);
    if (result != RESULT_OK)
        return run_out(s);
    watch_body(s, body);
    s->left = left;
    s->state = STATE_BODY;
    buffer_free(&s->section);
    return RESULT_OK;
}

static bool is_field(struct slice line)
{
    struct header_field field;
    return header_next(&line, &field) == RESULT_OK;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* A whole line is in the section, from line_start to its end. */
static enum result end_line(struct submission *s)
{
    struct slice line = slice_skip(buffer_slice(&s->section), s->line_start);
    bool is_agent = s->config.mode == SUBMISSION_AGENT;
    if (slice_equal(line, SLICE("\r\n"))) {
        buffer_truncate(&s->section, s->line_start);
        return end_header(s, 0);
    }
    bool is_continuation = is_blank(line.ptr[0]) && s->line_start > 0;
    if (is_agent && s->line_start == 0 && slice_starts_with(line, SLICE("From ")) && !is_field(line)) {
        buffer_clear(&s->section); /* an mbox line: older programs put it before the header */
        return RESULT_OK;
    }
    if (!is_continuation && !is_field(line))
        return is_agent ? end_header(s, line.len) : refuse(s, SUBMISSION_NOT_A_FIELD);
    if (!is_continuation && ++s->nfields > SUBMISSION_FIELDS_MAX)
        return refuse(s, SUBMISSION_TOO_MANY_FIELDS);
    s->line_start = buffer_len(&s->section);
    return RESULT_OK;
}

/* ---- the header, octet by octet ---- */

static size_t line_len(const struct submission *s)
{
    return buffer_len(&s->section) - s->line_start;
}

/* A LF stands only behind a CR, and behind a CR stands nothing else; so a LF may pass the line's limit by one, and a CR may meet it. */
static enum result check_octet(struct submission *s, char octet)
{
    if (octet == '\0' || s->has_cr != (octet == '\n'))
        return refuse(s, SUBMISSION_BAD_OCTET);
    if (buffer_len(&s->section) == SUBMISSION_HEADER_MAX)
        return refuse(s, SUBMISSION_HEADER_TOO_LONG);
    if (line_len(s) == SUBMISSION_LINE_MAX && octet != '\r' && octet != '\n')
        return refuse(s, SUBMISSION_LINE_TOO_LONG);
    s->has_cr = octet == '\r';
    return RESULT_OK;
}

static enum result take_octet(struct submission *s, char octet)
{
    enum result result = check_octet(s, octet);
    if (result != RESULT_OK)
        return result;
    if (buffer_append(&s->section, slice_of(&octet, 1)) != RESULT_OK)
        return run_out(s);
    return octet == '\n' ? end_line(s) : RESULT_OK;
}

/* How many octets at the front the machine would just append: it is quicker to do that at once. */
static size_t plain_run(const struct submission *s, struct slice piece)
{
    size_t room = SUBMISSION_HEADER_MAX - buffer_len(&s->section), len = 0;
    if (s->has_cr || line_len(s) >= SUBMISSION_LINE_MAX)
        return 0;
    if (room > SUBMISSION_LINE_MAX - line_len(s))
        room = SUBMISSION_LINE_MAX - line_len(s);
    while (len < piece.len && len < room && piece.ptr[len] != '\r' && piece.ptr[len] != '\n' && piece.ptr[len] != '\0')
        len++;
    return len;
}

static enum result take_header(struct submission *s, struct slice piece, size_t *used)
{
    enum result result = RESULT_OK;
    *used = 0;
    while (result == RESULT_OK && s->state == STATE_HEADER && *used < piece.len) {
        struct slice rest = slice_skip(piece, *used);
        size_t plain = plain_run(s, rest);
        if (plain == 0)
            result = take_octet(s, rest.ptr[0]);
        else if (buffer_append(&s->section, slice_take(rest, plain)) != RESULT_OK)
            result = run_out(s);
        *used += plain > 0 ? plain : 1;
    }
    s->came += *used;
    return result;
}

static enum result standing_result(const struct submission *s)
{
    return s->state == STATE_REFUSED ? RESULT_DENIED : s->state == STATE_MEMORY ? RESULT_MEMORY : RESULT_OK;
}

enum result submission_feed(struct submission *s, struct slice piece, struct submission_out *out)
{
    *out = (struct submission_out){0};
    enum result result = standing_result(s);
    buffer_free(&s->header);
    bool was_header = s->state == STATE_HEADER;
    size_t used = 0;
    if (result == RESULT_OK)
        result = take_header(s, piece, &used);
    if (result != RESULT_OK || s->state == STATE_HEADER)
        return result;
    if (was_header)
        out->header = buffer_slice(&s->header);
    out->body = slice_skip(piece, used);
    watch_body(s, out->body);
    return RESULT_OK;
}

/* A message that is a header alone, perhaps without its last line end. */
enum result submission_finish(struct submission *s, struct submission_out *out)
{
    *out = (struct submission_out){0};
    enum result result = standing_result(s);
    buffer_free(&s->header);
    if (result != RESULT_OK || s->state == STATE_BODY)
        return result;
    if (s->has_cr)
        return refuse(s, SUBMISSION_BAD_OCTET);
    if (buffer_len(&s->section) > s->line_start) {
        if (buffer_append(&s->section, SLICE("\r\n")) != RESULT_OK)
            return run_out(s);
        s->came += 2;
        result = end_line(s);
    }
    if (result == RESULT_OK && s->state == STATE_HEADER)
        result = end_header(s, 0);
    if (result == RESULT_OK)
        out->header = buffer_slice(&s->header);
    return result;
}

/* ---- what is told ---- */

enum submission_refusal submission_refusal(const struct submission *s)
{
    return s->verdict.refusal;
}

bool submission_has_header(const struct submission *s)
{
    return s->state == STATE_BODY;
}

uint64_t submission_header_came(const struct submission *s)
{
    return s->state == STATE_BODY ? s->came - s->left : 0;
}

const struct submission_facts *submission_facts(const struct submission *s)
{
    return &s->facts;
}

static const struct {
    const char *name;
    struct submission_words words;
} refusals[] = {
    [SUBMISSION_ACCEPTED] = {"accepted", {250, 2, 0, 0, "The message is fine"}},
    [SUBMISSION_BAD_OCTET] = {"bad-octet", {550, 5, 6, 0, "The header holds a NUL, or a CR or LF alone; lines must end in CRLF"}},
    [SUBMISSION_LINE_TOO_LONG] = {"line-too-long", {550, 5, 6, 0, "A header line is longer than 998 octets; fold it (RFC 5322 2.1.1)"}},
    [SUBMISSION_HEADER_TOO_LONG] = {"header-too-long", {552, 5, 3, 4, "The header is larger than 256 KiB"}},
    [SUBMISSION_TOO_MANY_FIELDS] = {"too-many-fields", {552, 5, 3, 4, "The header has more than 1000 fields"}},
    [SUBMISSION_NOT_A_FIELD] = {"not-a-field", {550, 5, 6, 0, "A header line is no field; put an empty line before the text (RFC 5322 2.1)"}},
    [SUBMISSION_FROM_MISSING] = {"from-missing", {550, 5, 6, 0, "The message has no From: field; say who writes (RFC 5322 3.6.2)"}},
    [SUBMISSION_FROM_SEVERAL] = {"from-several", {550, 5, 7, 1, "The message has more than one From: field; only one may stand"}},
    [SUBMISSION_FROM_MALFORMED] = {"from-malformed", {550, 5, 6, 0, "The From: field can't be read; write it as: Name <user@example.org>"}},
    [SUBMISSION_SENDER_MALFORMED] = {"sender-malformed",
                                     {550, 5, 6, 0, "The Sender: field must hold one address, and stand where From: names several authors"}},
    [SUBMISSION_FIELD_TWICE] = {"field-twice", {550, 5, 6, 0, "A field stands twice"}}, /* completed below */
    [SUBMISSION_RECIPIENTS] = {"recipients", {550, 5, 1, 3, "An address in To:, Cc: or Bcc: can't be read, or there are more than 1000"}},
    [SUBMISSION_LOOP] = {"loop", {554, 5, 4, 6, "The message has passed too many hosts, or this one too often: a mail loop"}},
};

const char *submission_refusal_name(enum submission_refusal refusal)
{
    return refusals[refusal].name;
}

struct submission_words submission_refusal_words(const struct submission *s)
{
    struct submission_words words = refusals[s->verdict.refusal].words;
    if (s->verdict.refusal == SUBMISSION_FIELD_TWICE)
        words.text = s->words;
    return words;
}
