#include "path/network.h"

#include <stdlib.h>
#include <string.h>

/* From the best that can be said of a port to the worst. A port with several addresses is told by its best. */
static const struct verb {
    enum path_verdict verdict;
    const char *before, *after; /* around the list of ports */
} verbs[] = {
    {PATH_OPEN, "lets ", " through"},
    {PATH_RELAY_REFUSED, "reaches the relay on ", ", which refuses us"},
    {PATH_DIED_EARLY, "cuts ", " off after a while"},
    {PATH_WRONG_CERTIFICATE, "answers ", " with a stranger's certificate"},
    {PATH_STARTTLS_MISSING, "takes encryption away on ", ""},
    {PATH_HTTP, "answers ", " with a web page"},
    {PATH_FOREIGN_BANNER, "answers ", " in the relay's place"},
    {PATH_TLS_FAILED, "breaks encryption on ", ""},
    {PATH_PROXY_REFUSED, "has a proxy that refuses ", ""},
    {PATH_REFUSED, "refuses ", ""},
    {PATH_DROPPED, "drops ", ""},
    {PATH_UNREACHABLE, "has no route for ", ""},
    {PATH_DNS, "does not resolve the relay's name for ", ""},
};
enum { NVERBS = sizeof verbs / sizeof *verbs, PORTS_MAX = 32 };

struct port_verdict {
    uint16_t port;
    size_t rank; /* index in verbs */
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

static bool has_any(const struct network_trial *trials, size_t n, enum path_verdict a, enum path_verdict b)
{
    for (size_t i = 0; i < n; i++)
        if (trials[i].verdict == a || trials[i].verdict == b)
            return true;
    return false;
}

enum network_state network_conclude(const struct network_trial *trials, size_t n)
{
    bool is_somewhere = false;
    if (has_any(trials, n, PATH_OPEN, PATH_OPEN))
        return NETWORK_ONLINE;
    if (has_any(trials, n, PATH_HTTP, PATH_FOREIGN_BANNER))
        return NETWORK_CAPTIVE;
    for (size_t i = 0; i < n; i++) {
        enum path_verdict v = trials[i].verdict;
        if (v != PATH_UNTRIED && v != PATH_UNREACHABLE && v != PATH_DNS)
            is_somewhere = true;
    }
    return is_somewhere ? NETWORK_BLOCKED : NETWORK_OFFLINE;
}

static size_t rank_of(enum path_verdict verdict)
{
    for (size_t i = 0; i < NVERBS; i++)
        if (verbs[i].verdict == verdict)
            return i;
    return NVERBS;
}

static int by_port(const void *a, const void *b)
{
    return (int)((const struct port_verdict *)a)->port - (int)((const struct port_verdict *)b)->port;
}

/* One row a port, with the best that any of its paths came to. */
static size_t best_of_ports(const struct network_trial *trials, size_t n, struct port_verdict out[static PORTS_MAX])
{
    size_t nports = 0;
    for (size_t i = 0; i < n; i++) {
        size_t rank = rank_of(trials[i].verdict), at = 0;
        if (rank == NVERBS)
            continue;
        while (at < nports && out[at].port != trials[i].path.port)
            at++;
        if (at == nports && nports == PORTS_MAX)
            continue;
        if (at == nports)
            out[nports++] = (struct port_verdict){trials[i].path.port, rank};
        else if (rank < out[at].rank)
            out[at].rank = rank;
    }
    qsort(out, nports, sizeof *out, by_port);
    return nports;
}

static enum result write_ports(const struct port_verdict *ports, size_t nports, size_t rank, size_t count, struct buffer *out)
{
    size_t written = 0;
    for (size_t i = 0; i < nports; i++) {
        if (ports[i].rank != rank)
            continue;
        written++;
        const char *joint = written == 1 ? "" : written == count ? " and " : ", ";
        enum result result = buffer_printf(out, "%s%u", joint, ports[i].port);
        if (result != RESULT_OK)
            return result;
    }
    return RESULT_OK;
}

static enum result write_clause(const struct port_verdict *ports, size_t nports, size_t rank, const char *joint, struct buffer *out)
{
    size_t count = 0;
    for (size_t i = 0; i < nports; i++)
        count += ports[i].rank == rank;
    enum result result = buffer_printf(out, "%s%s", joint, verbs[rank].before);
    if (result == RESULT_OK)
        result = write_ports(ports, nports, rank, count, out);
    if (result == RESULT_OK)
        result = buffer_append_cstr(out, verbs[rank].after);
    return result;
}

static bool has_rank(const struct port_verdict *ports, size_t nports, size_t rank)
{
    for (size_t i = 0; i < nports; i++)
        if (ports[i].rank == rank)
            return true;
    return false;
}

/* No session now, but an open way was found: it is what the next message takes. */
static const struct path *open_way(const struct network_trial *trials, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (trials[i].verdict == PATH_OPEN)
            return &trials[i].path;
    return NULL;
}

static enum result write_end(const struct path *used, const struct path *open, bool has_clause, struct buffer *out)
{
    if (used)
        return buffer_printf(out, "%s%u.", has_clause ? "; using " : "The relay is reached over ", used->port);
    if (open)
        return buffer_printf(out, "%s%u.", has_clause ? "; the relay was reached over " : "The relay was reached over ", open->port);
    return buffer_append_cstr(out, has_clause ? "; no way to the relay is open." : "No way to the relay has been tried yet.");
}

enum result network_describe(const struct network_trial *trials, size_t n, const struct path *used, struct buffer *out)
{
    struct port_verdict ports[PORTS_MAX];
    size_t nports = best_of_ports(trials, n, ports);
    bool has_clause = false;
    /* The worst first. Ports that are open are not an obstacle: the end of the sentence names the one in use. */
    for (size_t rank = NVERBS; rank-- > 1;) {
        if (!has_rank(ports, nports, rank))
            continue;
        enum result result = write_clause(ports, nports, rank, has_clause ? ", " : "This network ", out);
        if (result != RESULT_OK)
            return result;
        has_clause = true;
    }
    return write_end(used, open_way(trials, n), has_clause, out);
}
