/* Reads the fields of a header section one by one: each is counted, its addresses gathered, and kept or dropped; then what is missing
 * is added. RFC 5322 3.6 says which fields may stand once. */
#include "mail/submission_header.h"

#include "base/utf8.h"
#include "mail/header.h"
#include "mail/mailbox_list.h"
#include "mail/received.h"

enum field {
    FIELD_FROM,
    FIELD_SENDER,
    FIELD_DATE,
    FIELD_MESSAGE_ID,
    FIELD_REPLY_TO,
    FIELD_TO,
    FIELD_CC,
    FIELD_SUBJECT,
    FIELD_IN_REPLY_TO,
    FIELD_REFERENCES,
    FIELD_RECEIVED,
    FIELD_BCC,
    FIELD_RESENT_BCC,
    FIELD_RETURN_PATH,
    FIELD_OTHER,
};

static const struct {
    const char *name;
    bool stands_once, is_dropped, names_recipients;
} fields[] = {
    [FIELD_FROM] = {.name = "From"}, /* has refusals of its own */
    [FIELD_SENDER] = {.name = "Sender", .stands_once = true},
    [FIELD_DATE] = {.name = "Date", .stands_once = true},
    [FIELD_MESSAGE_ID] = {.name = "Message-ID", .stands_once = true},
    [FIELD_REPLY_TO] = {.name = "Reply-To", .stands_once = true},
    [FIELD_TO] = {.name = "To", .stands_once = true, .names_recipients = true},
    [FIELD_CC] = {.name = "Cc", .stands_once = true, .names_recipients = true},
    [FIELD_SUBJECT] = {.name = "Subject", .stands_once = true},
    [FIELD_IN_REPLY_TO] = {.name = "In-Reply-To", .stands_once = true},
    [FIELD_REFERENCES] = {.name = "References", .stands_once = true},
    [FIELD_RECEIVED] = {.name = "Received"},
    [FIELD_BCC] = {.name = "Bcc", .is_dropped = true, .names_recipients = true},
    [FIELD_RESENT_BCC] = {.name = "Resent-Bcc", .is_dropped = true},
    [FIELD_RETURN_PATH] = {.name = "Return-Path", .is_dropped = true},
    [FIELD_OTHER] = {.name = ""},
};

struct reader {
    const struct submission_config *config;
    struct arena *arena;
    struct buffer *out;
    struct submission_facts *facts;
    struct submission_verdict *verdict;
    unsigned count[FIELD_OTHER + 1];
    uint32_t own_hops;
    struct slice *from, *recipients;
};

static enum field field_of(struct slice name)
{
    for (int i = 0; i < FIELD_OTHER; i++)
        if (slice_equal_nocase(name, slice_from_cstr(fields[i].name)))
            return (enum field)i;
    return FIELD_OTHER;
}

static enum result refuse(struct reader *r, enum submission_refusal refusal)
{
    r->verdict->refusal = refusal;
    return RESULT_DENIED;
}

static bool is_relay(const struct reader *r)
{
    return r->config->mode == SUBMISSION_RELAY;
}

/* ---- addresses ---- */

/* Adds to a list that has room for max; each address once. */
static enum result gather(struct reader *r, struct slice address, struct slice **list, size_t *count, size_t max)
{
    for (size_t i = 0; i < *count; i++)
        if (slice_equal((*list)[i], address))
            return RESULT_OK;
    if (*count == max)
        return RESULT_LIMIT;
    if (!*list)
        *list = arena_alloc(r->arena, max * sizeof **list);
    if (!*list)
        return RESULT_MEMORY;
    return arena_copy(r->arena, address, &(*list)[(*count)++]);
}

/* All addresses of a field. RESULT_OK, RESULT_SYNTAX: malformed, or none; RESULT_LIMIT, RESULT_MEMORY. */
static enum result gather_all(struct reader *r, struct slice value, struct slice **list, size_t *count, size_t max)
{
    struct mailbox_list mailboxes = {.rest = value, .allow_utf8 = r->config->allow_utf8};
    struct mail_address address;
    enum result result = mailbox_list_next(&mailboxes, &address);
    if (result == RESULT_NOT_FOUND)
        return RESULT_SYNTAX;
    for (; result == RESULT_OK; result = mailbox_list_next(&mailboxes, &address)) {
        result = gather(r, address_text(&address), list, count, max);
        if (result != RESULT_OK)
            return result;
    }
    return result == RESULT_NOT_FOUND ? RESULT_OK : result == RESULT_MEMORY ? RESULT_MEMORY : RESULT_SYNTAX;
}

static enum result read_from(struct reader *r, struct slice value)
{
    if (r->count[FIELD_FROM] > 1) {
        r->facts->is_from_clear = false;
        return is_relay(r) ? refuse(r, SUBMISSION_FROM_SEVERAL) : RESULT_OK;
    }
    enum result result = gather_all(r, value, &r->from, &r->facts->nfrom, SUBMISSION_FROM_MAX);
    r->facts->from = r->from;
    r->facts->is_from_clear = result == RESULT_OK;
    if (result == RESULT_OK || result == RESULT_MEMORY)
        return result;
    return is_relay(r) ? refuse(r, SUBMISSION_FROM_MALFORMED) : RESULT_OK;
}

static enum result read_sender(struct reader *r, struct slice value)
{
    struct slice *list = NULL;
    size_t count = 0;
    enum result result = gather_all(r, value, &list, &count, 1);
    if (result == RESULT_OK)
        r->facts->sender = list[0];
    if (result == RESULT_OK || result == RESULT_MEMORY)
        return result;
    return is_relay(r) ? refuse(r, SUBMISSION_SENDER_MALFORMED) : RESULT_OK;
}

/* An empty list names nobody: "Cc:" with nothing, or "To: undisclosed-recipients:;". */
static enum result read_recipients(struct reader *r, struct slice value)
{
    struct mailbox_list mailboxes = {.rest = value, .allow_utf8 = true};
    struct mail_address address;
    if (!r->config->collects_recipients || mailbox_list_next(&mailboxes, &address) == RESULT_NOT_FOUND)
        return RESULT_OK;
    enum result result = gather_all(r, value, &r->recipients, &r->facts->nrcpt, SUBMISSION_RECIPIENTS_MAX);
    r->facts->recipients = r->recipients;
    return result == RESULT_OK || result == RESULT_MEMORY ? result : refuse(r, SUBMISSION_RECIPIENTS);
}

/* ---- fields ---- */

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct slice trim(struct slice s)
{
    while (s.len > 0 && is_space(s.ptr[0]))
        s = slice_skip(s, 1);
    while (s.len > 0 && is_space(s.ptr[s.len - 1]))
        s.len--;
    return s;
}

static enum result read_hop(struct reader *r, struct slice value)
{
    r->facts->hops++;
    if (r->config->own_name.len > 0 && received_is_by(value, r->config->own_name))
        r->own_hops++;
    return r->facts->hops > SUBMISSION_HOPS_MAX || r->own_hops > SUBMISSION_OWN_HOPS_MAX ? refuse(r, SUBMISSION_LOOP) : RESULT_OK;
}

static enum result read_field(struct reader *r, enum field field, struct slice value)
{
    if (++r->count[field] > 1 && fields[field].stands_once && is_relay(r)) {
        r->verdict->field = fields[field].name;
        return refuse(r, SUBMISSION_FIELD_TWICE);
    }
    switch (field) {
    case FIELD_FROM: return read_from(r, value);
    case FIELD_SENDER: return read_sender(r, value);
    case FIELD_RECEIVED: return read_hop(r, value);
    case FIELD_MESSAGE_ID:
        r->facts->has_own_message_id = trim(value).len > 0;
        return arena_copy(r->arena, trim(value), &r->facts->message_id);
    case FIELD_TO:
    case FIELD_CC:
    case FIELD_BCC: return read_recipients(r, value);
    case FIELD_DATE:
    case FIELD_REPLY_TO:
    case FIELD_SUBJECT:
    case FIELD_IN_REPLY_TO:
    case FIELD_REFERENCES:
    case FIELD_RESENT_BCC:
    case FIELD_RETURN_PATH:
    case FIELD_OTHER: break;
    }
    return RESULT_OK;
}

static enum result add_field(struct reader *r, enum field field, struct slice value)
{
    if (r->count[field] > 0 || value.len == 0)
        return RESULT_OK;
    enum result result = buffer_append_cstr(r->out, fields[field].name);
    if (result == RESULT_OK)
        result = buffer_append(r->out, SLICE(": "));
    if (result == RESULT_OK)
        result = buffer_append(r->out, value);
    return result == RESULT_OK ? buffer_append(r->out, SLICE("\r\n")) : result;
}

static enum result add_from(struct reader *r)
{
    if (r->count[FIELD_FROM] > 0)
        return RESULT_OK;
    if (is_relay(r))
        return refuse(r, SUBMISSION_FROM_MISSING);
    enum result result = add_field(r, FIELD_FROM, r->config->from);
    return result == RESULT_OK && r->config->from.len > 0 ? (r->count[FIELD_FROM]++, read_from(r, r->config->from)) : result;
}

/* What is missing goes behind what there is: a signature over the fields above does not mind. */
static enum result add_missing(struct reader *r)
{
    enum result result = add_from(r);
    if (result == RESULT_OK)
        result = add_field(r, FIELD_DATE, r->config->date);
    if (result == RESULT_OK)
        result = add_field(r, FIELD_MESSAGE_ID, r->config->message_id);
    if (result == RESULT_OK && r->count[FIELD_MESSAGE_ID] == 0)
        result = arena_copy(r->arena, trim(r->config->message_id), &r->facts->message_id);
    return result == RESULT_OK ? buffer_append(r->out, SLICE("\r\n")) : result;
}

static enum result read_fields(struct reader *r, struct slice section)
{
    struct header_field field;
    enum result result;
    while ((result = header_next(&section, &field)) == RESULT_OK) {
        enum field kind = field_of(field.name);
        result = read_field(r, kind, field.value);
        if (result == RESULT_OK && !fields[kind].is_dropped)
            result = buffer_append(r->out, field.raw);
        if (result != RESULT_OK)
            return result;
    }
    return result == RESULT_NOT_FOUND ? RESULT_OK : refuse(r, SUBMISSION_NOT_A_FIELD);
}

/* RFC 5322 3.6.2: several authors need one Sender. */
static enum result check_authors(struct reader *r)
{
    return is_relay(r) && r->facts->nfrom > 1 && r->facts->sender.len == 0 ? refuse(r, SUBMISSION_SENDER_MALFORMED) : RESULT_OK;
}

enum result submission_header_judge(const struct submission_config *config, struct slice section, struct arena *arena, struct buffer *out,
                                    struct submission_facts *facts, struct submission_verdict *verdict)
{
    struct reader r = {.config = config, .arena = arena, .out = out, .facts = facts, .verdict = verdict};
    enum result result = buffer_append(out, config->received);
    if (result == RESULT_OK)
        result = read_fields(&r, section);
    if (result == RESULT_OK)
        result = check_authors(&r);
    if (result == RESULT_OK)
        result = add_missing(&r);
    facts->has_8bit_header = mail_has_8bit(buffer_slice(out));
    facts->is_header_utf8 = facts->has_8bit_header && utf8_is_valid(buffer_slice(out));
    facts->header_octets = buffer_len(out);
    return result == RESULT_LIMIT ? RESULT_MEMORY : result;
}
