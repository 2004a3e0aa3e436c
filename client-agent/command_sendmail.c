/* postern-agent sendmail: the interface of sendmail(1) that other programs expect; also reached by the name sendmail, and as mailq by its name. */
#include "commands.h"

#include "draft.h"
#include "handoff.h"

#include "mail/header.h"
#include "mail/mailbox_list.h"
#include "mail/xtext.h"
#include "mta/console.h"
#include "smtp/server.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum { RECIPIENTS_MAX = 1000, LINE_BLOCK = 16 * 1024 };
enum sendmail_mode { MODE_MESSAGE, MODE_SMTP, MODE_QUEUE, MODE_FLUSH };

struct sendmail {
    const struct command_line *line;
    struct settings *settings;
    enum sendmail_mode mode;
    bool reads_recipients, dot_is_text;
    const char *sender; /* -f; NULL: taken from From: */
    unsigned notify;
    enum dsn_ret ret;
    const char *envid;
    int first_recipient; /* in argv */

    struct arena arena;
    struct envelope envelope;
    struct draft draft;
};

/* ---- options ---------------------------------------------------------------------------------------------------- */

static int parse_notify(struct sendmail *s, const char *text)
{
    struct slice rest = slice_from_cstr(text), word;
    static const struct {
        struct slice name;
        unsigned bit;
    } words[] = {{{"never", 5}, DSN_NOTIFY_NEVER}, {{"success", 7}, DSN_NOTIFY_SUCCESS}, {{"failure", 7}, DSN_NOTIFY_FAILURE}, {{"delay", 5}, DSN_NOTIFY_DELAY}};
    while (rest.len > 0) {
        unsigned before = s->notify;
        slice_cut(rest, ',', &word, &rest);
        for (size_t i = 0; i < 4; i++)
            if (slice_equal_nocase(slice_trim(word), words[i].name))
                s->notify |= words[i].bit;
        if (s->notify == before)
            return agent_fail(EX_USAGE, "-N takes never, or some of success,failure,delay");
    }
    return EX_OK;
}

static int parse_b(struct sendmail *s, const char *what)
{
    switch (what[0]) {
    case 'm': s->mode = MODE_MESSAGE; return EX_OK;
    case 's': s->mode = MODE_SMTP; return EX_OK;
    case 'p': s->mode = MODE_QUEUE; return EX_OK;
    default: return agent_fail(EX_USAGE, "-b%s is not done here; the agent itself is started with: %s", what, DIRS_HINT(s->line->dirs, "postern-agent run"));
    }
}

static int parse_o(struct sendmail *s, const char *what)
{
    if (strcmp(what, "i") == 0)
        s->dot_is_text = true;
    return EX_OK; /* the other options of old sendmail have nothing to set here */
}

static int parse_option(struct sendmail *s, int option, const char *value)
{
    switch (option) {
    case 't': s->reads_recipients = true; return EX_OK;
    case 'i': s->dot_is_text = true; return EX_OK;
    case 'f':
    case 'r': s->sender = value; return EX_OK;
    case 'b': return parse_b(s, value);
    case 'o': return parse_o(s, value);
    case 'N': return parse_notify(s, value);
    case 'R': s->ret = value[0] == 'f' || value[0] == 'F' ? DSN_RET_FULL : DSN_RET_HDRS; return EX_OK;
    case 'V': s->envid = value; return EX_OK;
    case 'q': s->mode = MODE_FLUSH; return EX_OK;
    case '?': return agent_fail(EX_USAGE, "usage: sendmail [-t] [-i] [-f SENDER] [-N WHEN] [-R full|hdrs] [-V ENVID] [-bs | -bp | -q] [RECIPIENT ...]");
    default: return EX_OK; /* -F, -B, -v and their like: accepted, because programs give them */
    }
}

static int parse_options(struct sendmail *s, int argc, char **argv)
{
    int option, code = EX_OK;
    optind = 1;
    opterr = 0;
    /* -q, -v and their like take no value or a glued one; "::" is a glued one. */
    while (code == EX_OK && (option = getopt(argc, argv, "A::B:C:F:GL:N:O:R:UV:X:b:e:f:h:imno:p:q::r:tv")) != -1)
        code = parse_option(s, option, optarg);
    s->first_recipient = optind;
    return code;
}

/* ---- the envelope ----------------------------------------------------------------------------------------------- */

static int add_recipient(struct sendmail *s, struct slice text)
{
    struct envelope_recipient *r = &s->envelope.recipients[s->envelope.nrcpt];
    if (s->envelope.nrcpt == RECIPIENTS_MAX)
        return agent_fail(EX_DATAERR, "more than %d recipients", RECIPIENTS_MAX);
    r->notify = s->notify;
    s->envelope.is_smtputf8 |= mail_has_8bit(text);
    if (arena_copy(&s->arena, text, &r->address) != RESULT_OK)
        return agent_fail(EX_OSERR, "out of memory");
    s->envelope.nrcpt++;
    return EX_OK;
}

/* An argument is a list of addresses, with or without names and angle brackets. */
static int add_argument(struct sendmail *s, const char *text)
{
    struct mailbox_list list = {.rest = slice_from_cstr(text), .allow_utf8 = true};
    struct mail_address address;
    enum result result;
    int code = EX_OK;
    while (code == EX_OK && (result = mailbox_list_next(&list, &address)) != RESULT_NOT_FOUND) {
        if (result != RESULT_OK)
            return agent_fail(EX_NOUSER, "\"%s\" is no address with a domain; this laptop has no mailboxes", text);
        code = add_recipient(s, address_text(&address));
    }
    return code;
}

static int add_arguments(struct sendmail *s, int argc, char **argv)
{
    int code = EX_OK;
    for (int i = s->first_recipient; i < argc && code == EX_OK; i++)
        code = add_argument(s, argv[i]);
    return code;
}

static int set_sender(struct sendmail *s)
{
    const struct submission_facts *facts = submission_facts(s->draft.submission);
    struct slice text = s->sender ? slice_from_cstr(s->sender) : (struct slice){0};
    struct mail_address address;
    if (s->sender && (text.len == 0 || slice_equal(text, SLICE("<>"))))
        return EX_OK; /* the null sender, said with intent */
    if (text.len > 1 && text.ptr[0] == '<' && text.ptr[text.len - 1] == '>')
        text = slice_take(slice_skip(text, 1), text.len - 2);
    bool is_given = text.len > 0 && address_parse(text, ADDRESS_ALLOW_UTF8, &address) == RESULT_OK;
    /* Without a usable -f (or with a bare login name, as cron gives) the author is the sender. */
    if (!is_given && (facts->nfrom == 0 || address_parse(facts->from[0], ADDRESS_ALLOW_UTF8, &address) != RESULT_OK))
        return agent_fail(EX_DATAERR, "who sends this? Give -f ADDRESS, or a From: field with a whole address");
    s->envelope.is_smtputf8 |= address.needs_smtputf8;
    return arena_copy(&s->arena, address_text(&address), &s->envelope.sender) == RESULT_OK ? EX_OK : agent_fail(EX_OSERR, "out of memory");
}

static int complete_envelope(struct sendmail *s, int argc, char **argv)
{
    const struct submission_facts *facts = submission_facts(s->draft.submission);
    int code = add_arguments(s, argc, argv);
    for (size_t i = 0; i < facts->nrcpt && code == EX_OK && s->reads_recipients; i++)
        code = add_recipient(s, facts->recipients[i]);
    if (code == EX_OK && s->envelope.nrcpt == 0)
        code = agent_fail(EX_USAGE, "no recipients; name them, or give -t to take them from To:, Cc: and Bcc:");
    if (code == EX_OK)
        code = set_sender(s);
    s->envelope.ret = s->ret;
    s->envelope.body = facts->has_8bit_body || facts->has_8bit_header ? MAIL_BODY_8BITMIME : MAIL_BODY_7BIT;
    s->envelope.is_smtputf8 |= facts->has_8bit_header;
    if (code == EX_OK && s->envid) {
        struct buffer xtext = BUFFER(300);
        if (xtext_encode(slice_from_cstr(s->envid), &xtext) != RESULT_OK || arena_copy(&s->arena, buffer_slice(&xtext), &s->envelope.envid) != RESULT_OK)
            code = agent_fail(EX_USAGE, "-V %s: too long", s->envid);
        buffer_free(&xtext);
    }
    return code;
}

/* ---- the message ------------------------------------------------------------------------------------------------ */

static int begin_message(struct sendmail *s, bool allow_utf8)
{
    return draft_begin(&s->draft, &(struct draft_config){
        .from = s->sender ? slice_from_cstr(s->sender) : (struct slice){0},
        .collects_recipients = s->reads_recipients,
        .allow_utf8 = allow_utf8,
        .size_max_octets = (uint64_t)s->settings->values.message_size,
    });
}

static void drop_message(struct sendmail *s)
{
    draft_drop(&s->draft);
    arena_reset(&s->arena);
}

static void hand_over(struct sendmail *s, struct handoff_answer *answer)
{
    const struct submission_facts *facts = submission_facts(s->draft.submission);
    struct handoff_message message = {
        .envelope = &s->envelope,
        .body = s->draft.spool,
        .size_octets = facts->size_octets,
        .has_8bit = facts->has_8bit_body || facts->has_8bit_header,
        .needs_smtputf8 = s->envelope.is_smtputf8,
    };
    handoff(s->line->dirs, s->settings, &message, answer);
}

static int take_message(struct sendmail *s)
{
    int code = begin_message(s, true);
    if (code == EX_OK)
        code = draft_read(&s->draft, stdin, !s->dot_is_text);
    if (code == EX_OK)
        code = draft_end(&s->draft);
    return code == EX_OK ? EX_OK : agent_fail(code, "%.*s", SLICE_ARG(s->draft.trouble.text));
}

static int send_message(struct sendmail *s, int argc, char **argv)
{
    struct handoff_answer answer;
    s->envelope.recipients = calloc(RECIPIENTS_MAX, sizeof *s->envelope.recipients);
    int code = s->envelope.recipients ? take_message(s) : agent_fail(EX_OSERR, "out of memory");
    if (code == EX_OK)
        code = complete_envelope(s, argc, argv);
    if (code == EX_OK) {
        hand_over(s, &answer);
        code = answer.exit_code == EX_OK ? EX_OK : agent_fail(answer.exit_code, "%s", answer.words);
    }
    drop_message(s);
    free(s->envelope.recipients);
    return code;
}

/* ---- -bs: SMTP on standard input and output --------------------------------------------------------------------- */

struct dialogue {
    struct sendmail *sendmail;
    struct smtp_server *core;
    int code; /* of the draft so far */
};

static void begin_body(struct dialogue *dialogue, const struct envelope *envelope)
{
    struct sendmail *s = dialogue->sendmail;
    struct smtp_reply reply = SMTP_REPLY(354, 0, 0, 0, "Send the message; end with a dot on a line by itself");
    drop_message(s);
    dialogue->code = begin_message(s, envelope->is_smtputf8);
    if (dialogue->code != EX_OK)
        reply = s->draft.trouble;
    else if (envelope_copy(&s->arena, envelope, &s->envelope) != RESULT_OK)
        reply = intake_reply_of(RESULT_MEMORY);
    smtp_server_answer(dialogue->core, &reply, 0);
}

static void take_body(struct dialogue *dialogue, struct slice octets)
{
    if (dialogue->code == EX_OK)
        dialogue->code = draft_feed(&dialogue->sendmail->draft, octets);
}

static void end_body(struct dialogue *dialogue)
{
    struct sendmail *s = dialogue->sendmail;
    struct handoff_answer answer;
    if (dialogue->code == EX_OK)
        dialogue->code = draft_end(&s->draft);
    if (dialogue->code == EX_OK) {
        hand_over(s, &answer);
        smtp_server_answer(dialogue->core, &answer.reply, 0);
    } else {
        smtp_server_answer(dialogue->core, &s->draft.trouble, 0);
    }
    drop_message(s);
}

/* True: the session is over. */
static bool on_event(struct dialogue *dialogue, const struct smtp_server_event *event)
{
    struct smtp_reply ok = SMTP_REPLY(250, 2, 1, 0, "Ok");
    switch (event->type) {
    case SMTP_SERVER_MAIL:
    case SMTP_SERVER_RCPT: smtp_server_answer(dialogue->core, &ok, 0); break;
    case SMTP_SERVER_BODY_BEGIN: begin_body(dialogue, event->envelope); break;
    case SMTP_SERVER_BODY: take_body(dialogue, event->data); break;
    case SMTP_SERVER_BODY_END: end_body(dialogue); break;
    case SMTP_SERVER_TRANSACTION_ENDED: drop_message(dialogue->sendmail); break;
    case SMTP_SERVER_CLOSE: return true;
    case SMTP_SERVER_AUTH:
    case SMTP_SERVER_AUTH_RESPONSE:
    case SMTP_SERVER_AUTH_CANCELLED:
    case SMTP_SERVER_OUTCOME:
    case SMTP_SERVER_DEVICE:
    case SMTP_SERVER_STARTTLS: break; /* neither is offered */
    }
    return false;
}

static bool write_output(struct smtp_server *core)
{
    struct slice out = smtp_server_output(core);
    bool is_written = fwrite(out.ptr, 1, out.len, stdout) == out.len && fflush(stdout) == 0;
    smtp_server_sent(core, out.len);
    return is_written;
}

static bool pump(struct dialogue *dialogue)
{
    struct smtp_server_event event;
    bool is_over = false;
    while (!is_over && smtp_server_next(dialogue->core, &event))
        is_over = on_event(dialogue, &event);
    return write_output(dialogue->core) && !is_over;
}

static void converse(struct dialogue *dialogue)
{
    char block[LINE_BLOCK];
    bool goes_on = pump(dialogue);
    while (goes_on) {
        ssize_t len = read(STDIN_FILENO, block, sizeof block);
        struct slice in = slice_of(block, len > 0 ? (size_t)len : 0);
        if (len <= 0) {
            smtp_server_eof(dialogue->core);
            goes_on = false;
            pump(dialogue);
        }
        while (goes_on && in.len > 0) {
            in = slice_skip(in, smtp_server_feed(dialogue->core, in, 0));
            goes_on = pump(dialogue);
        }
    }
}

static int speak_smtp(struct sendmail *s)
{
    struct smtp_server_config config;
    struct dialogue dialogue = {.sendmail = s};
    reception_smtp_config(s->settings, NULL, &config);
    config.auth_mechanisms = 0;
    config.requires_auth = false; /* whoever can start this program is who it runs as */
    config.offers_binarymime = false;
    dialogue.core = smtp_server_new(&config, false, false, 0);
    if (!dialogue.core)
        return agent_fail(EX_OSERR, "out of memory");
    converse(&dialogue);
    smtp_server_free(&dialogue.core);
    drop_message(s);
    return EX_OK;
}

/* ---- the command ------------------------------------------------------------------------------------------------ */

static int do_mode(struct sendmail *s, int argc, char **argv)
{
    char *queue_list[] = {"queue", "list", NULL}, *queue_flush[] = {"queue", "flush", NULL};
    switch (s->mode) {
    case MODE_QUEUE: return command_queue(s->line, 2, queue_list);
    case MODE_FLUSH: return command_queue(s->line, 2, queue_flush);
    case MODE_SMTP: return speak_smtp(s);
    case MODE_MESSAGE: break;
    }
    return send_message(s, argc, argv);
}

int command_sendmail(const struct command_line *line, int argc, char **argv)
{
    struct sendmail s = {.line = line};
    int code = parse_options(&s, argc, argv);
    if (code == EX_OK)
        code = agent_load_settings(line->dirs, &s.settings);
    if (code == EX_OK)
        code = do_mode(&s, argc, argv);
    arena_free(&s.arena);
    settings_unref(&s.settings);
    return code;
}
