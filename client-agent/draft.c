#include "draft.h"
#include "draft_file.h"

#include "mta/intake.h"

#include <errno.h>
#include <string.h>
#include <sysexits.h>

enum { LINE_MAX_OCTETS = 1024, BREAK_AT = 990, CHARACTER_MAX = 4 };

/* ---- trouble ---------------------------------------------------------------------------------------------------- */

static int fail(struct draft *draft, int exit_code, struct smtp_reply trouble)
{
    draft->trouble = trouble;
    return exit_code;
}

static int fail_with_errno(struct draft *draft, int exit_code, const char *what)
{
    snprintf(draft->words, sizeof draft->words, "%s: %s", what, strerror(errno));
    return fail(draft, exit_code, (struct smtp_reply){451, {4, 3, 0}, slice_from_cstr(draft->words)});
}

static int fail_without_memory(struct draft *draft)
{
    return fail(draft, EX_OSERR, SMTP_REPLY(451, 4, 3, 0, "out of memory"));
}

static int fail_by_submission(struct draft *draft)
{
    struct smtp_reply refusal = intake_refusal_of(draft->submission);
    snprintf(draft->words, sizeof draft->words, "%.*s", SLICE_ARG(refusal.text));
    refusal.text = slice_from_cstr(draft->words);
    return fail(draft, EX_DATAERR, refusal);
}

static int fail_too_large(struct draft *draft)
{
    snprintf(draft->words, sizeof draft->words, "the message is larger than message_size in the configuration, %llu octets", (unsigned long long)draft->size_max_octets);
    return fail(draft, EX_DATAERR, (struct smtp_reply){552, {5, 3, 4}, slice_from_cstr(draft->words)});
}

/* ---- into the spool --------------------------------------------------------------------------------------------- */

static int write_out(struct draft *draft, enum result result, const struct submission_out *out)
{
    if (result == RESULT_DENIED)
        return fail_by_submission(draft);
    if (result != RESULT_OK)
        return fail_without_memory(draft);
    if (submission_facts(draft->submission)->size_octets > draft->size_max_octets)
        return fail_too_large(draft);
    if (fwrite(out->header.ptr, 1, out->header.len, draft->spool) != out->header.len || fwrite(out->body.ptr, 1, out->body.len, draft->spool) != out->body.len)
        return fail_with_errno(draft, EX_TEMPFAIL, "the message could not be kept in the temporary folder");
    return EX_OK;
}

int draft_feed(struct draft *draft, struct slice octets)
{
    struct submission_out out;
    enum result result = submission_feed(draft->submission, octets, &out);
    return write_out(draft, result, &out);
}

/* ---- lines of standard input ------------------------------------------------------------------------------------ */

struct reader {
    struct draft *draft;
    char line[LINE_MAX_OCTETS];
    size_t len;
    bool is_continued; /* the line began before what is held of it */
};

static int end_line(struct reader *reader)
{
    memcpy(reader->line + reader->len, "\r\n", 2);
    struct slice line = slice_of(reader->line, reader->len + 2);
    reader->len = 0;
    reader->is_continued = false;
    return draft_feed(reader->draft, line);
}

static int break_line(struct reader *reader)
{
    char rest[LINE_MAX_OCTETS];
    size_t cut = BREAK_AT, len = reader->len;
    /* Not inside of a UTF-8 character. */
    while (cut > BREAK_AT - CHARACTER_MAX && ((unsigned char)reader->line[cut] & 0xc0) == 0x80)
        cut--;
    memcpy(rest, reader->line + cut, len - cut);
    reader->len = cut;
    int code = end_line(reader);
    reader->line[0] = ' ';
    memcpy(reader->line + 1, rest, len - cut);
    reader->len = 1 + len - cut;
    reader->is_continued = true;
    return code;
}

/* A header line is left to the header's rules: it can't be broken anywhere. */
static int pass_on_part(struct reader *reader)
{
    struct slice part = slice_of(reader->line, reader->len);
    reader->len = 0;
    reader->is_continued = true;
    return draft_feed(reader->draft, part);
}

static int take_octet(struct reader *reader, int octet)
{
    reader->line[reader->len++] = (char)octet;
    if (reader->len < BREAK_AT + CHARACTER_MAX)
        return EX_OK;
    return submission_has_header(reader->draft->submission) ? break_line(reader) : pass_on_part(reader);
}

static int next_octet(FILE *in)
{
    int octet = getc_unlocked(in);
    if (octet != '\r')
        return octet;
    int behind = getc_unlocked(in);
    if (behind != '\n' && behind != EOF)
        ungetc(behind, in);
    return '\n';
}

int draft_read(struct draft *draft, FILE *in, bool dot_ends)
{
    struct reader reader = {.draft = draft};
    int octet, code = EX_OK;
    while (code == EX_OK && (octet = next_octet(in)) != EOF) {
        bool is_dot = reader.len == 1 && reader.line[0] == '.' && !reader.is_continued;
        if (octet == '\n' && is_dot && dot_ends)
            return EX_OK;
        code = octet == '\n' ? end_line(&reader) : take_octet(&reader, octet);
    }
    if (code == EX_OK && ferror(in))
        return fail_with_errno(draft, EX_IOERR, "standard input");
    return code == EX_OK && (reader.len > 0 || reader.is_continued) ? end_line(&reader) : code;
}

/* ---- life ------------------------------------------------------------------------------------------------------- */

int draft_begin(struct draft *draft, const struct draft_config *config)
{
    /* Date: and Message-ID: are left to the reception, which knows the sender by then. */
    struct submission_config rules = {
        .mode = SUBMISSION_AGENT,
        .from = config->from,
        .collects_recipients = config->collects_recipients,
        .allow_utf8 = config->allow_utf8,
    };
    *draft = (struct draft){.size_max_octets = config->size_max_octets};
    draft->submission = submission_new(&rules);
    if (!draft->submission)
        return fail_without_memory(draft);
    draft->spool = draft_file_open();
    return draft->spool ? EX_OK : fail_with_errno(draft, EX_TEMPFAIL, "no temporary file");
}

int draft_end(struct draft *draft)
{
    struct submission_out out;
    enum result result = submission_finish(draft->submission, &out);
    int code = write_out(draft, result, &out);
    if (code == EX_OK && fflush(draft->spool) != 0)
        code = fail_with_errno(draft, EX_TEMPFAIL, "the message could not be kept in the temporary folder");
    return code;
}

void draft_drop(struct draft *draft)
{
    submission_free(&draft->submission);
    if (draft->spool)
        fclose(draft->spool);
    draft->spool = NULL;
}
