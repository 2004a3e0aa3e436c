#include "path/network_internal.h"

#include <stdlib.h>
#include <string.h>

/* From the best that can be said of a port to the worst. A port with several paths is told by its best; so is a proxy. */
static const struct verb {
    enum path_verdict verdict;
    bool is_brief;
    const char *before, *after; /* around "port 25" or "ports 25 and 587"; after NULL: it is not about ports */
    const char *of_proxy;       /* "has the proxy 10.0.0.1:3128, which ..." */
} verbs[] = {
    {PATH_OPEN, false, "lets ", " through", "lets us through"},
    {PATH_RELAY_REFUSED, false, "reaches the relay on ", ", where we are refused", "reaches the relay, where we are refused"},
    {PATH_DIED_EARLY, false, "cuts ", " off after a while", "cuts us off after a while"},
    {PATH_WRONG_CERTIFICATE, false, "answers ", " with a stranger's certificate", "shows a stranger's certificate"},
    {PATH_STARTTLS_MISSING, false, "takes encryption away on ", "", "takes encryption away"},
    {PATH_HTTP, false, "answers ", " with a web page", "answers with a web page"},
    {PATH_FOREIGN_BANNER, false, "answers ", " in the relay's place", "answers in the relay's place"},
    {PATH_DIED_EARLY, true, "cuts ", " off at once", "cuts us off at once"},
    {PATH_TLS_FAILED, false, "lets no encryption begin on ", "", "lets no encryption begin"},
    {PATH_PROXY_REFUSED, false, "has a proxy that refuses ", "", "does not let us through"},
    {PATH_REFUSED, false, "refuses ", "", "refuses the connection"},
    {PATH_DROPPED, false, "drops ", "", "does not answer"},
    {PATH_UNREACHABLE, false, "does not reach the relay on ", "", "cannot be reached"},
    {PATH_DNS, false, "does not find the relay's name", NULL, "does not find the relay"},
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
const struct path *network_open_way(const struct network_facts *facts)
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
    if (network_open_way(facts))
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

/* What answers at all is a stranger by its key, and the relay itself has not been heard elsewhere: its challenge is signed by the key that is expected. */
bool network_is_key_strange(const struct network_facts *facts)
{
    bool has_stranger = false;
    for (size_t i = 0; i < facts->n; i++)
        switch (facts->trials[i].verdict) {
        case PATH_WRONG_CERTIFICATE:
            has_stranger = true;
            break;
        case PATH_UNTRIED:
        case PATH_DROPPED:
        case PATH_REFUSED:
        case PATH_UNREACHABLE:
        case PATH_DNS:
        case PATH_TLS_FAILED:
        case PATH_PROXY_REFUSED:
            break;
        case PATH_OPEN:
        case PATH_FOREIGN_BANNER:
        case PATH_HTTP:
        case PATH_STARTTLS_MISSING:
        case PATH_DIED_EARLY:
        case PATH_RELAY_REFUSED:
            return false;
        }
    return has_stranger && facts->probe != NETWORK_PROBE_CLEAR && !facts->is_resolver_lying;
}

/* ---- ports and proxies -------------------------------------------------------------------------------------------- */

static size_t rank_of(enum path_verdict verdict, bool is_brief)
{
    for (size_t i = 0; i < NVERBS; i++)
        if (verbs[i].verdict == verdict && verbs[i].is_brief == (is_brief && verdict == PATH_DIED_EARLY))
            return i;
    return NVERBS;
}

static struct subject subject_of(const struct network_trial *trial)
{
    const struct path *path = &trial->path;
    struct subject subject = {.via = path->via, .rank = rank_of(trial->verdict, trial->is_brief), .whose = trial->whose};
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

void sentence_say(struct sentence *sentence, const char *text)
{
    if (sentence->result == RESULT_OK)
        sentence->result = buffer_append_cstr(sentence->out, text);
}

void sentence_say_number(struct sentence *sentence, unsigned number)
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
    sentence_say(sentence, safe);
}

static void say_proxy(struct sentence *sentence, const struct path_proxy *proxy)
{
    char address[64];
    bool is_v6 = proxy->address.family == 6;
    path_address_format(&proxy->address, address, sizeof address);
    sentence_say(sentence, "the proxy ");
    sentence_say(sentence, is_v6 ? "[" : "");
    sentence_say(sentence, address);
    sentence_say(sentence, is_v6 ? "]:" : ":");
    sentence_say_number(sentence, proxy->port);
}

static void begin_clause(struct sentence *sentence)
{
    sentence_say(sentence, sentence->nclauses++ ? ", " : "This network ");
}

/* Behind the clauses, or instead of them: the latter begins the sentence. */
static void begin_end(struct sentence *sentence, const char *behind, const char *alone)
{
    sentence_say(sentence, sentence->nclauses ? behind : alone);
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

/* "port 25", "ports 25 and 587". How many. */
static size_t say_port_list(struct sentence *sentence, const struct subjects *subjects, size_t rank)
{
    size_t count = 0, said = 0;
    for (size_t i = 0; i < subjects->n; i++)
        count += subjects->items[i].rank == rank && subjects->items[i].port != 0;
    if (count > 0)
        sentence_say(sentence, count == 1 ? "port " : "ports ");
    for (size_t i = 0; i < subjects->n; i++) {
        if (subjects->items[i].rank != rank || subjects->items[i].port == 0)
            continue;
        said++;
        sentence_say(sentence, said == 1 ? "" : said == count ? " and " : ", ");
        sentence_say_number(sentence, subjects->items[i].port);
    }
    return count;
}

static bool has_port(const struct subjects *subjects, size_t rank)
{
    for (size_t i = 0; i < subjects->n; i++)
        if (subjects->items[i].rank == rank && subjects->items[i].port != 0)
            return true;
    return false;
}

static void say_ports(struct sentence *sentence, const struct subjects *subjects, size_t rank)
{
    if (!has_port(subjects, rank))
        return;
    begin_clause(sentence);
    sentence_say(sentence, verbs[rank].before);
    if (!verbs[rank].after)
        return;
    say_port_list(sentence, subjects, rank);
    const char *whose = verbs[rank].verdict == PATH_WRONG_CERTIFICATE ? common_name(subjects, rank) : NULL;
    sentence_say(sentence, whose ? " with the certificate of " : verbs[rank].after);
    if (whose)
        say_foreign(sentence, whose);
}

static bool is_obstacle(const struct subject *subject)
{
    return subject->port == 0 && verbs[subject->rank].verdict != PATH_OPEN;
}

/* "has the proxy 10.0.0.1:3128, which does not let us through, and the proxy 10.0.0.2:3128, which cannot be reached" */
static void say_proxies(struct sentence *sentence, const struct subjects *subjects)
{
    size_t count = 0, said = 0;
    for (size_t i = 0; i < subjects->n; i++)
        count += is_obstacle(&subjects->items[i]);
    for (size_t i = 0; i < subjects->n; i++) {
        if (!is_obstacle(&subjects->items[i]))
            continue;
        if (++said == 1)
            begin_clause(sentence);
        sentence_say(sentence, said == 1 ? "has " : said == count ? ", and " : ", ");
        say_proxy(sentence, &subjects->items[i].proxy);
        sentence_say(sentence, ", which ");
        sentence_say(sentence, verbs[subjects->items[i].rank].of_proxy);
    }
}

static void say_missing_proxy(struct sentence *sentence, const struct network_facts *facts)
{
    if (!facts->missing_proxy || facts->n == 0)
        return;
    begin_clause(sentence);
    sentence_say(sentence, "does not find the proxy ");
    say_foreign(sentence, facts->missing_proxy);
}

void sentence_say_way(struct sentence *sentence, const struct path *path)
{
    sentence_say(sentence, "port ");
    sentence_say_number(sentence, path->port);
    if (path->via == PATH_DIRECT)
        return;
    sentence_say(sentence, " through ");
    say_proxy(sentence, &path->proxy);
}

/* The way in use, or the one that was found. */
static void say_reached(struct sentence *sentence, const struct network_facts *facts, const struct path *used)
{
    if (used)
        begin_end(sentence, "; using ", "The relay is reached over ");
    else
        begin_end(sentence, "; the relay was reached over ", "The relay was reached over ");
    sentence_say_way(sentence, used ? used : network_open_way(facts));
    if (!used && facts->reached_when) {
        sentence_say(sentence, " ");
        sentence_say(sentence, facts->reached_when);
    }
    sentence_say(sentence, ".");
}

static void say_end(struct sentence *sentence, const struct network_facts *facts, const struct subjects *subjects, const struct path *used)
{
    size_t refusing = rank_of(PATH_RELAY_REFUSED, false);
    if (used || network_open_way(facts)) {
        say_reached(sentence, facts, used);
    } else if (has_port(subjects, refusing)) {
        begin_end(sentence, "; the relay is reached over ", "The relay is reached over ");
        say_port_list(sentence, subjects, refusing);
        sentence_say(sentence, facts->is_login_refused ? " and refuses the login." : " and refuses us.");
    } else if (!sentence->nclauses) {
        sentence_say(sentence, "No way to the relay has been tried yet.");
    } else if (network_conclude(facts) == NETWORK_CAPTIVE) {
        sentence_say(sentence, "; no way to the relay is open before you have logged in to this network.");
    } else if (network_is_key_strange(facts)) {
        sentence_say(sentence, facts->is_pinned ? "; so either the relay has a new key, or this network intercepts." : "; so either the relay's certificate is not good, or this network intercepts.");
    } else {
        sentence_say(sentence, "; no way to the relay is open.");
    }
}

enum result network_describe(const struct network_facts *facts, const struct path *used, struct buffer *out)
{
    struct subjects subjects;
    struct sentence sentence = {.out = out};
    if (facts->is_down)
        return buffer_append_cstr(out, "There is no network.");
    collect(facts, &subjects);
    bool is_reached = used || network_open_way(facts);
    if (facts->probe == NETWORK_PROBE_CAPTIVE && !is_reached) {
        begin_clause(&sentence);
        sentence_say(&sentence, "shows a web page of its own in the relay's place");
    }
    if (facts->is_resolver_lying) {
        begin_clause(&sentence);
        sentence_say(&sentence, "gives a false address for the relay");
    }
    /* The worst first. Ports that are open are not an obstacle: the end of the sentence names the one in use; those where the relay refuses us stand there when there is no better. */
    for (size_t rank = NVERBS; rank-- > 1;)
        if (is_reached || verbs[rank].verdict != PATH_RELAY_REFUSED)
            say_ports(&sentence, &subjects, rank);
    say_proxies(&sentence, &subjects);
    say_missing_proxy(&sentence, facts);
    say_end(&sentence, facts, &subjects, used);
    return sentence.result;
}
