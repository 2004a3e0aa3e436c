#include "support/transcript.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_MAX = 4 * 1024 * 1024, STEPS_MAX = 4096, DIALOGUES_MAX = 512 };

/* ---- escapes ---- */

static int hex_digit(char c)
{
    const char *digits = "0123456789abcdef", *at = c ? strchr(digits, tolower((unsigned char)c)) : NULL;
    return at ? (int)(at - digits) : -1;
}

static bool append(struct buffer *out, struct slice s)
{
    return buffer_append(out, s) == RESULT_OK;
}

/* "\{3*ab}" is "ababab"; the text may hold other escapes. */
static bool unescape_repeat(struct slice *rest, struct buffer *out)
{
    struct slice inside, count, text;
    uint64_t n;
    if (!slice_cut(*rest, '}', &inside, rest) || !slice_cut(inside, '*', &count, &text) || !slice_to_u64(count, 16 * 1024 * 1024, &n))
        return false;
    struct buffer once = {0};
    bool ok = transcript_unescape(text, &once);
    while (ok && n-- > 0)
        ok = append(out, buffer_slice(&once));
    buffer_free(&once);
    return ok;
}

static bool unescape_one(struct slice *rest, struct buffer *out)
{
    char c = rest->len > 0 ? rest->ptr[0] : '\0';
    *rest = slice_skip(*rest, 1);
    switch (c) {
    case 'r': return append(out, SLICE("\r"));
    case 'n': return append(out, SLICE("\n"));
    case 't': return append(out, SLICE("\t"));
    case '0': return append(out, SLICE("\0"));
    case 's': return append(out, SLICE(" "));
    case '.': return append(out, SLICE("."));
    case '\\': return append(out, SLICE("\\"));
    case '{': return unescape_repeat(rest, out);
    case 'x': {
        int high = rest->len > 1 ? hex_digit(rest->ptr[0]) : -1, low = rest->len > 1 ? hex_digit(rest->ptr[1]) : -1;
        char octet = (char)(unsigned char)(high * 16 + low);
        *rest = slice_skip(*rest, 2);
        return high >= 0 && low >= 0 && append(out, slice_of(&octet, 1));
    }
    default: return false;
    }
}

bool transcript_unescape(struct slice text, struct buffer *out)
{
    struct slice plain;
    while (text.len > 0) {
        bool has_escape = slice_cut(text, '\\', &plain, &text);
        if (!append(out, plain) || (has_escape && !unescape_one(&text, out)))
            return false;
    }
    return true;
}

void transcript_escape(struct slice octets, struct buffer *out)
{
    for (size_t i = 0; i < octets.len; i++) {
        unsigned char c = (unsigned char)octets.ptr[i];
        char text[8];
        if (c == '\r' || c == '\n' || c == '\0' || c == '\\')
            snprintf(text, sizeof text, "\\%c", c == '\r' ? 'r' : c == '\n' ? 'n' : c == '\0' ? '0' : '\\');
        else
            snprintf(text, sizeof text, c >= ' ' && c < 0x7f ? "%c" : "\\x%02x", c);
        if (buffer_append_cstr(out, text) != RESULT_OK)
            abort();
    }
}

/* ---- comparing ---- */

/* The octets up to the next "..." or the end, escapes resolved. True: a "..." followed. */
static bool next_literal(struct slice *pattern, struct buffer *literal)
{
    const char *dots = pattern->len >= 3 ? memmem(pattern->ptr, pattern->len, "...", 3) : NULL;
    struct slice head = dots ? slice_take(*pattern, (size_t)(dots - pattern->ptr)) : *pattern;
    buffer_clear(literal);
    if (!transcript_unescape(head, literal))
        abort();
    *pattern = slice_skip(*pattern, head.len + (dots ? 3 : 0));
    return dots != NULL;
}

/* After a "...": the literal may begin anywhere, or must be the end if it is the last. */
static bool match_after_wild(struct slice literal, bool is_last, struct slice *octets)
{
    if (literal.len > octets->len)
        return false;
    size_t at = octets->len - literal.len;
    if (!is_last && literal.len > 0) {
        const char *found = memmem(octets->ptr, octets->len, literal.ptr, literal.len);
        at = found ? (size_t)(found - octets->ptr) : at;
    } else if (!is_last) {
        at = 0;
    }
    *octets = slice_skip(*octets, at);
    if (!slice_starts_with(*octets, literal))
        return false;
    *octets = slice_skip(*octets, literal.len);
    return true;
}

bool transcript_match(struct slice pattern, struct slice octets)
{
    struct buffer literal = {.max = 64 * 1024 * 1024};
    bool wild_follows = next_literal(&pattern, &literal);
    bool ok = slice_starts_with(octets, buffer_slice(&literal));
    octets = slice_skip(octets, buffer_len(&literal));
    if (!wild_follows)
        ok = ok && octets.len == 0;
    while (ok && wild_follows) {
        wild_follows = next_literal(&pattern, &literal);
        ok = match_after_wild(buffer_slice(&literal), !wild_follows, &octets);
    }
    buffer_free(&literal);
    return ok;
}

static bool has_word(struct slice pattern, struct slice event)
{
    struct slice word;
    struct buffer octets = {.max = 64 * 1024 * 1024};
    bool more = true, found = false;
    while (more && !found) {
        more = slice_cut(event, ' ', &word, &event);
        buffer_clear(&octets);
        found = transcript_unescape(word, &octets) && transcript_match(pattern, buffer_slice(&octets));
    }
    buffer_free(&octets);
    return found;
}

bool transcript_match_event(struct slice pattern, struct slice event)
{
    struct slice want, name, words;
    bool more = slice_cut(pattern, ' ', &want, &pattern);
    slice_cut(event, ' ', &name, &words);
    if (!slice_equal(want, name))
        return false;
    while (more) {
        more = slice_cut(pattern, ' ', &want, &pattern);
        if (want.len > 0 && !has_word(want, words))
            return false;
    }
    return true;
}

/* ---- options ---- */

bool transcript_option(const struct transcript_dialogue *dialogue, const char *key, struct slice *value)
{
    struct slice rest = dialogue->options, word, name;
    bool more = true, found = false;
    while (more) { /* the last one counts: a dialogue's word wins over its file's */
        more = slice_cut(rest, ' ', &word, &rest);
        struct slice given;
        slice_cut(word, '=', &name, &given);
        if (slice_equal(name, slice_from_cstr(key))) {
            *value = given;
            found = true;
        }
    }
    return found;
}

uint64_t transcript_number(const struct transcript_dialogue *dialogue, const char *key, uint64_t otherwise)
{
    struct slice value;
    uint64_t number;
    if (!transcript_option(dialogue, key, &value))
        return otherwise;
    if (!slice_to_u64(value, UINT64_MAX, &number)) {
        fprintf(stderr, "transcript: line %u: %s wants a number\n", dialogue->line, key);
        abort();
    }
    return number;
}

/* ---- reading a file ---- */

struct reader {
    struct transcript *out;
    struct transcript_dialogue *dialogues;
    struct transcript_step *steps;
    size_t ndialogues, nsteps;
    struct slice file_options;
    unsigned line;
    const char *why;
};

static bool fail(struct reader *r, const char *why)
{
    r->why = why;
    return false;
}

static bool keep(struct reader *r, struct slice s, struct slice *out)
{
    return arena_copy(&r->out->arena, s, out) == RESULT_OK || fail(r, "too large");
}

static void end_dialogue(struct reader *r)
{
    if (r->ndialogues == 0)
        return;
    struct transcript_dialogue *dialogue = &r->dialogues[r->ndialogues - 1];
    dialogue->nsteps = (size_t)(r->steps + r->nsteps - dialogue->steps);
}

static bool begin_dialogue(struct reader *r, struct slice title)
{
    end_dialogue(r);
    if (r->ndialogues == DIALOGUES_MAX)
        return fail(r, "too many dialogues");
    struct transcript_dialogue *dialogue = &r->dialogues[r->ndialogues++];
    *dialogue = (struct transcript_dialogue){.line = r->line, .options = r->file_options, .steps = r->steps + r->nsteps};
    return keep(r, title, &dialogue->title);
}

static bool add_options(struct reader *r, struct slice words)
{
    struct slice *options = r->ndialogues ? &r->dialogues[r->ndialogues - 1].options : &r->file_options;
    char *both = arena_printf(&r->out->arena, "%.*s %.*s", SLICE_ARG(*options), SLICE_ARG(words));
    if (!both)
        return fail(r, "too large");
    *options = slice_from_cstr(both);
    return true;
}

static bool resolve(struct reader *r, struct transcript_step *step, bool adds_crlf)
{
    struct buffer octets = {.max = 64 * 1024 * 1024};
    bool ok = transcript_unescape(step->source, &octets) || fail(r, "malformed escape");
    if (ok && adds_crlf)
        ok = append(&octets, SLICE("\r\n"));
    ok = ok && keep(r, buffer_slice(&octets), &step->octets);
    buffer_free(&octets);
    return ok;
}

static bool add_step(struct reader *r, struct slice line)
{
    char mark = line.len > 1 ? line.ptr[1] : '\0';
    if (!strchr("CSEAT", line.ptr[0]) || !strchr(":~*", mark) || !mark || (mark == '*' && line.ptr[0] != 'S') ||
        (mark == '~' && line.ptr[0] != 'C' && line.ptr[0] != 'S'))
        return fail(r, "not a step: C: C~ S: S~ S* E: A: T: are");
    if (r->ndialogues == 0)
        return fail(r, "a step before the first \"=== title\"");
    if (r->nsteps == STEPS_MAX)
        return fail(r, "too many steps");
    struct transcript_step *step = &r->steps[r->nsteps++];
    struct slice text = slice_skip(line, 2);
    if (text.len > 0 && text.ptr[0] == ' ')
        text = slice_skip(text, 1);
    *step = (struct transcript_step){.kind = (enum transcript_kind)line.ptr[0], .line = r->line, .is_raw = mark == '~', .is_whole_reply = mark == '*'};
    if (!keep(r, text, &step->source))
        return false;
    uint64_t ms = 0;
    if (step->kind == TRANSCRIPT_TIME && !slice_to_u64(text, INT64_MAX, &ms))
        return fail(r, "T: wants milliseconds");
    step->ms = (int64_t)ms;
    bool is_wire = step->kind == TRANSCRIPT_CLIENT || step->kind == TRANSCRIPT_SERVER;
    return resolve(r, step, is_wire && !step->is_raw && !step->is_whole_reply);
}

static bool read_line(struct reader *r, struct slice line)
{
    if (slice_trim(line).len == 0 || line.ptr[0] == '#')
        return true;
    if (slice_starts_with(line, SLICE("===")))
        return begin_dialogue(r, slice_trim(slice_skip(line, 3)));
    if (slice_starts_with(line, SLICE("with:")))
        return add_options(r, slice_trim(slice_skip(line, 5)));
    return add_step(r, line);
}

static bool read_text(struct reader *r, struct slice text)
{
    struct slice line;
    while (text.len > 0) {
        r->line++;
        slice_cut(text, '\n', &line, &text);
        if (!read_line(r, line))
            return false;
    }
    end_dialogue(r);
    return r->ndialogues > 0 || fail(r, "no dialogue in it");
}

static bool load_file(const char *path, struct buffer *out)
{
    char *at;
    FILE *file = fopen(path, "rb");
    if (!file || buffer_reserve(out, FILE_MAX, &at) != RESULT_OK)
        return false;
    size_t n = fread(at, 1, FILE_MAX, file);
    buffer_commit(out, n);
    bool ok = !ferror(file) && n < FILE_MAX;
    fclose(file);
    return ok;
}

bool transcript_load(const char *path, struct transcript *out, char *why, size_t why_size)
{
    struct buffer text = {.max = FILE_MAX};
    *out = (struct transcript){.arena = ARENA(256 * 1024 * 1024)};
    struct reader r = {.out = out,
                       .dialogues = arena_alloc(&out->arena, DIALOGUES_MAX * sizeof *r.dialogues),
                       .steps = arena_alloc(&out->arena, STEPS_MAX * sizeof *r.steps)};
    bool ok = r.dialogues && r.steps;
    if (ok && !load_file(path, &text))
        ok = fail(&r, "cannot be read");
    ok = ok && read_text(&r, buffer_slice(&text));
    buffer_free(&text);
    out->dialogues = r.dialogues;
    out->ndialogues = r.ndialogues;
    if (!ok)
        snprintf(why, why_size, "%s:%u: %s", path, r.line, r.why ? r.why : "out of memory");
    return ok;
}

void transcript_free(struct transcript *transcript)
{
    arena_free(&transcript->arena);
    *transcript = (struct transcript){0};
}
