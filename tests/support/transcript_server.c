#include "support/transcript_server.h"

#include "smtp/sasl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stddef.h>

#include <cmocka.h>

enum { OUTPUT_MAX = 16 * 1024 * 1024 };

/* ---- events as words ---- */

static void say(struct buffer *out, const char *key, struct slice value)
{
    assert_int_equal(buffer_printf(out, " %s=", key), RESULT_OK);
    struct buffer escaped = {.max = OUTPUT_MAX};
    transcript_escape(value, &escaped);
    for (size_t i = 0; i < buffer_len(&escaped); i++)
        assert_int_equal(buffer_append(out, buffer_slice(&escaped).ptr[i] == ' ' ? SLICE("\\s") : slice_of(buffer_slice(&escaped).ptr + i, 1)), RESULT_OK);
    buffer_free(&escaped);
}

static void say_word(struct buffer *out, const char *word)
{
    assert_int_equal(buffer_printf(out, " %s", word), RESULT_OK);
}

static void say_number(struct buffer *out, const char *key, uint64_t number)
{
    assert_int_equal(buffer_printf(out, " %s=%llu", key, (unsigned long long)number), RESULT_OK);
}

static void say_mail(struct buffer *out, const struct smtp_server_event *event)
{
    static const char *const bodies[] = {"7BIT", "8BITMIME", "BINARYMIME"}, *const rets[] = {"", "FULL", "HDRS"};
    const struct envelope *envelope = event->envelope;
    say(out, "sender", envelope->sender);
    say_number(out, "size", event->size_octets);
    say(out, "body", slice_from_cstr(bodies[envelope->body]));
    if (envelope->is_smtputf8)
        say_word(out, "smtputf8");
    if (envelope->ret != DSN_RET_UNSET)
        say(out, "ret", slice_from_cstr(rets[envelope->ret]));
    if (envelope->envid.len > 0)
        say(out, "envid", envelope->envid);
    if (event->data.len > 0)
        say(out, "transid", event->data);
    if (event->is_whole)
        say_word(out, "whole");
}

static void say_rcpt(struct buffer *out, const struct envelope_recipient *recipient)
{
    static const char *const names[] = {"NEVER", "SUCCESS", "FAILURE", "DELAY"};
    say(out, "to", recipient->address);
    for (unsigned i = 0; i < 4; i++)
        if (recipient->notify & (1u << i))
            assert_int_equal(buffer_printf(out, "%s%s", recipient->notify & ((1u << i) - 1) ? "," : " notify=", names[i]), RESULT_OK);
    if (recipient->orcpt.len > 0)
        say(out, "orcpt", recipient->orcpt);
}

static void say_body_begin(struct buffer *out, const struct smtp_server_event *event)
{
    say_word(out, event->is_bdat ? "bdat" : "data");
    say_number(out, "nrcpt", event->envelope->nrcpt);
    for (size_t i = 0; i < event->envelope->nrcpt; i++)
        say_rcpt(out, &event->envelope->recipients[i]);
}

void transcript_say_server_event(const struct smtp_server *server, const struct smtp_server_event *event, struct buffer *out)
{
    static const char *const names[] = {"AUTH", "AUTH_RESPONSE", "AUTH_CANCELLED", "DEVICE", "OUTCOME", "STARTTLS", "MAIL", "RCPT", "BODY_BEGIN", "BODY", "BODY_END",
                                        "TRANSACTION_ENDED", "CLOSE"};
    assert_int_equal(buffer_append_cstr(out, names[event->type]), RESULT_OK);
    switch (event->type) {
    case SMTP_SERVER_AUTH:
        say(out, "mechanism", slice_from_cstr(sasl_mechanism_name((enum sasl_mechanism)event->mechanism)));
        if (event->has_data)
            say(out, "data", event->data);
        break;
    case SMTP_SERVER_OUTCOME:
        say(out, "data", event->data);
        say_number(out, "first", event->first);
        break;
    case SMTP_SERVER_DEVICE:
    case SMTP_SERVER_AUTH_RESPONSE: say(out, "data", event->data); break;
    case SMTP_SERVER_MAIL: say_mail(out, event); break;
    case SMTP_SERVER_RCPT: say_rcpt(out, event->recipient); break;
    case SMTP_SERVER_BODY_BEGIN: say_body_begin(out, event); break;
    case SMTP_SERVER_BODY:
        assert_int_equal(buffer_append_cstr(out, " "), RESULT_OK);
        assert_int_equal(buffer_append(out, event->data), RESULT_OK);
        break;
    case SMTP_SERVER_BODY_END:
        say_number(out, "size", event->size_octets);
        say(out, "protocol", slice_from_cstr(smtp_server_protocol(server)));
        if (event->has_8bit)
            say_word(out, "8bit");
        break;
    case SMTP_SERVER_TRANSACTION_ENDED: say_word(out, event->is_refused ? "refused" : "intact"); break;
    case SMTP_SERVER_AUTH_CANCELLED:
    case SMTP_SERVER_STARTTLS:
    case SMTP_SERVER_CLOSE: break;
    }
}

/* ---- acts and options ---- */

bool transcript_parse_resume(struct slice text, struct transcript_resume *out)
{
    struct slice word, held, nrcpt;
    uint64_t n;
    slice_cut(text, ' ', &word, &nrcpt);
    out->is_over = slice_equal(word, SLICE("over")) || slice_equal(word, SLICE("whole-over"));
    out->is_told = slice_equal(word, SLICE("held")) || slice_equal(word, SLICE("over"));
    out->held_octets = 0;
    if (!out->is_told && !out->is_over && !slice_equal(word, SLICE("whole")))
        return false;
    if (out->is_told && (!slice_cut(nrcpt, ' ', &held, &nrcpt) || !slice_to_u64(held, UINT64_MAX, &out->held_octets)))
        return false;
    if (!slice_to_u64(nrcpt, SIZE_MAX, &n))
        return false;
    out->nrcpt = (size_t)n;
    return true;
}

/* "5.7.1" */
static bool parse_status(struct slice word, struct smtp_status *out)
{
    struct slice class, subject, detail;
    uint64_t numbers[3];
    if (!slice_cut(word, '.', &class, &word) || !slice_cut(word, '.', &subject, &detail) || !slice_to_u64(class, 5, &numbers[0]) ||
        !slice_to_u64(subject, 999, &numbers[1]) || !slice_to_u64(detail, 999, &numbers[2]))
        return false;
    *out = (struct smtp_status){(unsigned short)numbers[0], (unsigned short)numbers[1], (unsigned short)numbers[2]};
    return true;
}

bool transcript_parse_reply(struct slice text, struct smtp_reply *out)
{
    struct slice word, rest;
    uint64_t code;
    *out = (struct smtp_reply){0};
    slice_cut(text, ' ', &word, &rest);
    if (!slice_to_u64(word, 599, &code))
        return false;
    out->code = (int)code;
    out->text = rest;
    slice_cut(rest, ' ', &word, &rest);
    if (parse_status(word, &out->status))
        out->text = rest;
    return true;
}

bool transcript_has(const struct transcript_dialogue *dialogue, const char *key)
{
    struct slice value;
    return transcript_option(dialogue, key, &value);
}

enum smtp_server_binding transcript_binding(const struct transcript_dialogue *dialogue)
{
    if (transcript_has(dialogue, "exporter"))
        return SMTP_SERVER_EXPORTER;
    return transcript_has(dialogue, "binding") ? SMTP_SERVER_SOME_BINDING : SMTP_SERVER_NO_BINDING;
}

static unsigned mechanisms(const struct transcript_dialogue *dialogue)
{
    struct slice names, name;
    unsigned set = 0;
    bool more = transcript_option(dialogue, "auth", &names);
    while (more) {
        more = slice_cut(names, ',', &name, &names);
        assert_int_not_equal(sasl_mechanism_parse(name), 0);
        set |= sasl_mechanism_parse(name);
    }
    return set;
}

struct smtp_server_config transcript_server_config(const struct transcript_dialogue *d)
{
    return (struct smtp_server_config){
        .hostname = SLICE("relay.example"),
        .size_max_octets = transcript_number(d, "size_max", 0),
        .nrcpt_max = (uint32_t)transcript_number(d, "nrcpt_max", 0),
        .transactions_max = (uint32_t)transcript_number(d, "transactions_max", 0),
        .command_line_max = (uint32_t)transcript_number(d, "command_line_max", 0),
        .auth_line_max = (uint32_t)transcript_number(d, "auth_line_max", 0),
        .text_line_max = (uint32_t)transcript_number(d, "text_line_max", 0),
        .errors_max = (uint32_t)transcript_number(d, "errors_max", 0),
        .auth_failures_max = (uint32_t)transcript_number(d, "auth_failures_max", 0),
        .idle_commands_max = (uint32_t)transcript_number(d, "idle_commands_max", 0),
        .unknown_outcomes_max = (uint32_t)transcript_number(d, "unknown_outcomes_max", 0),
        .command_timeout_ms = (int64_t)transcript_number(d, "command_timeout", 0),
        .data_timeout_ms = (int64_t)transcript_number(d, "data_timeout", 0),
        .pre_auth_timeout_ms = (int64_t)transcript_number(d, "pre_auth_timeout", 0),
        .body_rate_min = transcript_number(d, "body_rate_min", 0),
        .auth_mechanisms = mechanisms(d),
        .offers_starttls = transcript_has(d, "starttls"),
        .allows_auth_without_tls = transcript_has(d, "auth_in_clear"),
        .requires_tls = transcript_has(d, "requires_tls"),
        .requires_auth = transcript_has(d, "requires_auth"),
        .offers_device = transcript_has(d, "device"),
        .offers_pipeconnect = transcript_has(d, "pipeconnect"),
        .offers_checkpoint = transcript_has(d, "checkpoint"),
        .outcome = transcript_has(d, "outcome") ? "3f9c 691200" : NULL,
        .ways = transcript_has(d, "ways") ? "465/tls 587/starttls" : NULL,
        .offers_smtputf8 = !transcript_has(d, "no_smtputf8"),
        .offers_binarymime = !transcript_has(d, "no_binarymime"),
    };
}
