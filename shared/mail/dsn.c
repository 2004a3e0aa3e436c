/* Writes a report from top to bottom: fields, the part for a person, the part for a program (RFC 3464 2), and what came back.
 *
 * All text goes through write_clean but what is written in this file and the returned message, which stands last and in
 * a MIME part of its own. */
#include "mail/dsn.h"

#include "base/utf8.h"
#include "mail/address.h"
#include "mail/date.h"
#include "mail/header.h"
#include "mail/xtext.h"

#include <stdio.h>
#include <string.h>

enum {
    TEXT_MAX = 500,       /* octets of one cleaned text, or of one line of a reply */
    REPLY_LINES_MAX = 20, /* lines kept of a reply */
    BOUNDARY_MAX = 64,    /* RFC 2046 5.1.1 allows 70 */
    COLUMN_MAX = 76,
};

struct writer {
    const struct dsn *dsn;
    struct buffer *out;
    enum result result;
    bool allow_utf8; /* somewhere in the fields or the returned header is UTF-8, and the sender can read it */
    char boundary[BOUNDARY_MAX + 1];
};

/* ---- octets ---- */

static void write_slice(struct writer *w, struct slice s)
{
    if (w->result == RESULT_OK)
        w->result = buffer_append(w->out, s);
}

static void write_text(struct writer *w, const char *text)
{
    write_slice(w, slice_from_cstr(text));
}

/* Nothing that ends a line, hides text or is no character gets through; without SMTPUTF8 nothing above ASCII. */
static void write_clean(struct writer *w, struct slice text)
{
    text = slice_take(text, TEXT_MAX);
    while (text.len > 0) {
        uint32_t character = 0;
        size_t len = utf8_next(text, &character);
        bool is_fine = len > 0 && !utf8_is_control(character) && (len == 1 || w->allow_utf8);
        write_slice(w, is_fine ? slice_take(text, len) : SLICE("?"));
        text = slice_skip(text, len > 0 ? len : 1);
    }
}

static void write_field(struct writer *w, const char *before, struct slice text)
{
    write_text(w, before);
    write_clean(w, text);
    write_text(w, "\r\n");
}

static void write_date(struct writer *w, const char *name, int64_t unix_ms)
{
    char date[DATE_RFC5322];
    if (unix_ms == 0)
        return;
    date_format_rfc5322(unix_ms, date);
    write_field(w, name, slice_from_cstr(date));
}

/* ---- what it is about ---- */

const char *dsn_action_name(enum dsn_action action)
{
    switch (action) {
    case DSN_FAILED: return "failed";
    case DSN_DELAYED: return "delayed";
    case DSN_DELIVERED: return "delivered";
    case DSN_RELAYED: return "relayed";
    case DSN_EXPANDED: return "expanded";
    }
    return "failed";
}

static bool has_action(const struct dsn *dsn, enum dsn_action action)
{
    for (size_t i = 0; i < dsn->nrcpt; i++)
        if (dsn->recipients[i].action == action)
            return true;
    return false;
}

static const char *subject_of(const struct dsn *dsn)
{
    if (has_action(dsn, DSN_FAILED))
        return "Undelivered mail: your message was not delivered";
    if (has_action(dsn, DSN_DELAYED))
        return "Delayed mail: your message is still on its way";
    return "Delivery report: your message was delivered";
}

static struct slice returned_of(const struct dsn *dsn)
{
    if (dsn->ret == DSN_RET_FULL)
        return dsn->original;
    return slice_take(dsn->original, header_section_len(dsn->original));
}

static bool needs_utf8(const struct dsn *dsn)
{
    bool has_8bit = mail_has_8bit(dsn->to) || mail_has_8bit(slice_take(dsn->original, header_section_len(dsn->original)));
    for (size_t i = 0; i < dsn->nrcpt; i++)
        has_8bit |= mail_has_8bit(dsn->recipients[i].address) || mail_has_8bit(dsn->recipients[i].orcpt);
    return dsn->is_smtputf8 && has_8bit;
}

/* Made of the message id's letters and digits, which are fresh randomness, so that no returned message can hold it. */
static void make_boundary(struct writer *w)
{
    size_t len = (size_t)snprintf(w->boundary, sizeof w->boundary, "report-");
    for (size_t i = 0; i < w->dsn->message_id.len && len < BOUNDARY_MAX; i++) {
        char c = w->dsn->message_id.ptr[i];
        bool is_letter = ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || (c >= '0' && c <= '9');
        if (is_letter || (c == '.' && i > 0))
            w->boundary[len++] = c;
    }
    w->boundary[len] = '\0';
}

static void write_part(struct writer *w, const char *type, bool is_8bit)
{
    write_text(w, "\r\n--");
    write_text(w, w->boundary);
    write_text(w, "\r\nContent-Type: ");
    write_text(w, type);
    write_text(w, is_8bit ? "\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" : "\r\n\r\n");
}

/* RFC 3834 5 for Auto-Submitted; RFC 3464 2 for the rest. */
static void write_header(struct writer *w)
{
    write_text(w, "From: Mail delivery <");
    write_clean(w, w->dsn->from);
    write_text(w, ">\r\nTo: <");
    write_clean(w, w->dsn->to);
    write_text(w, ">\r\nSubject: ");
    write_text(w, subject_of(w->dsn));
    write_text(w, "\r\n");
    write_date(w, "Date: ", w->dsn->now_ms);
    write_field(w, "Message-ID: ", w->dsn->message_id);
    write_text(w, "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
                  "Content-Type: multipart/report; report-type=delivery-status;\r\n boundary=\"");
    write_text(w, w->boundary);
    write_text(w, "\"\r\n");
    if (w->allow_utf8 || mail_has_8bit(returned_of(w->dsn)))
        write_text(w, "Content-Transfer-Encoding: 8bit\r\n");
    write_text(w, "\r\nThis is a report in MIME format.\r\n");
}

/* ---- for a person ---- */

/* Words in lines of COLUMN_MAX, each begun by the indent. */
static void write_wrapped(struct writer *w, const char *indent, struct slice text)
{
    size_t column = 0;
    text = slice_take(text, 2 * TEXT_MAX);
    while (text.len > 0) {
        struct slice word;
        slice_cut(text, ' ', &word, &text);
        if (word.len == 0)
            continue;
        bool breaks = column > 0 && column + 1 + word.len > COLUMN_MAX;
        if (breaks)
            write_text(w, "\r\n");
        write_text(w, column == 0 || breaks ? indent : " ");
        write_clean(w, word);
        column = (column == 0 || breaks ? strlen(indent) : column + 1) + word.len;
    }
    if (column > 0)
        write_text(w, "\r\n");
}

static const char *default_words(const struct dsn_recipient *r)
{
    switch (r->action) {
    case DSN_FAILED: return r->reply.len > 0 ? "" : "It could not be delivered.";
    case DSN_DELAYED: return r->reply.len > 0 ? "" : "It could not be delivered yet.";
    case DSN_DELIVERED: return "It was delivered.";
    case DSN_RELAYED: return "It was handed on to a server that does not report deliveries.";
    case DSN_EXPANDED: return "It was handed on to a list of recipients.";
    }
    return "";
}

static void write_reply_for_person(struct writer *w, const struct dsn_recipient *r)
{
    struct slice line, rest = r->reply;
    if (r->reply.len == 0)
        return;
    write_text(w, "    ");
    if (!r->is_local)
        write_clean(w, r->remote_mta.len > 0 ? r->remote_mta : SLICE("The server"));
    write_text(w, r->is_local ? "Reason:\r\n" : " said:\r\n");
    for (size_t i = 0; i < REPLY_LINES_MAX && rest.len > 0; i++) {
        slice_cut(rest, '\n', &line, &rest);
        write_wrapped(w, "      ", line);
    }
}

static void write_recipient_for_person(struct writer *w, const struct dsn_recipient *r)
{
    write_text(w, "\r\n  <");
    write_clean(w, r->address);
    write_text(w, ">\r\n");
    write_wrapped(w, "    ", r->words.len > 0 ? r->words : slice_from_cstr(default_words(r)));
    write_reply_for_person(w, r);
    if (r->action == DSN_DELAYED)
        write_date(w, "    Trying goes on until ", r->will_retry_until_ms);
}

static void write_group(struct writer *w, const char *words, unsigned actions)
{
    bool is_first = true;
    for (size_t i = 0; i < w->dsn->nrcpt; i++) {
        const struct dsn_recipient *r = &w->dsn->recipients[i];
        if (!(actions & 1U << r->action))
            continue;
        if (is_first)
            write_text(w, words);
        is_first = false;
        write_recipient_for_person(w, r);
    }
}

static void write_person_part(struct writer *w)
{
    write_part(w, w->allow_utf8 ? "text/plain; charset=utf-8" : "text/plain; charset=us-ascii", w->allow_utf8);
    write_text(w, "This is the mail system at ");
    write_clean(w, w->dsn->reporting_mta);
    write_text(w, ".\r\n");
    write_group(w, "\r\nYour message was NOT delivered to these recipients, and will not be tried again:\r\n", 1U << DSN_FAILED);
    write_group(w,
                "\r\nYour message has not reached these recipients yet. You need not send it again:\r\n"
                "it is kept, and tried from time to time.\r\n",
                1U << DSN_DELAYED);
    write_group(w, "\r\nYour message has gone to these recipients, as you asked to be told:\r\n",
                1U << DSN_DELIVERED | 1U << DSN_RELAYED | 1U << DSN_EXPANDED);
    if (w->dsn->original.len > 0)
        write_text(w, w->dsn->ret == DSN_RET_FULL ? "\r\nThe message is attached.\r\n" : "\r\nThe header of the message is attached.\r\n");
}

/* ---- for a program: RFC 3464 2.2, 2.3 ---- */

static void write_xtext(struct writer *w, const char *before, struct slice xtext)
{
    struct buffer decoded = BUFFER(TEXT_MAX);
    enum result result = xtext_decode(slice_take(xtext, TEXT_MAX), &decoded);
    if (w->result == RESULT_OK && result == RESULT_MEMORY)
        w->result = RESULT_MEMORY;
    write_field(w, before, result == RESULT_OK ? buffer_slice(&decoded) : xtext);
    buffer_free(&decoded);
}

/* RFC 6533 3: without SMTPUTF8, a character above ASCII is written "\x{20AC}". */
static void write_address(struct writer *w, struct slice address)
{
    bool is_utf8 = mail_has_8bit(address);
    uint32_t character;
    address = slice_take(address, ADDRESS_MAX); /* escaped, still within a line */
    write_text(w, is_utf8 ? "Final-Recipient: utf-8; " : "Final-Recipient: rfc822; ");
    for (size_t len; (len = utf8_next(address, &character)) > 0; address = slice_skip(address, len)) {
        char escaped[16];
        snprintf(escaped, sizeof escaped, "\\x{%02lX}", (unsigned long)character);
        if (len > 1 && !w->allow_utf8)
            write_text(w, escaped);
        else
            write_clean(w, slice_take(address, len));
    }
    write_text(w, "\r\n");
}

/* An "rfc822;" address comes out of its xtext; the utf-8 forms are made to stand in a report as they are (RFC 6533 3). */
static void write_original_recipient(struct writer *w, struct slice orcpt)
{
    struct slice type, address;
    char before[64];
    if (!slice_cut(orcpt, ';', &type, &address) || type.len > 20 || mail_has_8bit(type))
        return;
    for (size_t i = 0; i < type.len; i++)
        if (type.ptr[i] <= ' ' || type.ptr[i] == 0x7f)
            return;
    snprintf(before, sizeof before, "Original-Recipient: %.*s; ", SLICE_ARG(type));
    if (slice_equal_nocase(type, SLICE("utf-8")))
        write_field(w, before, address);
    else
        write_xtext(w, before, address);
}

/* "c.d.d" with a class that fits: a failure may carry 4, that of the last try before time ran out. */
static bool status_fits(struct slice status, enum dsn_action action)
{
    struct slice class, subject, detail;
    uint64_t number;
    if (!slice_cut(status, '.', &class, &subject) || !slice_cut(subject, '.', &subject, &detail) || class.len != 1 || subject.len > 3 ||
        detail.len > 3 || !slice_to_u64(subject, 999, &number) || !slice_to_u64(detail, 999, &number))
        return false;
    if (action == DSN_FAILED)
        return class.ptr[0] == '5' || class.ptr[0] == '4';
    return class.ptr[0] == (action == DSN_DELAYED ? '4' : '2');
}

static struct slice status_of(const struct dsn_recipient *r)
{
    if (status_fits(r->status, r->action))
        return r->status;
    return r->action == DSN_FAILED ? SLICE("5.0.0") : r->action == DSN_DELAYED ? SLICE("4.0.0") : SLICE("2.0.0");
}

/* A reply of several lines becomes a folded field. "smtp" means what a server said; words of ours have a type of ours (RFC 3464 2.3.6, 9.1 (c): X-...). */
static void write_diagnostic(struct writer *w, const struct dsn_recipient *r)
{
    const char *name = r->is_local ? "Diagnostic-Code: X-Postern; " : "Diagnostic-Code: smtp; ";
    struct slice reply = r->reply;
    size_t nlines = 0;
    while (reply.len > 0 && nlines < REPLY_LINES_MAX) {
        struct slice line;
        slice_cut(reply, '\n', &line, &reply);
        line = slice_trim(line);
        if (line.len > 0)
            write_field(w, nlines++ == 0 ? name : " ", line);
    }
}

static void write_recipient(struct writer *w, const struct dsn_recipient *r)
{
    write_text(w, "\r\n");
    if (r->orcpt.len > 0)
        write_original_recipient(w, r->orcpt);
    write_address(w, r->address);
    write_field(w, "Action: ", slice_from_cstr(dsn_action_name(r->action)));
    write_field(w, "Status: ", status_of(r));
    if (r->remote_mta.len > 0)
        write_field(w, "Remote-MTA: dns; ", r->remote_mta);
    write_diagnostic(w, r);
    write_date(w, "Last-Attempt-Date: ", r->last_attempt_at_ms);
    if (r->action == DSN_DELAYED)
        write_date(w, "Will-Retry-Until: ", r->will_retry_until_ms);
}

static void write_program_part(struct writer *w)
{
    write_part(w, w->allow_utf8 ? "message/global-delivery-status" : "message/delivery-status", w->allow_utf8);
    if (w->dsn->envid.len > 0)
        write_xtext(w, "Original-Envelope-Id: ", w->dsn->envid);
    write_field(w, "Reporting-MTA: dns; ", w->dsn->reporting_mta);
    write_date(w, "Arrival-Date: ", w->dsn->arrived_at_ms);
    for (size_t i = 0; i < w->dsn->nrcpt; i++)
        write_recipient(w, &w->dsn->recipients[i]);
}

/* ---- what came back ---- */

static void write_returned_part(struct writer *w)
{
    bool is_full = w->dsn->ret == DSN_RET_FULL;
    struct slice returned = returned_of(w->dsn);
    if (returned.len == 0)
        return;
    const char *type = w->allow_utf8 ? (is_full ? "message/global" : "message/global-headers") : is_full ? "message/rfc822" : "text/rfc822-headers";
    write_part(w, type, mail_has_8bit(returned));
    write_slice(w, returned);
}

enum result dsn_write(const struct dsn *dsn, struct buffer *out)
{
    struct writer w = {.dsn = dsn, .out = out, .allow_utf8 = needs_utf8(dsn)};
    size_t before = buffer_len(out);
    make_boundary(&w);
    write_header(&w);
    write_person_part(&w);
    write_program_part(&w);
    write_returned_part(&w);
    write_text(&w, "\r\n--");
    write_text(&w, w.boundary);
    write_text(&w, "--\r\n");
    if (w.result != RESULT_OK)
        buffer_truncate(out, before);
    return w.result;
}
