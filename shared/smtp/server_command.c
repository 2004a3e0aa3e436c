#include "smtp/server_internal.h"

#include "smtp/sasl.h"

#include <stdio.h>
#include <string.h>

/* The commands of a session, but for AUTH (server_auth.c), XDEVICE (server_device.c), XOUTCOME (server_outcome.c), DATA and BDAT (server_body.c). A function that writes a reply does so last:
 * a reply for which there is no memory ends the session. */

const struct smtp_reply server_no_memory = SMTP_REPLY_INIT(421, 4, 3, 0, "Out of memory for now; try again in a while");

static const struct smtp_reply unknown = SMTP_REPLY_INIT(500, 5, 5, 1, "Command not known; HELP lists those that are");
static const struct smtp_reply not_done = SMTP_REPLY_INIT(502, 5, 5, 1, "That command is not done here");
static const struct smtp_reply hello_first = SMTP_REPLY_INIT(503, 5, 5, 1, "Say EHLO first");
const struct smtp_reply server_mail_first = SMTP_REPLY_INIT(503, 5, 5, 1, "Say MAIL FROM:<...> first");
static const struct smtp_reply nested = SMTP_REPLY_INIT(503, 5, 5, 1, "A transaction is open; end it or say RSET first");
static const struct smtp_reply amid_bdat = SMTP_REPLY_INIT(503, 5, 5, 1, "The message is being sent with BDAT; go on with BDAT, or say RSET");
static const struct smtp_reply auth_again = SMTP_REPLY_INIT(503, 5, 5, 1, "You are authenticated already");
static const struct smtp_reply auth_late = SMTP_REPLY_INIT(503, 5, 5, 1, "AUTH has no place in a transaction; say RSET first");
static const struct smtp_reply device_late = SMTP_REPLY_INIT(503, 5, 5, 1, "XDEVICE has no place in a transaction; say RSET first");
static const struct smtp_reply outcome_late = SMTP_REPLY_INIT(503, 5, 5, 1, "XOUTCOME has no place in a transaction; say RSET first");
static const struct smtp_reply tls_again = SMTP_REPLY_INIT(503, 5, 5, 1, "TLS is on already");
static const struct smtp_reply tls_first = SMTP_REPLY_INIT(530, 5, 7, 0, "Must issue a STARTTLS command first");
const struct smtp_reply server_auth_first = SMTP_REPLY_INIT(530, 5, 7, 0, "Authentication required: log in with AUTH first");
static const struct smtp_reply no_tls = SMTP_REPLY_INIT(502, 5, 5, 1, "STARTTLS is not offered on this port");
static const struct smtp_reply idling = SMTP_REPLY_INIT(421, 4, 7, 0, "Too many commands without a message; closing");
static const struct smtp_reply last_one = SMTP_REPLY_INIT(421, 4, 7, 0, "That was the last message of this session; connect again for more");
static const struct smtp_reply too_large = SMTP_REPLY_INIT(552, 5, 3, 4, "The message is larger than this server takes; EHLO tells SIZE");
static const struct smtp_reply too_many_rcpt = SMTP_REPLY_INIT(452, 4, 5, 3, "Too many recipients; send the rest in another transaction");
const struct smtp_reply server_short_of_memory = SMTP_REPLY_INIT(452, 4, 3, 1, "Out of memory for now; try again in a while");
static const struct smtp_reply not_offered = SMTP_REPLY_INIT(555, 5, 5, 4, "A parameter belongs to an extension that EHLO does not offer");
static const struct smtp_reply ok = SMTP_REPLY_INIT(250, 2, 0, 0, "Ok");
static const struct smtp_reply goodbye = SMTP_REPLY_INIT(221, 2, 0, 0, "Goodbye");
static const struct smtp_reply tls_ready = SMTP_REPLY_INIT(220, 2, 0, 0, "Ready to start TLS");
static const struct smtp_reply vrfy = SMTP_REPLY_INIT(252, 2, 0, 0, "Nothing is told about mailboxes; send the message and see");
static const struct smtp_reply help = SMTP_REPLY_INIT(214, 2, 0, 0, "EHLO HELO MAIL RCPT DATA BDAT RSET NOOP QUIT HELP VRFY STARTTLS AUTH\n"
                                                                    "MAIL FROM:<a@example> SIZE= BODY= SMTPUTF8 RET= ENVID= AUTH=\n"
                                                                    "RCPT TO:<b@example> NOTIFY= ORCPT=");

/* ---- EHLO, HELO ---- */

static enum result add_mechanisms(const struct smtp_server *server, struct buffer *text)
{
    static const enum sasl_mechanism order[] = {SASL_HT_SHA_256_EXPR, SASL_SCRAM_SHA_256_PLUS, SASL_SCRAM_SHA_256, SASL_PLAIN, SASL_LOGIN};
    unsigned offered = server_mechanisms(server);
    if (offered == 0)
        return RESULT_OK;
    enum result result = buffer_append_cstr(text, "\nAUTH");
    for (size_t i = 0; i < sizeof order / sizeof *order && result == RESULT_OK; i++)
        if (offered & order[i])
            result = buffer_printf(text, " %s", sasl_mechanism_name(order[i]));
    return result;
}

/* RFC 9422. */
static enum result add_limits(const struct smtp_server *server, struct buffer *text)
{
    enum result result = buffer_printf(text, "\nLIMITS RCPTMAX=%u", server->config.nrcpt_max);
    if (result == RESULT_OK && server->config.transactions_max > 0)
        result = buffer_printf(text, " MAILMAX=%u", server->config.transactions_max);
    return result;
}

/* schema/link.md. Inside TLS only: nobody in between learns of them, or puts them there. */
static enum result add_ours(const struct smtp_server *server, struct buffer *text)
{
    const struct smtp_server_config *config = &server->config;
    if (!server->is_tls)
        return RESULT_OK;
    enum result result = buffer_printf(text, "%s%s%s", config->offers_pipeconnect ? "\nPIPECONNECT" : "", config->offers_checkpoint ? "\nCHECKPOINT" : "",
                                       config->offers_device ? "\nXDEVICE" : "");
    if (result == RESULT_OK && config->outcome)
        result = buffer_printf(text, "\nXOUTCOME %s", config->outcome);
    return result == RESULT_OK && config->ways ? buffer_printf(text, "\nXWAYS %s", config->ways) : result;
}

static enum result write_ehlo(const struct smtp_server *server, struct buffer *text)
{
    const struct smtp_server_config *config = &server->config;
    enum result result = buffer_printf(text, "%.*s\nPIPELINING\nSIZE %llu\n8BITMIME\nENHANCEDSTATUSCODES\nDSN\nCHUNKING%s%s%s",
                                       SLICE_ARG(config->hostname), (unsigned long long)config->size_max_octets,
                                       config->offers_binarymime ? "\nBINARYMIME" : "", config->offers_smtputf8 ? "\nSMTPUTF8" : "",
                                       config->offers_starttls && !server->is_tls ? "\nSTARTTLS" : "");
    if (result == RESULT_OK)
        result = add_mechanisms(server, text);
    if (result == RESULT_OK)
        result = add_limits(server, text);
    if (result == RESULT_OK)
        result = add_ours(server, text);
    return result == RESULT_OK ? buffer_append_cstr(text, "\nHELP") : result;
}

static void hello(struct smtp_server *server, const struct smtp_command *command, bool is_esmtp)
{
    struct buffer text = {0};
    server_end_transaction(server);
    if (server_keep(&server->helo, command->argument) != RESULT_OK ||
        (is_esmtp ? write_ehlo(server, &text) : buffer_append(&text, server->config.hostname)) != RESULT_OK) {
        server_close(server, &server_no_memory);
    } else {
        server->is_esmtp = is_esmtp;
        server_set_state(server, SMTP_SERVER_READY);
        server_reply(server, &(struct smtp_reply){.code = 250, .text = buffer_slice(&text)});
    }
    buffer_free(&text);
}

static void ehlo(struct smtp_server *server, const struct smtp_command *command)
{
    hello(server, command, true);
}

static void helo(struct smtp_server *server, const struct smtp_command *command)
{
    hello(server, command, false);
}

/* ---- MAIL ---- */

/* What the configuration has to say against a well-formed MAIL, or NULL. */
static const struct smtp_reply *judge_mail(const struct smtp_server *server, const struct smtp_command *command)
{
    const struct smtp_server_config *config = &server->config;
    if ((command->given & SMTP_PARAMETER_SMTPUTF8) && !config->offers_smtputf8)
        return &not_offered;
    if (command->body == MAIL_BODY_BINARYMIME && !config->offers_binarymime)
        return &not_offered;
    if ((command->given & SMTP_PARAMETER_AUTH) && config->auth_mechanisms == 0)
        return &not_offered;
    if ((command->given & SMTP_PARAMETER_TRANSID) && !(config->offers_checkpoint && server->is_tls))
        return &not_offered;
    /* What a name stands for may have been taken when the limit was higher: the driver knows, and the answer waits for it (server_mail_answered). */
    return !(command->given & SMTP_PARAMETER_TRANSID) && command->size_octets > config->size_max_octets ? &too_large : NULL;
}

/* The RCPTs and the DATA or BDAT that a client has pipelined behind it get their replies too, and are no errors of its own (RFC 2920 3.1). */
static void expect_echoes(struct smtp_server *server)
{
    server->nechoes = server->config.nrcpt_max + 1;
}

static void mail(struct smtp_server *server, const struct smtp_command *command)
{
    const struct smtp_reply *refusal = judge_mail(server, command);
    if (refusal) {
        expect_echoes(server);
        server_refuse(server, refusal);
        return;
    }
    if (server->config.transactions_max > 0 && server->ntransactions >= server->config.transactions_max) {
        server_close(server, &last_one);
        return;
    }
    struct envelope *envelope = &server->envelope;
    struct slice transid;
    *envelope = (struct envelope){.body = command->body, .ret = command->ret, .is_smtputf8 = command->given & SMTP_PARAMETER_SMTPUTF8};
    if (arena_copy(&server->arena, address_text(&command->address), &envelope->sender) != RESULT_OK ||
        arena_copy(&server->arena, command->envid, &envelope->envid) != RESULT_OK ||
        arena_copy(&server->arena, command->transid, &transid) != RESULT_OK) {
        server_end_transaction(server);
        server_reply(server, &server_short_of_memory);
        return;
    }
    server->has_transaction = true;
    server->is_unmeasured = false;
    server->is_too_large = command->size_octets > server->config.size_max_octets;
    server->owed = SMTP_OWED_MAIL;
    struct smtp_server_event *event = server_add_event(server, SMTP_SERVER_MAIL);
    event->envelope = envelope;
    event->size_octets = command->size_octets;
    event->data = transid;
    event->is_whole = command->given & SMTP_PARAMETER_WHOLE;
}

static void begin_transaction(struct smtp_server *server, enum smtp_server_state state)
{
    server->ntransactions++;
    server->nidle = server->nechoes = server->nunknown_outcomes = 0;
    server_set_state(server, state);
}

void server_mail_answered(struct smtp_server *server, const struct smtp_reply *reply)
{
    if (smtp_reply_is_positive(reply) && server->is_too_large)
        reply = &too_large;
    if (smtp_reply_is_positive(reply)) {
        begin_transaction(server, SMTP_SERVER_HAS_MAIL);
    } else {
        expect_echoes(server);
        server_end_transaction(server);
    }
    server_reply(server, reply);
}

/* RFC 1845 5: the offset is the first word behind the code, so no enhanced one stands there; RFC 2034 has none for 3yz. */
void server_mail_resumed(struct smtp_server *server, bool is_told, bool is_over, uint64_t held_octets, size_t nrcpt)
{
    if (!is_over && server->is_too_large) {
        server_mail_answered(server, &too_large);
        server->events[server->nevents - 1].is_refused = true; /* nobody takes the rest of it */
        return;
    }
    server->is_unmeasured = is_over;
    server->is_known = nrcpt > 0;
    server->nknown_left = nrcpt > server->config.nrcpt_max ? (uint32_t)nrcpt : server->config.nrcpt_max;
    char words[64];
    struct smtp_reply reply = SMTP_REPLY(250, 2, 1, 0, "Sender ok");
    if (is_told) {
        int len = snprintf(words, sizeof words, "%llu octets are here already", (unsigned long long)held_octets);
        reply = (struct smtp_reply){.code = 355, .text = slice_of(words, (size_t)len)};
        server->held_octets = held_octets;
    }
    begin_transaction(server, nrcpt > 0 ? SMTP_SERVER_HAS_RCPT : SMTP_SERVER_HAS_MAIL);
    server_reply(server, &reply);
}

/* ---- RCPT ---- */

/* <Postmaster> without a domain is ours (RFC 5321 4.5.1): it gets our name. */
static enum result keep_candidate(struct smtp_server *server, const struct smtp_command *command)
{
    struct buffer *text = &server->candidate_text;
    struct slice address = address_text(&command->address);
    buffer_clear(text);
    enum result result = buffer_append(text, address);
    if (result == RESULT_OK && address_domain(&command->address).len == 0)
        result = buffer_printf(text, "@%.*s", SLICE_ARG(server->config.hostname));
    size_t address_len = buffer_len(text);
    if (result == RESULT_OK)
        result = buffer_append(text, command->orcpt);
    if (result == RESULT_OK)
        server->candidate = (struct envelope_recipient){.address = slice_take(buffer_slice(text), address_len),
                                                        .orcpt = slice_skip(buffer_slice(text), address_len),
                                                        .notify = command->notify};
    return result;
}

/* Who was accepted once is accepted again, though the limit was lowered since: his client would send to him in another transaction, and twice. */
static bool has_all_recipients(const struct smtp_server *server)
{
    return server->is_known ? server->nknown_left == 0 : server->envelope.nrcpt >= server->config.nrcpt_max;
}

static void rcpt(struct smtp_server *server, const struct smtp_command *command)
{
    if (has_all_recipients(server)) {
        server_reply(server, &too_many_rcpt);
    } else if (keep_candidate(server, command) != RESULT_OK) {
        server_reply(server, &server_short_of_memory);
    } else {
        server->owed = SMTP_OWED_RCPT;
        server_add_event(server, SMTP_SERVER_RCPT)->recipient = &server->candidate;
    }
}

/* The text of refused recipients never gets into the arena, so that a client that guesses addresses for hours fills nothing; nor does that of recipients that the driver has on record, whose number today's limit does not bound. */
static enum result add_recipient(struct smtp_server *server)
{
    struct envelope *envelope = &server->envelope;
    struct envelope_recipient recipient = {.notify = server->candidate.notify};
    if (server->is_known) {
        server->nknown_left--;
        return RESULT_OK;
    }
    struct envelope_recipient *recipients = arena_grow(&server->arena, envelope->recipients, envelope->nrcpt, &server->rcpt_capacity, sizeof recipient);
    if (!recipients)
        return RESULT_MEMORY;
    envelope->recipients = recipients;
    enum result result = arena_copy(&server->arena, server->candidate.address, &recipient.address);
    if (result == RESULT_OK)
        result = arena_copy(&server->arena, server->candidate.orcpt, &recipient.orcpt);
    if (result == RESULT_OK)
        recipients[envelope->nrcpt++] = recipient;
    return result;
}

void server_rcpt_answered(struct smtp_server *server, const struct smtp_reply *reply)
{
    if (smtp_reply_is_positive(reply)) {
        if (add_recipient(server) == RESULT_OK)
            server_set_state(server, SMTP_SERVER_HAS_RCPT);
        else
            reply = &server_short_of_memory;
    }
    server_reply(server, reply);
}

/* ---- the small ones ---- */

static void data(struct smtp_server *server, const struct smtp_command *command)
{
    (void)command;
    server_data(server);
}

static void rset(struct smtp_server *server, const struct smtp_command *command)
{
    (void)command;
    server_end_transaction(server);
    if (server->state != SMTP_SERVER_GREETING)
        server_set_state(server, SMTP_SERVER_READY);
    server_reply(server, &ok);
}

static void noop(struct smtp_server *server, const struct smtp_command *command)
{
    (void)command;
    server_reply(server, &ok);
}

static void quit(struct smtp_server *server, const struct smtp_command *command)
{
    (void)command;
    server_close(server, &goodbye);
}

static void tell_help(struct smtp_server *server, const struct smtp_command *command)
{
    (void)command;
    server_reply(server, &help);
}

/* RFC 5321 7.3: no help in gathering addresses. */
static void verify(struct smtp_server *server, const struct smtp_command *command)
{
    (void)command;
    server_reply(server, &vrfy);
}

static void refuse_undone(struct smtp_server *server, const struct smtp_command *command)
{
    (void)command;
    server_refuse(server, &not_done);
}

static void refuse_unknown(struct smtp_server *server, const struct smtp_command *command)
{
    (void)command;
    server_refuse(server, &unknown);
}

static void close_foreign(struct smtp_server *server, const struct smtp_command *command)
{
    (void)command;
    server_close(server, &server_foreign);
}

static void starttls(struct smtp_server *server, const struct smtp_command *command)
{
    (void)command;
    if (server->is_tls || !server->config.offers_starttls) {
        server_refuse(server, server->is_tls ? &tls_again : &no_tls);
        return;
    }
    server_end_transaction(server);
    server_set_state(server, SMTP_SERVER_IN_TLS);
    server_add_event(server, SMTP_SERVER_STARTTLS);
    server_reply(server, &tls_ready);
}

/* ---- the table ---- */

enum {
    AT_GREETING = 1 << SMTP_SERVER_GREETING,
    AT_READY = 1 << SMTP_SERVER_READY,
    AT_MAIL = 1 << SMTP_SERVER_HAS_MAIL,
    AT_RCPT = 1 << SMTP_SERVER_HAS_RCPT,
    AT_BETWEEN = 1 << SMTP_SERVER_BETWEEN,
    ALWAYS = AT_GREETING | AT_READY | AT_MAIL | AT_RCPT | AT_BETWEEN,
    OPEN = AT_MAIL | AT_RCPT,
};

enum {
    NEEDS_TLS = 1,  /* 530 where TLS is required and not on (RFC 3207 4) */
    NEEDS_AUTH = 2, /* 530 where authentication is required (RFC 4954 6) */
    IDLES = 4,      /* brings no message nearer */
};

static const struct rule {
    unsigned states; /* where it may stand */
    unsigned flags;
    void (*run)(struct smtp_server *server, const struct smtp_command *command);
    const struct smtp_reply *misplaced; /* the reply in a state where it may not, once EHLO was said */
} rules[SMTP_VERBS] = {
    [SMTP_VERB_UNKNOWN] = {ALWAYS, 0, refuse_unknown, NULL},
    [SMTP_VERB_HELO] = {ALWAYS, IDLES, helo, NULL},
    [SMTP_VERB_EHLO] = {ALWAYS, IDLES, ehlo, NULL},
    [SMTP_VERB_MAIL] = {AT_READY, NEEDS_TLS | NEEDS_AUTH, mail, &nested},
    [SMTP_VERB_RCPT] = {OPEN, NEEDS_TLS | NEEDS_AUTH, rcpt, &server_mail_first},
    [SMTP_VERB_DATA] = {OPEN, NEEDS_TLS | NEEDS_AUTH, data, &server_mail_first},
    [SMTP_VERB_BDAT] = {OPEN | AT_BETWEEN, NEEDS_TLS | NEEDS_AUTH, NULL, &server_mail_first},
    [SMTP_VERB_RSET] = {ALWAYS, IDLES, rset, NULL},
    [SMTP_VERB_NOOP] = {ALWAYS, IDLES, noop, NULL},
    [SMTP_VERB_QUIT] = {ALWAYS, 0, quit, NULL},
    [SMTP_VERB_STARTTLS] = {ALWAYS, IDLES, starttls, NULL},
    [SMTP_VERB_AUTH] = {AT_READY, NEEDS_TLS, server_auth, &auth_late},
    [SMTP_VERB_XDEVICE] = {AT_READY, NEEDS_TLS | IDLES, server_device, &device_late},
    [SMTP_VERB_XOUTCOME] = {AT_READY, NEEDS_TLS | NEEDS_AUTH, server_outcome, &outcome_late},
    [SMTP_VERB_VRFY] = {ALWAYS, NEEDS_TLS | NEEDS_AUTH | IDLES, verify, NULL},
    [SMTP_VERB_EXPN] = {ALWAYS, NEEDS_TLS, refuse_undone, NULL},
    [SMTP_VERB_HELP] = {ALWAYS, IDLES, tell_help, NULL},
    [SMTP_VERB_OBSOLETE] = {ALWAYS, 0, refuse_undone, NULL},
    [SMTP_VERB_FOREIGN] = {ALWAYS, 0, close_foreign, NULL},
};

/* Why a command may not come now, or NULL. */
static const struct smtp_reply *judge(const struct smtp_server *server, enum smtp_verb verb)
{
    const struct rule *rule = &rules[verb];
    if ((rule->flags & NEEDS_TLS) && server->config.requires_tls && !server->is_tls)
        return &tls_first;
    if (verb == SMTP_VERB_AUTH && server->is_authenticated)
        return &auth_again;
    if (!(rule->states & (1u << server->state))) {
        if (server->state == SMTP_SERVER_GREETING)
            return &hello_first;
        return server->state == SMTP_SERVER_BETWEEN ? &amid_bdat : rule->misplaced;
    }
    if ((rule->flags & NEEDS_AUTH) && server->config.requires_auth && !server->is_authenticated)
        return &server_auth_first;
    return NULL;
}

static void bdat(struct smtp_server *server, struct slice argument, const struct smtp_reply *refusal)
{
    struct smtp_command command;
    enum smtp_command_fault fault = smtp_command_parse(SMTP_VERB_BDAT, argument, false, &command);
    if (fault != SMTP_COMMAND_OK)
        server_close(server, smtp_command_fault_reply(fault));
    else
        server_bdat(server, &command, refusal);
}

static bool is_too_often(struct smtp_server *server, unsigned *count, uint32_t most)
{
    if (++*count <= most)
        return false;
    server_close(server, &idling);
    return true;
}

bool server_idles(struct smtp_server *server)
{
    return is_too_often(server, &server->nidle, server->config.idle_commands_max);
}

bool server_asks_in_vain(struct smtp_server *server)
{
    return is_too_often(server, &server->nunknown_outcomes, server->config.unknown_outcomes_max);
}

void server_command(struct smtp_server *server, struct slice line)
{
    struct slice argument;
    struct smtp_command command;
    enum smtp_verb verb = smtp_verb_parse(line, &argument);
    server->ncommands++;
    const struct smtp_reply *refusal = judge(server, verb);
    if (verb == SMTP_VERB_BDAT) {
        bdat(server, argument, refusal);
        return;
    }
    if (!refusal)
        refusal = smtp_command_fault_reply(smtp_command_parse(verb, argument, server->envelope.is_smtputf8, &command));
    if (refusal && verb == SMTP_VERB_MAIL)
        expect_echoes(server);
    if (refusal)
        server_refuse(server, refusal);
    else if (!(rules[verb].flags & IDLES) || !server_idles(server))
        rules[verb].run(server, &command);
}
