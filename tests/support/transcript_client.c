#include "support/transcript_client.h"
#include "crypto/crypto.h"
#include "smtp/ehlo.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { OUTPUT_MAX = 16 * 1024 * 1024 };

/* ---- events as words ---- */

static void say_text(struct buffer *out, const char *key, struct slice value)
{
    struct buffer escaped = {.max = OUTPUT_MAX};
    assert_int_equal(buffer_printf(out, " %s=", key), RESULT_OK);
    transcript_escape(value, &escaped);
    for (size_t i = 0; i < buffer_len(&escaped); i++)
        assert_int_equal(buffer_append(out, buffer_slice(&escaped).ptr[i] == ' ' ? SLICE("\\s") : slice_of(buffer_slice(&escaped).ptr + i, 1)), RESULT_OK);
    buffer_free(&escaped);
}

static void say_reply(struct buffer *out, const struct smtp_client_event *event)
{
    const struct smtp_reply *reply = event->reply;
    if (event->is_local)
        assert_int_equal(buffer_append_cstr(out, " ours"), RESULT_OK);
    if (!reply)
        return;
    assert_int_equal(buffer_printf(out, " reply=%d", reply->code), RESULT_OK);
    if (reply->status.class != 0)
        assert_int_equal(buffer_printf(out, " status=%d.%d.%d", reply->status.class, reply->status.subject, reply->status.detail), RESULT_OK);
    say_text(out, "text", reply->text);
}

static void say_device(struct buffer *out, const struct smtp_client_event *event)
{
    assert_int_equal(buffer_printf(out, " id=%.*s token=", SLICE_ARG(event->device)), RESULT_OK);
    assert_int_equal(crypto_base64_encode(event->token, out), RESULT_OK);
}

void transcript_say_client_event(const struct smtp_client_event *event, struct buffer *out)
{
    static const char *const names[] = {
        [SMTP_CLIENT_STARTTLS] = "STARTTLS",       [SMTP_CLIENT_PROVEN] = "PROVEN",           [SMTP_CLIENT_READY] = "READY",
        [SMTP_CLIENT_DEVICE] = "DEVICE",           [SMTP_CLIENT_OUTCOME] = "OUTCOME",         [SMTP_CLIENT_RESUMED] = "RESUMED",
        [SMTP_CLIENT_RECIPIENT] = "RECIPIENT",     [SMTP_CLIENT_BODY_WANTED] = "BODY_WANTED", [SMTP_CLIENT_SENT] = "SENT",
        [SMTP_CLIENT_FAILED] = "FAILED",           [SMTP_CLIENT_CLOSED] = "CLOSED",
    };
    static const char *const outcomes[] = {
        [SMTP_SENT_ACCEPTED] = "accepted", [SMTP_SENT_DEFERRED] = "deferred", [SMTP_SENT_REFUSED] = "refused",
        [SMTP_SENT_PAUSED] = "paused",     [SMTP_SENT_RENAME] = "rename",     [SMTP_SENT_NOBODY] = "nobody",
    };
    assert_int_equal(buffer_append_cstr(out, names[event->type]), RESULT_OK);
    if (event->type == SMTP_CLIENT_RECIPIENT)
        assert_int_equal(buffer_printf(out, " %zu", event->recipient), RESULT_OK);
    if (event->type == SMTP_CLIENT_OUTCOME)
        assert_int_equal(buffer_printf(out, " %zu", event->question), RESULT_OK);
    if (event->type == SMTP_CLIENT_RESUMED || event->type == SMTP_CLIENT_BODY_WANTED)
        assert_int_equal(buffer_printf(out, " offset=%llu", (unsigned long long)event->offset), RESULT_OK);
    if (event->type == SMTP_CLIENT_DEVICE)
        say_device(out, event);
    if (event->type == SMTP_CLIENT_SENT)
        assert_int_equal(buffer_printf(out, " %s", outcomes[event->sent]), RESULT_OK);
    if (event->type == SMTP_CLIENT_FAILED)
        assert_int_equal(buffer_printf(out, " %s%s", smtp_failure_name(event->failure), event->is_uncertain ? " uncertain" : " certain"), RESULT_OK);
    if (event->phase)
        say_text(out, "phase", slice_from_cstr(event->phase));
    say_reply(out, event);
}

/* ---- acts and options ---- */

static enum dsn_ret ret_of(struct slice value)
{
    return slice_equal(value, SLICE("FULL")) ? DSN_RET_FULL : DSN_RET_HDRS;
}

static unsigned notify_of(struct slice value)
{
    static const char *const names[] = {"NEVER", "SUCCESS", "FAILURE", "DELAY"};
    unsigned set = 0;
    struct slice name;
    for (bool more = true; more;) {
        more = slice_cut(value, ',', &name, &value);
        for (unsigned i = 0; i < 4; i++)
            set |= slice_equal(name, slice_from_cstr(names[i])) ? 1u << i : 0;
    }
    return set;
}

static bool take_parameter(struct transcript_sending *sending, struct slice word, struct smtp_transaction *t)
{
    struct envelope *envelope = &sending->envelope;
    struct slice key, value;
    struct envelope_recipient *last = &sending->recipients[envelope->nrcpt ? envelope->nrcpt - 1 : 0];
    slice_cut(word, '=', &key, &value);
    if (slice_equal(key, SLICE("from")))
        envelope->sender = value;
    else if (slice_equal(key, SLICE("to")) && envelope->nrcpt < TRANSCRIPT_RECIPIENTS_MAX)
        sending->recipients[envelope->nrcpt++] = (struct envelope_recipient){.address = value};
    else if (slice_equal(key, SLICE("notify")))
        last->notify = notify_of(value);
    else if (slice_equal(key, SLICE("orcpt")))
        last->orcpt = value;
    else if (slice_equal(key, SLICE("ret")))
        envelope->ret = ret_of(value);
    else if (slice_equal(key, SLICE("envid")))
        envelope->envid = value;
    else if (slice_equal(key, SLICE("transid")))
        t->transid = value;
    else if (slice_equal(key, SLICE("asks")))
        t->asks_first = true;
    else if (slice_equal(key, SLICE("8bit")))
        t->has_8bit = true;
    else if (slice_equal(key, SLICE("utf8")))
        t->needs_smtputf8 = true;
    else if (slice_equal(key, SLICE("binary")))
        t->is_binary = true;
    else
        return slice_equal(key, SLICE("size")) && slice_to_u64(value, UINT64_MAX, &t->size_octets);
    return true;
}

bool transcript_parse_send(struct slice words, struct transcript_sending *sending, struct smtp_transaction *out, struct slice *strange)
{
    *out = (struct smtp_transaction){.envelope = &sending->envelope};
    sending->envelope = (struct envelope){.recipients = sending->recipients};
    for (bool more = true; more;) {
        more = slice_cut(words, ' ', strange, &words);
        if (!take_parameter(sending, *strange, out))
            return false;
    }
    return true;
}

size_t transcript_parse_outcomes(struct slice words, struct smtp_outcome_question *questions, size_t max)
{
    size_t n = 0;
    for (bool more = true; more && n < max; n++) {
        struct slice word, first;
        uint64_t number = 0;
        more = slice_cut(words, ' ', &word, &words);
        slice_cut(word, ':', &questions[n].transid, &first);
        assert_true(first.len == 0 || slice_to_u64(first, UINT32_MAX, &number));
        questions[n].first = (uint32_t)number;
    }
    return n;
}

static enum smtp_security security_of(const struct transcript_dialogue *d)
{
    static const char *const names[] = {"none", "opportunistic", "starttls", "tls"};
    struct slice value = SLICE("none");
    transcript_option(d, "security", &value);
    for (unsigned i = 0; i < 4; i++)
        if (slice_equal(value, slice_from_cstr(names[i])))
            return (enum smtp_security)i;
    fail_msg("security=%.*s is none of ours", SLICE_ARG(value));
    return SMTP_SECURITY_NONE;
}

/* "PIPELINING,SIZE:1000": the lines of an EHLO. */
static const struct smtp_peer *early_of(const struct transcript_dialogue *d)
{
    static struct smtp_peer peer;
    static char text[512];
    struct slice words;
    if (!transcript_option(d, "early", &words))
        return NULL;
    struct slice name = SLICE("relay\n");
    assert_true(name.len + words.len <= sizeof text);
    memcpy(text, name.ptr, name.len);
    for (size_t i = 0; i < words.len; i++)
        text[name.len + i] = words.ptr[i] == ',' ? '\n' : words.ptr[i] == ':' ? ' ' : words.ptr[i];
    smtp_ehlo_parse(slice_of(text, name.len + words.len), &peer, NULL);
    return &peer;
}

struct smtp_client_config transcript_client_config(const struct transcript_dialogue *d)
{
    struct slice ignored;
    struct smtp_client_config config = {
        .security = security_of(d),
        .ehlo_name = SLICE("laptop.example"),
        .allows_auth_without_tls = transcript_option(d, "auth_in_clear", &ignored),
        .greeting_timeout_ms = (int64_t)transcript_number(d, "greeting_timeout", 0),
        .command_timeout_ms = (int64_t)transcript_number(d, "command_timeout", 0),
        .body_timeout_ms = (int64_t)transcript_number(d, "body_timeout", 0),
        .final_timeout_ms = (int64_t)transcript_number(d, "final_timeout", 0),
    };
    config.speaks_first = transcript_option(d, "speaks_first", &ignored);
    config.early = early_of(d);
    transcript_option(d, "device", &config.device);
    transcript_option(d, "token", &config.token);
    transcript_option(d, "user", &config.user);
    transcript_option(d, "password", &config.password);
    transcript_option(d, "cleartext_name", &config.ehlo_name_cleartext);
    return config;
}
