#include "path/network.h"

#include <stdlib.h>
#include <string.h>

/* From the best that can be said of a port to the worst. A port with several paths is told by its best; so is a proxy. */
static const struct verb {
    enum path_verdict verdict;
    const char *before, *after; /* around the list of ports */
    const char *of_proxy;       /* "has the proxy 10.0.0.1:3128, which ..." */
} verbs[] = {
    {PATH_OPEN, "lets ", " through", "lets us through"},
    {PATH_RELAY_REFUSED, "reaches the relay on ", ", which refuses us", "reaches the relay, where we are refused"},
    {PATH_DIED_EARLY, "cuts ", " off after a while", "cuts us off after a while"},
    {PATH_WRONG_CERTIFICATE, "answers ", " with a stranger's certificate", "shows a stranger's certificate"},
    {PATH_STARTTLS_MISSING, "takes encryption away on ", "", "takes encryption away"},
    {PATH_HTTP, "answers ", " with a web page", "answers with a web page"},
    {PATH_FOREIGN_BANNER, "answers ", " in the relay's place", "answers in the relay's place"},
    {PATH_TLS_FAILED, "breaks encryption on ", "", "breaks encryption"},
    {PATH_PROXY_REFUSED, "has a proxy that refuses ", "", "does not let us through"},
    {PATH_REFUSED, "refuses ", "", "refuses the connection"},
    {PATH_DROPPED, "drops ", "", "does not answer"},
    {PATH_UNREACHABLE, "has no route for ", "", "cannot be reached"},
    {PATH_DNS, "does not resolve the relay's name for ", "", "does not find the relay"},
};
enum { NVERBS = sizeof verbs / sizeof *verbs, SUBJECTS_MAX = 48, WHOSE_MAX = 64 };

/* A direct port, or a proxy. */
struct subject {
    enum path_via via;
    struct path_proxy proxy;
    uint16_t port;     /* 0: a proxy, with whatever behind it */
    size_t rank;       /* index in verbs */
    const char *whose; /* of the path that gave it its rank */
};

struct subjects {
    struct subject items[SUBJECTS_MAX];
    size_t n;
};

const char *network_state_name(enum network_state state)
{
    switch (state) {
    case NETWORK_OFFLINE: return "offline";
    case NETWORK_CAPTIVE: return "captive";
    case NETWORK_BLOCKED: return "blocked";
    case NETWORK_ONLINE: return "online";
    }
    return "unknown";
}

/* ---- the state ---------------------------------------------------------------------------------------------------- */

/* No session now, but an open way was found: it is what the next message takes. */
static const struct path *open_way(const struct network_facts *facts)
{
    for (size_t i = 0; i < facts->n; i++)
        if (facts->trials[i].verdict == PATH_OPEN)
            return &facts->trials[i].path;
    return NULL;
}

/* What a proxy answers is its own affair. */
static bool is_portal(const struct network_trial *trial)
{
    return trial->path.via == PATH_DIRECT && (trial->verdict == PATH_HTTP || trial->verdict == PATH_FOREIGN_BANNER);
}

static bool is_sign_of_life(enum path_verdict verdict)
{
    return verdict != PATH_UNTRIED && verdict != PATH_UNREACHABLE && verdict != PATH_DNS;
}

enum network_state network_conclude(const struct network_facts *facts)
{
    enum network_state state = NETWORK_OFFLINE;
    if (facts->is_down)
        return NETWORK_OFFLINE;
    if (open_way(facts))
        return NETWORK_ONLINE;
    if (facts->probe == NETWORK_PROBE_CAPTIVE || facts->probe == NETWORK_PROBE_CLEAR)
        return facts->probe == NETWORK_PROBE_CAPTIVE ? NETWORK_CAPTIVE : NETWORK_BLOCKED;
    for (size_t i = 0; i < facts->n; i++) {
        if (is_portal(&facts->trials[i]))
            return NETWORK_CAPTIVE;
        if (is_sign_of_life(facts->trials[i].verdict))
            state = NETWORK_BLOCKED;
    }
    return state;
}

/* ---- ports and proxies -------------------------------------------------------------------------------------------- */

static size_t rank_of(enum path_verdict verdict)
{
    for (size_t i = 0; i < NVERBS; i++)
        if (verbs[i].verdict == verdict)
            return i;
    return NVERBS;
}

static struct subject subject_of(const struct network_trial *trial)
{
    const struct path *path = &trial->path;
    struct subject subject = {.via = path->via, .rank = rank_of(trial->verdict), .whose = trial->whose};
    if (path->via == PATH_DIRECT)
        subject.port = path->port;
    else
        subject.proxy = path->proxy;
    return subject;
}

static bool is_same(const struct subject *a, const struct subject *b)
{
    return a->via == b->via && a->port == b->port && a->proxy.port == b->proxy.port && path_address_equal(&a->proxy.address, &b->proxy.address);
}

/* Ports in rising order; proxies before them, as they come. */
static int by_port(const void *a, const void *b)
{
    const struct subject *one = a, *other = b;
    return one->port != other->port ? (int)one->port - (int)other->port : memcmp(&one->proxy.address.octets, &other->proxy.address.octets, sizeof one->proxy.address.octets);
}

/* Each with the best that any of its paths came to. */
static void collect(const struct network_facts *facts, struct subjects *out)
{
    out->n = 0;
    for (size_t i = 0; i < facts->n; i++) {
        const struct subject subject = subject_of(&facts->trials[i]);
        size_t at = 0;
        if (subject.rank == NVERBS)
            continue;
        while (at < out->n && !is_same(&out->items[at], &subject))
            at++;
        if (at == out->n && out->n == SUBJECTS_MAX)
            continue;
        if (at == out->n)
            out->items[out->n++] = subject;
        else if (subject.rank < out->items[at].rank)
            out->items[at] = subject;
    }
    qsort(out->items, out->n, sizeof *out->items, by_port);
}

/* ---- the sentence ------------------------------------------------------------------------------------------------- */

/* A text under construction; after a failure nothing is added any more. */
struct sentence {
    struct buffer *out;
    enum result result;
    size_t nclauses;
};

static void say(struct sentence *sentence, const char *text)
{
    if (sentence->result == RESULT_OK)
        sentence->result = buffer_append_cstr(sentence->out, text);
}

static void say_number(struct sentence *sentence, unsigned number)
{
    if (sentence->result == RESULT_OK)
        sentence->result = buffer_printf(sentence->out, "%u", number);
}

/* From outside: what is not printable ASCII is masked, and it is cut. */
static void say_foreign(struct sentence *sentence, const char *text)
{
    char safe[WHOSE_MAX + 1];
    size_t n = 0;
    for (; n < WHOSE_MAX && text[n]; n++)
        safe[n] = text[n];
    safe[n] = '\0';
    for (size_t i = 0; i < n; i++)
        if (safe[i] < 0x20 || safe[i] > 0x7e)
            safe[i] = '?';
    say(sentence, safe);
}

static void say_proxy(struct sentence *sentence, const struct path_proxy *proxy)
{
    char address[64];
    bool is_v6 = proxy->address.family == 6;
    path_address_format(&proxy->address, address, sizeof address);
    say(sentence, "the proxy ");
    say(sentence, is_v6 ? "[" : "");
    say(sentence, address);
    say(sentence, is_v6 ? "]:" : ":");
    say_number(sentence, proxy->port);
}

static void begin_clause(struct sentence *sentence)
{
    say(sentence, sentence->nclauses++ ? ", " : "This network ");
}

/* The one name in all those certificates, or NULL. */
static const char *common_name(const struct subjects *subjects, size_t rank)
{
    const char *name = NULL;
    for (size_t i = 0; i < subjects->n; i++) {
        const struct subject *subject = &subjects->items[i];
        if (subject->rank != rank || subject->port == 0)
            continue;
        if (!subject->whose || (name && strcmp(name, subject->whose) != 0))
            return NULL;
        name = subject->whose;
    }
    return name;
}

static void say_ports(struct sentence *sentence, const struct subjects *subjects, size_t rank)
{
    size_t count = 0, said = 0;
    for (size_t i = 0; i < subjects->n; i++)
        count += subjects->items[i].rank == rank && subjects->items[i].port != 0;
    if (count == 0)
        return;
    begin_clause(sentence);
    say(sentence, verbs[rank].before);
    for (size_t i = 0; i < subjects->n; i++) {
        if (subjects->items[i].rank != rank || subjects->items[i].port == 0)
            continue;
        said++;
        say(sentence, said == 1 ? "" : said == count ? " and " : ", ");
        say_number(sentence, subjects->items[i].port);
    }
    const char *whose = verbs[rank].verdict == PATH_WRONG_CERTIFICATE ? common_name(subjects, rank) : NULL;
    say(sentence, whose ? " with the certificate of " : verbs[rank].after);
    if (whose)
        say_foreign(sentence, whose);
}

static void say_proxies(struct sentence *sentence, const struct subjects *subjects)
{
    for (size_t i = 0; i < subjects->n; i++) {
        const struct subject *subject = &subjects->items[i];
        if (subject->port != 0 || verbs[subject->rank].verdict == PATH_OPEN)
            continue;
        begin_clause(sentence);
        say(sentence, "has ");
        say_proxy(sentence, &subject->proxy);
        say(sentence, ", which ");
        say(sentence, verbs[subject->rank].of_proxy);
    }
}

static void say_way(struct sentence *sentence, const struct path *path)
{
    say_number(sentence, path->port);
    if (path->via == PATH_DIRECT)
        return;
    say(sentence, " through ");
    say_proxy(sentence, &path->proxy);
}

static void say_end(struct sentence *sentence, const struct network_facts *facts, const struct path *used)
{
    const struct path *open = open_way(facts);
    if (used || open) {
        say(sentence, used ? sentence->nclauses ? "; using " : "The relay is reached over " : sentence->nclauses ? "; the relay was reached over " : "The relay was reached over ");
        say_way(sentence, used ? used : open);
        say(sentence, ".");
    } else if (facts->probe == NETWORK_PROBE_CAPTIVE) {
        say(sentence, "; no way to the relay is open before you have logged in there.");
    } else {
        say(sentence, sentence->nclauses ? "; no way to the relay is open." : "No way to the relay has been tried yet.");
    }
}

enum result network_describe(const struct network_facts *facts, const struct path *used, struct buffer *out)
{
    struct subjects subjects;
    struct sentence sentence = {.out = out};
    if (facts->is_down)
        return buffer_append_cstr(out, "There is no network.");
    collect(facts, &subjects);
    if (facts->probe == NETWORK_PROBE_CAPTIVE && !used && !open_way(facts)) {
        begin_clause(&sentence);
        say(&sentence, "shows a web page of its own in the relay's place");
    }
    /* The worst first. Ports that are open are not an obstacle: the end of the sentence names the one in use. */
    for (size_t rank = NVERBS; rank-- > 1;)
        say_ports(&sentence, &subjects, rank);
    say_proxies(&sentence, &subjects);
    say_end(&sentence, facts, used);
    return sentence.result;
}

/* ---- two lines for the reception ---------------------------------------------------------------------------------- */

static bool has_verdict(const struct network_facts *facts, enum path_verdict verdict)
{
    for (size_t i = 0; i < facts->n; i++)
        if (facts->trials[i].verdict == verdict)
            return true;
    return false;
}

/* The first two TLS ports that were tried: nothing can be stripped there. Else the first two of all. */
static size_t ports_to_ask_for(const struct network_facts *facts, uint16_t out[static 2])
{
    size_t n = 0;
    for (int mode = PATH_TLS; mode <= PATH_STARTTLS && n == 0; mode++)
        for (size_t i = 0; i < facts->n && n < 2; i++) {
            const struct path *path = &facts->trials[i].path;
            if ((int)path->mode == mode && (n == 0 || out[0] != path->port))
                out[n++] = path->port;
        }
    return n;
}

static void ask_for_ports(struct sentence *sentence, const struct network_facts *facts, const char *relay, bool is_inspected)
{
    uint16_t ports[2] = {465, 443};
    size_t n = ports_to_ask_for(facts, ports);
    say(sentence, is_inspected ? "Please let TCP port " : "Please open TCP port ");
    say_number(sentence, ports[0]);
    if (n != 1) {
        say(sentence, " or ");
        say_number(sentence, ports[1]);
    }
    say(sentence, " to ");
    say(sentence, relay);
    say(sentence, is_inspected ? " through without inspection.\n" : ".\n");
}

static void summarize_blocked(struct sentence *sentence, const struct network_facts *facts, const char *relay)
{
    if (has_verdict(facts, PATH_RELAY_REFUSED)) {
        say(sentence, "The network lets mail through, but ");
        say(sentence, relay);
        say(sentence, " itself refuses it.\nPlease ask whoever runs ");
        say(sentence, relay);
        say(sentence, "; the network is not at fault.\n");
        return;
    }
    bool is_inspected = has_verdict(facts, PATH_WRONG_CERTIFICATE);
    say(sentence, is_inspected ? "Something on this network opens encrypted connections to " : "This network lets no mail through to ");
    say(sentence, relay);
    say(sentence, is_inspected ? ", so mail is held back.\n" : ".\n");
    ask_for_ports(sentence, facts, relay, is_inspected);
}

static void summarize_offline(struct sentence *sentence, const struct network_facts *facts, const char *relay)
{
    if (!facts->is_down && has_verdict(facts, PATH_DNS)) {
        say(sentence, "This network does not find the name ");
        say(sentence, relay);
        say(sentence, ".\nPlease check that the network is connected to the Internet and resolves names.\n");
        return;
    }
    say(sentence, "This computer has no connection to the Internet here.\nPlease check the cable, or the Wi-Fi and its password.\n");
}

enum result network_summary(const struct network_facts *facts, struct slice relay_host, struct buffer *out)
{
    struct sentence sentence = {.out = out};
    char relay[256];
    if (!slice_to_cstr(relay_host, relay, sizeof relay))
        return RESULT_LIMIT;
    switch (network_conclude(facts)) {
    case NETWORK_ONLINE:
        say(&sentence, "Mail gets through on this network, over port ");
        say_way(&sentence, open_way(facts));
        say(&sentence, ".\nNothing needs to be done.\n");
        break;
    case NETWORK_CAPTIVE:
        say(&sentence, "This network shows its login page instead of letting mail through.\nPlease log in on the network's web page first.\n");
        break;
    case NETWORK_BLOCKED:
        summarize_blocked(&sentence, facts, relay);
        break;
    case NETWORK_OFFLINE:
        summarize_offline(&sentence, facts, relay);
        break;
    }
    return sentence.result;
}
