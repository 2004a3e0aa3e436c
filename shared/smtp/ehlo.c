#include "smtp/ehlo.h"

static const struct {
    struct slice keyword;
    unsigned capability;
} KEYWORDS[] = {
    {SLICE("PIPELINING"), SMTP_CAP_PIPELINING}, {SLICE("SIZE"), SMTP_CAP_SIZE},
    {SLICE("8BITMIME"), SMTP_CAP_8BITMIME},     {SLICE("SMTPUTF8"), SMTP_CAP_SMTPUTF8},
    {SLICE("DSN"), SMTP_CAP_DSN},               {SLICE("ENHANCEDSTATUSCODES"), SMTP_CAP_ENHANCEDSTATUSCODES},
    {SLICE("CHUNKING"), SMTP_CAP_CHUNKING},     {SLICE("BINARYMIME"), SMTP_CAP_BINARYMIME},
    {SLICE("STARTTLS"), SMTP_CAP_STARTTLS},     {SLICE("AUTH"), SMTP_CAP_AUTH},
    {SLICE("LIMITS"), SMTP_CAP_LIMITS},         {SLICE("PIPECONNECT"), SMTP_CAP_PIPECONNECT},
    {SLICE("XDEVICE"), SMTP_CAP_XDEVICE},       {SLICE("XWAYS"), SMTP_CAP_XWAYS},
    {SLICE("CHECKPOINT"), SMTP_CAP_CHECKPOINT}, {SLICE("XOUTCOME"), SMTP_CAP_XOUTCOME},
};

static unsigned capability_of(struct slice keyword)
{
    for (size_t i = 0; i < sizeof KEYWORDS / sizeof *KEYWORDS; i++)
        if (slice_equal_nocase(keyword, KEYWORDS[i].keyword))
            return KEYWORDS[i].capability;
    return 0;
}

/* The next word of *rest, which is empty at the end. */
static struct slice take_word(struct slice *rest)
{
    struct slice word;
    *rest = slice_trim(*rest);
    slice_cut(*rest, ' ', &word, rest);
    return slice_trim(word);
}

static void parse_mechanisms(struct slice rest, struct smtp_peer *peer)
{
    for (struct slice word = take_word(&rest); word.len > 0; word = take_word(&rest))
        peer->mechanisms |= (unsigned)sasl_mechanism_parse(word);
}

/* RFC 9422 4: "LIMITS RCPTMAX=20 MAILMAX=5". */
static void parse_limits(struct slice rest, struct smtp_peer *peer)
{
    for (struct slice word = take_word(&rest); word.len > 0; word = take_word(&rest)) {
        struct slice name, number;
        uint64_t value;
        if (!slice_cut(word, '=', &name, &number) || !slice_to_u64(number, UINT64_MAX, &value))
            continue;
        if (slice_equal_nocase(name, SLICE("RCPTMAX")))
            peer->nrcpt_max = value;
        else if (slice_equal_nocase(name, SLICE("MAILMAX")))
            peer->transactions_max = value;
    }
}

/* As they stand, as many whole words as SMTP_WAYS_MAX holds: half a word could be another way. */
static struct slice take_ways(struct slice rest)
{
    rest = slice_trim(rest);
    if (rest.len <= SMTP_WAYS_MAX)
        return rest;
    ptrdiff_t end = slice_find_last(slice_take(rest, SMTP_WAYS_MAX + 1), ' ');
    return slice_trim(slice_take(rest, end < 0 ? 0 : (size_t)end));
}

static bool is_epoch(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        char lower = (char)(s.ptr[i] | 0x20);
        if (!(s.ptr[i] >= '0' && s.ptr[i] <= '9') && !(lower >= 'a' && lower <= 'z'))
            return false;
    }
    return s.len > 0 && s.len <= SMTP_EPOCH_MAX;
}

/* "XOUTCOME epoch seconds" (schema/link.md). What can't be understood is as if it were not offered: how long a question makes sense would be unknown. */
static void parse_outcome(struct slice rest, struct smtp_peer *peer)
{
    struct slice epoch = take_word(&rest), seconds = take_word(&rest);
    uint64_t value;
    bool is_right = is_epoch(epoch) && slice_to_u64(seconds, UINT64_MAX, &value) && rest.len == 0;
    peer->epoch = is_right ? epoch : (struct slice){0};
    peer->outcome_s = is_right ? value : 0;
    if (!is_right)
        peer->capabilities &= ~(unsigned)SMTP_CAP_XOUTCOME;
}

/* Firewalls that "inspect" SMTP overwrite what they do not want with as many X (Cisco PIX and ASA: XXXXXXXX, XXXXXXXA) or stars,
 * so that no checksum of lengths has to change. */
static bool is_masked(struct slice keyword)
{
    if (keyword.len != SLICE("STARTTLS").len)
        return false;
    for (size_t i = 1; i + 1 < keyword.len; i++)
        if (keyword.ptr[i] != keyword.ptr[0])
            return false;
    return true;
}

static void parse_line(struct slice line, struct smtp_peer *peer, bool *is_starttls_masked)
{
    struct slice keyword = take_word(&line);
    if (slice_starts_with_nocase(keyword, SLICE("AUTH="))) {
        parse_mechanisms(slice_skip(keyword, 5), peer);
        keyword = slice_take(keyword, 4);
    }
    unsigned capability = capability_of(keyword);
    peer->capabilities |= capability;
    if (capability == SMTP_CAP_AUTH)
        parse_mechanisms(line, peer);
    else if (capability == SMTP_CAP_LIMITS)
        parse_limits(line, peer);
    else if (capability == SMTP_CAP_XWAYS)
        peer->ways = take_ways(line);
    else if (capability == SMTP_CAP_XOUTCOME)
        parse_outcome(line, peer);
    else if (capability == SMTP_CAP_SIZE && !slice_to_u64(slice_trim(line), UINT64_MAX, &peer->size_max_octets))
        peer->size_max_octets = 0;
    if (is_masked(keyword))
        *is_starttls_masked = true;
}

void smtp_ehlo_parse(struct slice text, struct smtp_peer *peer, bool *is_starttls_masked)
{
    struct slice line;
    bool is_masked_here = false;

    *peer = (struct smtp_peer){0};
    bool has_more = slice_cut(text, '\n', &line, &text);
    peer->name = take_word(&line);
    while (has_more) {
        has_more = slice_cut(text, '\n', &line, &text);
        parse_line(line, peer, &is_masked_here);
    }
    if (is_starttls_masked)
        *is_starttls_masked = is_masked_here && !(peer->capabilities & SMTP_CAP_STARTTLS);
}
