#include "smtp/command.h"

#include "mail/xtext.h"

#include <assert.h>
#include <string.h>

/* ---- verbs ---- */

static const struct verb {
    struct slice word;
    enum smtp_verb verb;
} verbs[] = {
    {SLICE("HELO"), SMTP_VERB_HELO},
    {SLICE("EHLO"), SMTP_VERB_EHLO},
    {SLICE("MAIL"), SMTP_VERB_MAIL},
    {SLICE("RCPT"), SMTP_VERB_RCPT},
    {SLICE("DATA"), SMTP_VERB_DATA},
    {SLICE("BDAT"), SMTP_VERB_BDAT},
    {SLICE("RSET"), SMTP_VERB_RSET},
    {SLICE("NOOP"), SMTP_VERB_NOOP},
    {SLICE("QUIT"), SMTP_VERB_QUIT},
    {SLICE("STARTTLS"), SMTP_VERB_STARTTLS},
    {SLICE("AUTH"), SMTP_VERB_AUTH},
    {SLICE("VRFY"), SMTP_VERB_VRFY},
    {SLICE("EXPN"), SMTP_VERB_EXPN},
    {SLICE("HELP"), SMTP_VERB_HELP},
    {SLICE("XDEVICE"), SMTP_VERB_XDEVICE},
    {SLICE("XOUTCOME"), SMTP_VERB_XOUTCOME},
    {SLICE("SEND"), SMTP_VERB_OBSOLETE},
    {SLICE("SOML"), SMTP_VERB_OBSOLETE},
    {SLICE("SAML"), SMTP_VERB_OBSOLETE},
    {SLICE("TURN"), SMTP_VERB_OBSOLETE},
    {SLICE("ETRN"), SMTP_VERB_OBSOLETE},
    {SLICE("ATRN"), SMTP_VERB_OBSOLETE},
    {SLICE("GET"), SMTP_VERB_FOREIGN}, /* the methods of RFC 9110 9, PATCH, and the preface of HTTP/2 */
    {SLICE("HEAD"), SMTP_VERB_FOREIGN},
    {SLICE("POST"), SMTP_VERB_FOREIGN},
    {SLICE("PUT"), SMTP_VERB_FOREIGN},
    {SLICE("DELETE"), SMTP_VERB_FOREIGN},
    {SLICE("CONNECT"), SMTP_VERB_FOREIGN},
    {SLICE("OPTIONS"), SMTP_VERB_FOREIGN},
    {SLICE("TRACE"), SMTP_VERB_FOREIGN},
    {SLICE("PATCH"), SMTP_VERB_FOREIGN},
    {SLICE("PRI"), SMTP_VERB_FOREIGN},
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* The octets up to a blank, and what follows without blanks in front. */
static struct slice take_word(struct slice *rest)
{
    size_t len = 0;
    while (len < rest->len && !is_blank(rest->ptr[len]))
        len++;
    struct slice word = slice_take(*rest, len);
    *rest = slice_trim(slice_skip(*rest, len));
    return word;
}

/* "Host:" and its like. No verb of SMTP holds a colon. */
static bool is_header_line(struct slice word)
{
    return slice_find(word, ':') > 0;
}

enum smtp_verb smtp_verb_parse(struct slice line, struct slice *argument)
{
    *argument = slice_trim(line);
    struct slice word = take_word(argument);
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (slice_equal_nocase(word, verbs[i].word))
            return verbs[i].verb;
    return is_header_line(word) ? SMTP_VERB_FOREIGN : SMTP_VERB_UNKNOWN;
}

const char *smtp_verb_name(enum smtp_verb verb)
{
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (verbs[i].verb == verb && verb < SMTP_VERB_OBSOLETE)
            return verbs[i].word.ptr;
    return "?";
}

/* ---- transids ---- */

/* RFC 1845 2: an atom's octet is neither a space, a control, one of the tspecials (RFC 2045 5.1) nor the dot that parts atoms. */
static bool is_transid_octet(char c)
{
    return c > ' ' && c <= '~' && slice_find(SLICE("()<>@,;:\\\"/[]?=."), c) < 0;
}

/* Atoms with dots between them. */
static bool is_transid_half(struct slice text)
{
    char before = '.';
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '.' ? before == '.' : !is_transid_octet(text.ptr[i]))
            return false;
        before = text.ptr[i];
    }
    return before != '.';
}

static bool is_transid(struct slice text)
{
    struct slice local, domain;
    if (text.len < 2 || text.len > SMTP_TRANSID_MAX || text.ptr[0] != '<' || text.ptr[text.len - 1] != '>')
        return false;
    return slice_cut(slice_of(text.ptr + 1, text.len - 2), '@', &local, &domain) && is_transid_half(local) && is_transid_half(domain);
}

/* ---- parameters of MAIL and RCPT ---- */

static bool parse_size(struct slice value, struct smtp_command *out)
{
    if (value.len == 0 || value.len > 20)
        return false;
    for (size_t i = 0; i < value.len; i++)
        if (value.ptr[i] < '0' || value.ptr[i] > '9')
            return false;
    /* Twenty digits may be more than 64 bits hold: well-formed, and larger than any limit. */
    if (!slice_to_u64(value, UINT64_MAX, &out->size_octets))
        out->size_octets = UINT64_MAX;
    return true;
}

static bool parse_body(struct slice value, struct smtp_command *out)
{
    static const enum mail_body bodies[] = {MAIL_BODY_7BIT, MAIL_BODY_8BITMIME, MAIL_BODY_BINARYMIME};
    static const struct slice names[] = {SLICE("7BIT"), SLICE("8BITMIME"), SLICE("BINARYMIME")};
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        if (slice_equal_nocase(value, names[i])) {
            out->body = bodies[i];
            return true;
        }
    }
    return false;
}

static bool parse_ret(struct slice value, struct smtp_command *out)
{
    if (slice_equal_nocase(value, SLICE("FULL")))
        out->ret = DSN_RET_FULL;
    else if (slice_equal_nocase(value, SLICE("HDRS")))
        out->ret = DSN_RET_HDRS;
    return out->ret != DSN_RET_UNSET;
}

static bool parse_envid(struct slice value, struct smtp_command *out)
{
    out->envid = value;
    return value.len > 0 && value.len <= SMTP_ENVID_MAX && xtext_is_valid(value);
}

/* RFC 4954 5. We check the form and trust nobody's word: who sends is who has authenticated here. */
static bool parse_auth(struct slice value, struct smtp_command *out)
{
    (void)out;
    return value.len > 0 && (slice_equal(value, SLICE("<>")) || xtext_is_valid(value));
}

static bool parse_transid(struct slice value, struct smtp_command *out)
{
    out->transid = value;
    return is_transid(value);
}

static unsigned notify_bit(struct slice word)
{
    static const struct slice names[] = {SLICE("NEVER"), SLICE("SUCCESS"), SLICE("FAILURE"), SLICE("DELAY")};
    static const unsigned bits[] = {DSN_NOTIFY_NEVER, DSN_NOTIFY_SUCCESS, DSN_NOTIFY_FAILURE, DSN_NOTIFY_DELAY};
    for (size_t i = 0; i < sizeof bits / sizeof *bits; i++)
        if (slice_equal_nocase(word, names[i]))
            return bits[i];
    return 0;
}

/* RFC 3461 4.1: NEVER stands alone. */
static bool parse_notify(struct slice value, struct smtp_command *out)
{
    struct slice rest = value, word;
    bool more;
    do {
        more = slice_cut(rest, ',', &word, &rest);
        unsigned bit = notify_bit(word);
        if (bit == 0)
            return false;
        out->notify |= bit;
    } while (more);
    return !(out->notify & DSN_NOTIFY_NEVER) || out->notify == DSN_NOTIFY_NEVER;
}

static bool parse_orcpt(struct slice value, struct smtp_command *out)
{
    out->orcpt = value;
    return value.len <= SMTP_ORCPT_MAX; /* the rest of the check needs to know of SMTPUTF8 */
}

static const struct parameter {
    struct slice keyword;
    enum smtp_parameter bit;
    enum smtp_verb verb;
    enum smtp_command_fault fault;
    bool (*parse)(struct slice value, struct smtp_command *out); /* NULL: it takes no value */
} parameters[] = {
    {SLICE("SIZE"), SMTP_PARAMETER_SIZE, SMTP_VERB_MAIL, SMTP_COMMAND_SIZE, parse_size},
    {SLICE("BODY"), SMTP_PARAMETER_BODY, SMTP_VERB_MAIL, SMTP_COMMAND_BODY, parse_body},
    {SLICE("SMTPUTF8"), SMTP_PARAMETER_SMTPUTF8, SMTP_VERB_MAIL, SMTP_COMMAND_SMTPUTF8, NULL},
    {SLICE("RET"), SMTP_PARAMETER_RET, SMTP_VERB_MAIL, SMTP_COMMAND_RET, parse_ret},
    {SLICE("ENVID"), SMTP_PARAMETER_ENVID, SMTP_VERB_MAIL, SMTP_COMMAND_ENVID, parse_envid},
    {SLICE("AUTH"), SMTP_PARAMETER_AUTH, SMTP_VERB_MAIL, SMTP_COMMAND_AUTH_PARAMETER, parse_auth},
    {SLICE("TRANSID"), SMTP_PARAMETER_TRANSID, SMTP_VERB_MAIL, SMTP_COMMAND_TRANSID, parse_transid},
    {SLICE("XWHOLE"), SMTP_PARAMETER_WHOLE, SMTP_VERB_MAIL, SMTP_COMMAND_TRANSID, NULL},
    {SLICE("NOTIFY"), SMTP_PARAMETER_NOTIFY, SMTP_VERB_RCPT, SMTP_COMMAND_NOTIFY, parse_notify},
    {SLICE("ORCPT"), SMTP_PARAMETER_ORCPT, SMTP_VERB_RCPT, SMTP_COMMAND_ORCPT, parse_orcpt},
};

static const struct parameter *find_parameter(enum smtp_verb verb, struct slice keyword)
{
    for (size_t i = 0; i < sizeof parameters / sizeof *parameters; i++)
        if (parameters[i].verb == verb && slice_equal_nocase(parameters[i].keyword, keyword))
            return &parameters[i];
    return NULL;
}

static enum smtp_command_fault parse_parameter(enum smtp_verb verb, struct slice word, struct smtp_command *out)
{
    struct slice keyword, value;
    bool has_value = slice_cut(word, '=', &keyword, &value);
    const struct parameter *parameter = find_parameter(verb, keyword);
    if (!parameter)
        return SMTP_COMMAND_PARAMETER_UNKNOWN;
    if (out->given & parameter->bit)
        return SMTP_COMMAND_PARAMETER_TWICE;
    out->given |= parameter->bit;
    bool is_sound = parameter->parse ? has_value && parameter->parse(value, out) : !has_value;
    return is_sound ? SMTP_COMMAND_OK : parameter->fault;
}

static enum smtp_command_fault parse_parameters(enum smtp_verb verb, struct slice rest, struct smtp_command *out)
{
    while (rest.len > 0) {
        enum smtp_command_fault fault = parse_parameter(verb, take_word(&rest), out);
        if (fault != SMTP_COMMAND_OK)
            return fault;
    }
    return SMTP_COMMAND_OK;
}

/* ---- MAIL and RCPT ---- */

/* A path in angle brackets, or a bare address up to the next blank, as old scripts and devices send it. *rest: the parameters. */
static enum result parse_path(struct slice in, unsigned flags, struct mail_address *out, struct slice *rest)
{
    size_t used = 0;
    if (in.len > 0 && in.ptr[0] == '<') {
        enum result result = address_parse_path(in, flags, out, &used);
        if (result != RESULT_OK)
            return result;
        *rest = slice_skip(in, used);
        if (rest->len > 0 && !is_blank(rest->ptr[0]))
            return RESULT_SYNTAX;
        *rest = slice_trim(*rest);
        return RESULT_OK;
    }
    *rest = in;
    return address_parse(take_word(rest), flags, out);
}

static enum smtp_command_fault parse_mail(struct slice argument, struct smtp_command *out)
{
    struct slice rest;
    if (!slice_starts_with_nocase(argument, SLICE("FROM:")))
        return SMTP_COMMAND_MAIL;
    argument = slice_trim(slice_skip(argument, 5));
    if (argument.len == 0)
        return SMTP_COMMAND_MAIL;
    enum result parsed = parse_path(argument, ADDRESS_ALLOW_UTF8 | ADDRESS_ALLOW_EMPTY, &out->address, &rest);
    if (parsed != RESULT_OK)
        return parsed == RESULT_LIMIT ? SMTP_COMMAND_SENDER_LONG : SMTP_COMMAND_SENDER;
    enum smtp_command_fault fault = parse_parameters(SMTP_VERB_MAIL, rest, out);
    if (fault != SMTP_COMMAND_OK)
        return fault;
    if ((out->given & SMTP_PARAMETER_WHOLE) && !(out->given & SMTP_PARAMETER_TRANSID))
        return SMTP_COMMAND_TRANSID;
    return out->address.needs_smtputf8 && !(out->given & SMTP_PARAMETER_SMTPUTF8) ? SMTP_COMMAND_UTF8 : SMTP_COMMAND_OK;
}

static enum smtp_command_fault parse_rcpt(struct slice argument, bool is_smtputf8, struct smtp_command *out)
{
    struct slice rest;
    if (!slice_starts_with_nocase(argument, SLICE("TO:")))
        return SMTP_COMMAND_RCPT;
    argument = slice_trim(slice_skip(argument, 3));
    if (argument.len == 0)
        return SMTP_COMMAND_RCPT;
    enum result parsed = parse_path(argument, ADDRESS_ALLOW_UTF8 | ADDRESS_ALLOW_POSTMASTER, &out->address, &rest);
    if (parsed != RESULT_OK)
        return parsed == RESULT_LIMIT ? SMTP_COMMAND_RECIPIENT_LONG : SMTP_COMMAND_RECIPIENT;
    enum smtp_command_fault fault = parse_parameters(SMTP_VERB_RCPT, rest, out);
    if (fault != SMTP_COMMAND_OK)
        return fault;
    if (out->address.needs_smtputf8 && !is_smtputf8)
        return SMTP_COMMAND_UTF8;
    return (out->given & SMTP_PARAMETER_ORCPT) && !orcpt_is_valid(out->orcpt, is_smtputf8) ? SMTP_COMMAND_ORCPT : SMTP_COMMAND_OK;
}

/* ---- the others ---- */

/* RFC 5321 4.1.4 forbids to refuse for a name that does not verify, and clients send the oddest: so only what could not stand in a header
 * line of ours is refused. */
static enum smtp_command_fault parse_helo(struct slice argument, struct smtp_command *out)
{
    out->argument = argument;
    for (size_t i = 0; i < argument.len; i++)
        if (argument.ptr[i] <= ' ' || argument.ptr[i] > '~')
            return SMTP_COMMAND_HELO;
    return argument.len > 0 && argument.len <= SMTP_HELO_MAX ? SMTP_COMMAND_OK : SMTP_COMMAND_HELO;
}

static enum smtp_command_fault parse_bdat(struct slice argument, struct smtp_command *out)
{
    struct slice size = take_word(&argument);
    if (!slice_to_u64(size, INT64_MAX, &out->size_octets))
        return SMTP_COMMAND_BDAT;
    out->is_last = slice_equal_nocase(argument, SLICE("LAST"));
    return out->is_last || argument.len == 0 ? SMTP_COMMAND_OK : SMTP_COMMAND_BDAT;
}

static enum smtp_command_fault parse_auth_command(struct slice argument, struct smtp_command *out)
{
    out->mechanism = take_word(&argument);
    out->initial = argument;
    out->has_initial = argument.len > 0;
    return out->mechanism.len > 0 ? SMTP_COMMAND_OK : SMTP_COMMAND_AUTH;
}

/* What the xtext stands for, its reader judges. */
static enum smtp_command_fault parse_device(struct slice argument, struct smtp_command *out)
{
    out->argument = argument;
    return argument.len > 0 && xtext_is_valid(argument) ? SMTP_COMMAND_OK : SMTP_COMMAND_DEVICE;
}

static enum smtp_command_fault parse_outcome(struct slice argument, struct smtp_command *out)
{
    uint64_t first = 0;
    out->argument = argument;
    out->transid = take_word(&argument);
    bool is_sound = is_transid(out->transid) && (argument.len == 0 || slice_to_u64(argument, UINT32_MAX, &first));
    out->first = (uint32_t)first;
    return is_sound ? SMTP_COMMAND_OK : SMTP_COMMAND_OUTCOME;
}

enum smtp_command_fault smtp_command_parse(enum smtp_verb verb, struct slice argument, bool is_smtputf8, struct smtp_command *out)
{
    memset(out, 0, sizeof *out);
    switch (verb) {
    case SMTP_VERB_HELO:
    case SMTP_VERB_EHLO: return parse_helo(argument, out);
    case SMTP_VERB_MAIL: return parse_mail(argument, out);
    case SMTP_VERB_RCPT: return parse_rcpt(argument, is_smtputf8, out);
    case SMTP_VERB_BDAT: return parse_bdat(argument, out);
    case SMTP_VERB_AUTH: return parse_auth_command(argument, out);
    case SMTP_VERB_XDEVICE: return parse_device(argument, out);
    case SMTP_VERB_XOUTCOME: return parse_outcome(argument, out);
    case SMTP_VERB_VRFY: out->argument = argument; return argument.len > 0 ? SMTP_COMMAND_OK : SMTP_COMMAND_VRFY;
    case SMTP_VERB_DATA:
    case SMTP_VERB_RSET:
    case SMTP_VERB_QUIT:
    case SMTP_VERB_STARTTLS: return argument.len > 0 ? SMTP_COMMAND_NO_ARGUMENT : SMTP_COMMAND_OK;
    case SMTP_VERB_NOOP:
    case SMTP_VERB_HELP:
    case SMTP_VERB_EXPN:
    case SMTP_VERB_OBSOLETE:
    case SMTP_VERB_FOREIGN:
    case SMTP_VERB_UNKNOWN:
    case SMTP_VERBS: break;
    }
    out->argument = argument;
    return SMTP_COMMAND_OK;
}

/* ---- replies ---- */

const struct smtp_reply *smtp_command_fault_reply(enum smtp_command_fault fault)
{
    static const struct smtp_reply replies[SMTP_COMMAND_FAULTS] = {
        [SMTP_COMMAND_NO_ARGUMENT] = SMTP_REPLY_INIT(501, 5, 5, 4, "This command takes no argument"),
        [SMTP_COMMAND_HELO] = SMTP_REPLY_INIT(501, 5, 5, 4, "Name your host: EHLO host.example or EHLO [192.0.2.1]"),
        [SMTP_COMMAND_MAIL] = SMTP_REPLY_INIT(501, 5, 5, 4, "Write MAIL FROM:<sender@domain>, or MAIL FROM:<> for a bounce"),
        [SMTP_COMMAND_RCPT] = SMTP_REPLY_INIT(501, 5, 5, 4, "Write RCPT TO:<recipient@domain>"),
        [SMTP_COMMAND_SENDER] = SMTP_REPLY_INIT(501, 5, 1, 7, "The sender is no address of the form name@domain"),
        [SMTP_COMMAND_SENDER_LONG] = SMTP_REPLY_INIT(501, 5, 1, 7, "The sender's address is too long: 64 octets before the @, 254 in all"),
        [SMTP_COMMAND_RECIPIENT] = SMTP_REPLY_INIT(501, 5, 1, 3, "The recipient is no address of the form name@domain"),
        [SMTP_COMMAND_RECIPIENT_LONG] = SMTP_REPLY_INIT(501, 5, 1, 3, "The recipient's address is too long: 64 octets before the @, 254 in all"),
        [SMTP_COMMAND_UTF8] = SMTP_REPLY_INIT(553, 5, 6, 7, "An address beyond ASCII needs SMTPUTF8 behind MAIL FROM:<...>"),
        [SMTP_COMMAND_PARAMETER_UNKNOWN] = SMTP_REPLY_INIT(555, 5, 5, 4, "A parameter behind the address is not known here; EHLO lists what is"),
        [SMTP_COMMAND_PARAMETER_TWICE] = SMTP_REPLY_INIT(501, 5, 5, 4, "A parameter was given twice"),
        [SMTP_COMMAND_SIZE] = SMTP_REPLY_INIT(501, 5, 5, 4, "SIZE= wants up to 20 decimal digits"),
        [SMTP_COMMAND_BODY] = SMTP_REPLY_INIT(501, 5, 5, 4, "BODY= is 7BIT, 8BITMIME or BINARYMIME"),
        [SMTP_COMMAND_SMTPUTF8] = SMTP_REPLY_INIT(501, 5, 5, 4, "SMTPUTF8 takes no value"),
        [SMTP_COMMAND_RET] = SMTP_REPLY_INIT(501, 5, 5, 4, "RET= is FULL or HDRS"),
        [SMTP_COMMAND_ENVID] = SMTP_REPLY_INIT(501, 5, 5, 4, "ENVID= wants 1 to 100 octets of xtext (RFC 3461)"),
        [SMTP_COMMAND_AUTH_PARAMETER] = SMTP_REPLY_INIT(501, 5, 5, 4, "AUTH= wants an address in xtext, or <>"),
        [SMTP_COMMAND_NOTIFY] = SMTP_REPLY_INIT(501, 5, 5, 4, "NOTIFY= is NEVER, or a list of SUCCESS, FAILURE, DELAY"),
        [SMTP_COMMAND_ORCPT] = SMTP_REPLY_INIT(501, 5, 5, 4, "ORCPT= wants rfc822; and an address in xtext (RFC 3461)"),
        [SMTP_COMMAND_VRFY] = SMTP_REPLY_INIT(501, 5, 5, 4, "Write VRFY name"),
        [SMTP_COMMAND_BDAT] = SMTP_REPLY_INIT(501, 5, 5, 4, "Write BDAT octets, or BDAT octets LAST; closing, as the rest cannot be told from commands"),
        [SMTP_COMMAND_AUTH] = SMTP_REPLY_INIT(501, 5, 5, 4, "Write AUTH mechanism, and the initial response in base64 if there is one"),
        [SMTP_COMMAND_DEVICE] = SMTP_REPLY_INIT(501, 5, 5, 4, "Write XDEVICE and a label in xtext: 1 to 64 octets of UTF-8, no controls"),
        [SMTP_COMMAND_TRANSID] = SMTP_REPLY_INIT(501, 5, 5, 4, "Write TRANSID=<local@domain>, at most 80 octets (RFC 1845); XWHOLE only beside it, and without a value"),
        [SMTP_COMMAND_OUTCOME] = SMTP_REPLY_INIT(501, 5, 5, 4, "Write XOUTCOME <local@domain>, and perhaps the number of the recipient to begin with"),
    };
    assert(fault < SMTP_COMMAND_FAULTS);
    return fault == SMTP_COMMAND_OK ? NULL : &replies[fault];
}
