/* See memory.h. Each network is a block of its own. Its paths are sorted when they are asked for, because demotions end by themselves. */
#include "path/memory.h"

#include <stdlib.h>
#include <string.h>

struct network {
    struct memory_key key;
    int64_t visited_at_ms;
    int64_t written_at_ms; /* visited_at_ms when it was last written */
    size_t n;
    struct memory_path paths[MEMORY_PATHS_MAX];
};

struct memory {
    struct network *networks[MEMORY_NETWORKS_MAX];
    size_t n;
    struct path_address addresses[MEMORY_ADDRESSES_MAX + MEMORY_HINTS_MAX]; /* the last nhints of them are hints */
    size_t naddresses, nhints;
    bool is_dirty;
};

/* A time that merely moved is worth writing after so long. */
static const int64_t STALE_MS = INT64_C(3600) * 1000;

struct memory *memory_new(void)
{
    return calloc(1, sizeof(struct memory));
}

void memory_forget(struct memory *memory)
{
    memory->is_dirty = memory->is_dirty || memory->n > 0 || memory->naddresses > 0;
    for (size_t i = 0; i < memory->n; i++)
        free(memory->networks[i]);
    memory->n = memory->naddresses = memory->nhints = 0;
}

void memory_free(struct memory **memory)
{
    if (*memory)
        memory_forget(*memory);
    free(*memory);
    *memory = NULL;
}

/* ---- networks ----------------------------------------------------------------------------------------------------- */

/* Times in the future count as now. */
static int64_t age_ms(int64_t then_ms, int64_t wall_ms)
{
    return then_ms < wall_ms ? wall_ms - then_ms : 0;
}

static int64_t at_most(int64_t value, int64_t limit)
{
    return value < limit ? value : limit;
}

static struct network *find(const struct memory *memory, const struct memory_key *key)
{
    for (size_t i = 0; i < memory->n; i++)
        if (memcmp(&memory->networks[i]->key, key, sizeof *key) == 0)
            return memory->networks[i];
    return NULL;
}

static void remove_network(struct memory *memory, size_t i)
{
    free(memory->networks[i]);
    memory->networks[i] = memory->networks[--memory->n];
    memory->is_dirty = true;
}

static size_t oldest(const struct memory *memory)
{
    size_t found = 0;
    for (size_t i = 1; i < memory->n; i++)
        if (memory->networks[i]->visited_at_ms < memory->networks[found]->visited_at_ms)
            found = i;
    return found;
}

static struct network *add_network(struct memory *memory, const struct memory_key *key)
{
    struct network *network = calloc(1, sizeof *network);
    if (!network)
        return NULL;
    if (memory->n == MEMORY_NETWORKS_MAX)
        remove_network(memory, oldest(memory));
    network->key = *key;
    memory->networks[memory->n++] = network;
    memory->is_dirty = true;
    return network;
}

void memory_forget_old(struct memory *memory, int64_t wall_ms)
{
    for (size_t i = memory->n; i-- > 0;)
        if (age_ms(memory->networks[i]->visited_at_ms, wall_ms) > MEMORY_LIFE_MS)
            remove_network(memory, i);
}

/* What a clock that was ahead has written would otherwise be demoted, or be the latest, until that time comes. */
static void bring_to_now(struct network *network, int64_t wall_ms)
{
    network->visited_at_ms = at_most(network->visited_at_ms, wall_ms);
    network->written_at_ms = at_most(network->written_at_ms, wall_ms);
    for (size_t i = 0; i < network->n; i++) {
        network->paths[i].carried_at_ms = at_most(network->paths[i].carried_at_ms, wall_ms);
        network->paths[i].demoted_at_ms = at_most(network->paths[i].demoted_at_ms, wall_ms);
    }
}

/* The network, visited now. NULL: out of memory. */
static struct network *visit(struct memory *memory, const struct memory_key *key, int64_t wall_ms)
{
    struct network *network = find(memory, key);
    if (!network && !(network = add_network(memory, key)))
        return NULL;
    bring_to_now(network, wall_ms);
    if (age_ms(network->visited_at_ms, wall_ms) > MEMORY_LIFE_MS)
        network->n = 0;
    network->visited_at_ms = wall_ms;
    memory->is_dirty = memory->is_dirty || age_ms(network->written_at_ms, wall_ms) >= STALE_MS;
    return network;
}

/* ---- the paths of a network --------------------------------------------------------------------------------------- */

/* Best first. */
enum class { CARRIED, PROVEN, FAILED, DEMOTED };

static bool is_demoted(const struct memory_path *path, int64_t wall_ms)
{
    return path->demoted_at_ms > 0 && age_ms(path->demoted_at_ms, wall_ms) < MEMORY_DEMOTION_MS;
}

static enum class class_of(const struct memory_path *path, int64_t wall_ms)
{
    return is_demoted(path, wall_ms) ? DEMOTED : path->carried_at_ms > 0 ? CARRIED : path->handshake_ms > 0 ? PROVEN : FAILED;
}

static bool is_before(const struct memory_path *a, const struct memory_path *b, int64_t wall_ms)
{
    enum class one = class_of(a, wall_ms), other = class_of(b, wall_ms);
    if (one != other)
        return one < other;
    if (one == DEMOTED)
        return a->demoted_at_ms < b->demoted_at_ms;
    return a->carried_at_ms > b->carried_at_ms;
}

static void sort(struct network *network, int64_t wall_ms)
{
    for (size_t i = 1; i < network->n; i++) {
        const struct memory_path path = network->paths[i];
        size_t at = i;
        for (; at > 0 && is_before(&path, &network->paths[at - 1], wall_ms); at--)
            network->paths[at] = network->paths[at - 1];
        network->paths[at] = path;
    }
}

static struct memory_path *find_path(struct network *network, const struct path *path)
{
    for (size_t i = 0; i < network->n; i++)
        if (path_equal(&network->paths[i].path, path))
            return &network->paths[i];
    return NULL;
}

/* Which to forget: one that has only failed, else the oldest demotion, else the worst of the good. */
static size_t least_wanted(struct network *network, int64_t wall_ms)
{
    sort(network, wall_ms);
    for (size_t i = network->n; i-- > 0;)
        if (class_of(&network->paths[i], wall_ms) == FAILED)
            return i;
    for (size_t i = 0; i < network->n; i++)
        if (class_of(&network->paths[i], wall_ms) == DEMOTED)
            return i;
    return network->n - 1;
}

static struct memory_path *find_or_add_path(struct memory *memory, struct network *network, const struct path *path, int64_t wall_ms)
{
    struct memory_path *found = find_path(network, path);
    if (found)
        return found;
    size_t at = network->n < MEMORY_PATHS_MAX ? network->n++ : least_wanted(network, wall_ms);
    network->paths[at] = (struct memory_path){.path = *path};
    memory->is_dirty = true;
    return &network->paths[at];
}

const struct memory_path *memory_paths(const struct memory *memory, const struct memory_key *key, int64_t wall_ms, size_t *n)
{
    struct network *network = find(memory, key);
    *n = 0;
    if (!network || age_ms(network->visited_at_ms, wall_ms) > MEMORY_LIFE_MS)
        return NULL;
    sort(network, wall_ms);
    *n = network->n;
    return network->n > 0 ? network->paths : NULL;
}

bool memory_is_demoted(const struct memory *memory, const struct memory_key *key, const struct path *path, int64_t wall_ms)
{
    struct network *network = find(memory, key);
    const struct memory_path *found = network ? find_path(network, path) : NULL;
    return found && is_demoted(found, wall_ms);
}

/* ---- what happens to a path --------------------------------------------------------------------------------------- */

static void judge(struct memory *memory, struct memory_path *path, enum path_verdict verdict)
{
    memory->is_dirty = memory->is_dirty || path->verdict != verdict;
    path->verdict = verdict;
}

enum result memory_proven(struct memory *memory, const struct memory_key *key, const struct path *path, int64_t handshake_ms, int64_t wall_ms)
{
    struct network *network = visit(memory, key, wall_ms);
    if (!network)
        return RESULT_MEMORY;
    struct memory_path *found = find_or_add_path(memory, network, path, wall_ms);
    found->handshake_ms = handshake_ms > 0 ? handshake_ms : 1;
    judge(memory, found, PATH_OPEN);
    return RESULT_OK;
}

enum result memory_carried(struct memory *memory, const struct memory_key *key, const struct path *path, uint64_t octets, int64_t wall_ms)
{
    struct network *network = visit(memory, key, wall_ms);
    if (!network)
        return RESULT_MEMORY;
    sort(network, wall_ms);
    bool was_best = network->n > 0 && path_equal(&network->paths[0].path, path) && network->paths[0].carried_at_ms > 0;
    struct memory_path *found = find_or_add_path(memory, network, path, wall_ms);
    memory->is_dirty = memory->is_dirty || !was_best || found->demoted_at_ms > 0;
    found->carried_at_ms = wall_ms;
    found->demoted_at_ms = 0;
    found->octets += octets < UINT64_MAX - found->octets ? octets : 0;
    judge(memory, found, PATH_OPEN);
    return RESULT_OK;
}

enum result memory_died(struct memory *memory, const struct memory_key *key, const struct path *path, int64_t wall_ms)
{
    struct network *network = visit(memory, key, wall_ms);
    if (!network)
        return RESULT_MEMORY;
    struct memory_path *found = find_or_add_path(memory, network, path, wall_ms);
    found->demoted_at_ms = wall_ms;
    memory->is_dirty = true;
    judge(memory, found, PATH_DIED_EARLY);
    return RESULT_OK;
}

enum result memory_failed(struct memory *memory, const struct memory_key *key, const struct path *path, enum path_verdict verdict, int64_t wall_ms)
{
    struct network *network = visit(memory, key, wall_ms);
    if (!network)
        return RESULT_MEMORY;
    /* A failure must not push out what has worked. */
    bool has_room = network->n < MEMORY_PATHS_MAX || class_of(&network->paths[least_wanted(network, wall_ms)], wall_ms) == FAILED;
    struct memory_path *found = has_room ? find_or_add_path(memory, network, path, wall_ms) : find_path(network, path);
    if (found)
        judge(memory, found, verdict);
    return RESULT_OK;
}

/* ---- the relay's addresses ---------------------------------------------------------------------------------------- */

size_t memory_addresses(const struct memory *memory, const struct path_address **out)
{
    *out = memory->addresses;
    return memory->naddresses;
}

bool memory_is_proved(const struct memory *memory, const struct path_address *address)
{
    for (size_t i = 0; i < memory->naddresses - memory->nhints; i++)
        if (path_address_equal(&memory->addresses[i], address))
            return true;
    return false;
}

/* The first of that family; else naddresses. */
static size_t first_of(const struct memory *memory, uint8_t family)
{
    size_t i = 0;
    while (i < memory->naddresses && memory->addresses[i].family != family)
        i++;
    return i;
}

static void remove_address(struct memory *memory, size_t i)
{
    memory->naddresses--;
    memmove(&memory->addresses[i], &memory->addresses[i + 1], (memory->naddresses - i) * sizeof *memory->addresses);
}

static void drop_hint(struct memory *memory, uint8_t family)
{
    size_t i = first_of(memory, family);
    if (i == memory->naddresses || i < memory->naddresses - memory->nhints)
        return;
    remove_address(memory, i);
    memory->nhints--;
}

void memory_keep_address(struct memory *memory, const struct path_address *address)
{
    const struct path_address kept = *address; /* it may be one of ours */
    drop_hint(memory, kept.family);
    size_t nproved = memory->naddresses - memory->nhints, at = 0;
    while (at < nproved && !path_address_equal(&memory->addresses[at], &kept))
        at++;
    if (at == 0 && nproved > 0)
        return;
    if (at < nproved)
        remove_address(memory, at);
    else if (nproved == MEMORY_ADDRESSES_MAX)
        remove_address(memory, nproved - 1);
    memmove(&memory->addresses[1], &memory->addresses[0], memory->naddresses++ * sizeof *memory->addresses);
    memory->addresses[0] = kept;
    memory->is_dirty = true;
}

void memory_hint_address(struct memory *memory, const struct path_address *address)
{
    if (first_of(memory, address->family) < memory->naddresses || (address->family != 4 && address->family != 6))
        return;
    memory->addresses[memory->naddresses++] = *address;
    memory->nhints++;
    memory->is_dirty = true;
}

/* ---- as text ------------------------------------------------------------------------------------------------------ */

/*  postern-memory 1 relay.example.org
 *  address 192.0.2.1
 *  hint 2001:db8::1
 *  network 000102030405060708090a0b0c0d0e0f VISITED
 *  path CARRIED DEMOTED HANDSHAKE OCTETS VERDICT 192.0.2.1:443 tls http/1.1     (of the network before it) */
#define HEAD "postern-memory 1"

bool memory_is_dirty(const struct memory *memory)
{
    return memory->is_dirty;
}

static enum result write_path(const struct memory_path *path, struct buffer *out)
{
    char text[PATH_TEXT];
    path_format(&path->path, text, sizeof text);
    return buffer_printf(out, "path %lld %lld %lld %llu %s %s\n", (long long)path->carried_at_ms, (long long)path->demoted_at_ms, (long long)path->handshake_ms,
                         (unsigned long long)path->octets, path_verdict_name(path->verdict), text);
}

static enum result write_network(const struct network *network, struct buffer *out)
{
    char key[2 * MEMORY_KEY + 1];
    for (size_t i = 0; i < MEMORY_KEY; i++) {
        key[2 * i] = "0123456789abcdef"[network->key.octets[i] >> 4];
        key[2 * i + 1] = "0123456789abcdef"[network->key.octets[i] & 15];
    }
    key[2 * MEMORY_KEY] = '\0';
    enum result result = buffer_printf(out, "network %s %lld\n", key, (long long)network->visited_at_ms);
    for (size_t i = 0; i < network->n && result == RESULT_OK; i++)
        result = write_path(&network->paths[i], out);
    return result;
}

enum result memory_write(struct memory *memory, struct slice relay_host, struct buffer *out)
{
    char text[64];
    enum result result = buffer_printf(out, HEAD " %.*s\n", SLICE_ARG(relay_host));
    for (size_t i = 0; i < memory->naddresses && result == RESULT_OK; i++) {
        path_address_format(&memory->addresses[i], text, sizeof text);
        result = buffer_printf(out, "%s %s\n", i < memory->naddresses - memory->nhints ? "address" : "hint", text);
    }
    for (size_t i = 0; i < memory->n && result == RESULT_OK; i++)
        result = write_network(memory->networks[i], out);
    if (result != RESULT_OK)
        return result;
    for (size_t i = 0; i < memory->n; i++)
        memory->networks[i]->written_at_ms = memory->networks[i]->visited_at_ms;
    memory->is_dirty = false;
    return RESULT_OK;
}

static bool take_word(struct slice *line, struct slice *word)
{
    slice_cut(*line, ' ', word, line);
    return word->len > 0;
}

static bool take_number(struct slice *line, uint64_t max, uint64_t *out)
{
    struct slice word;
    return take_word(line, &word) && slice_to_u64(word, max, out);
}

/* Times of a clock that was ahead count as now. */
static bool take_time(struct slice *line, int64_t wall_ms, int64_t *out)
{
    uint64_t number;
    if (!take_number(line, INT64_MAX, &number))
        return false;
    *out = at_most((int64_t)number, wall_ms);
    return true;
}

static bool take_verdict(struct slice *line, enum path_verdict *out)
{
    struct slice word;
    if (!take_word(line, &word))
        return false;
    for (int i = PATH_UNTRIED; i <= PATH_RELAY_REFUSED; i++) {
        *out = (enum path_verdict)i;
        if (slice_equal(word, slice_from_cstr(path_verdict_name(*out))))
            return true;
    }
    return false;
}

static bool take_key(struct slice *line, struct memory_key *out)
{
    struct slice word;
    if (!take_word(line, &word) || word.len != 2 * MEMORY_KEY)
        return false;
    *out = (struct memory_key){{0}};
    for (size_t i = 0; i < word.len; i++) {
        char c = word.ptr[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0)
            return false;
        out->octets[i / 2] = (uint8_t)(out->octets[i / 2] << 4 | digit);
    }
    return true;
}

static void read_address(struct memory *memory, struct slice line)
{
    struct path_address address;
    if (memory->naddresses == MEMORY_ADDRESSES_MAX || !path_address_parse(line, &address))
        return;
    for (size_t i = 0; i < memory->naddresses; i++)
        if (path_address_equal(&memory->addresses[i], &address))
            return;
    if (memory->nhints == 0) /* hints stand behind all others */
        memory->addresses[memory->naddresses++] = address;
}

static void read_hint(struct memory *memory, struct slice line)
{
    struct path_address address;
    if (path_address_parse(line, &address))
        memory_hint_address(memory, &address);
}

static void read_path(struct network *network, struct slice line, int64_t wall_ms)
{
    struct memory_path path = {0};
    uint64_t handshake_ms;
    bool is_sound = take_time(&line, wall_ms, &path.carried_at_ms) && take_time(&line, wall_ms, &path.demoted_at_ms) && take_number(&line, INT32_MAX, &handshake_ms) &&
                    take_number(&line, UINT64_MAX, &path.octets) && take_verdict(&line, &path.verdict) && path_parse(line, &path.path) == RESULT_OK;
    if (!is_sound || network->n == MEMORY_PATHS_MAX || find_path(network, &path.path))
        return;
    path.handshake_ms = (int64_t)handshake_ms;
    network->paths[network->n++] = path;
}

/* *out: the network that the following paths are of, or NULL: they are passed over. */
static enum result read_network(struct memory *memory, struct slice line, int64_t wall_ms, struct network **out)
{
    struct memory_key key;
    int64_t visited_at_ms;
    *out = NULL;
    if (!take_key(&line, &key) || !take_time(&line, wall_ms, &visited_at_ms) || line.len > 0 || find(memory, &key))
        return RESULT_OK;
    if (age_ms(visited_at_ms, wall_ms) > MEMORY_LIFE_MS || memory->n == MEMORY_NETWORKS_MAX)
        return RESULT_OK;
    *out = add_network(memory, &key);
    if (!*out)
        return RESULT_MEMORY;
    (*out)->visited_at_ms = (*out)->written_at_ms = visited_at_ms;
    return RESULT_OK;
}

static enum result read_lines(struct memory *memory, struct slice text, int64_t wall_ms)
{
    struct network *network = NULL;
    while (text.len > 0) {
        struct slice line, word;
        enum result result = RESULT_OK;
        slice_cut(text, '\n', &line, &text);
        take_word(&line, &word);
        if (slice_equal(word, SLICE("address")))
            read_address(memory, line);
        else if (slice_equal(word, SLICE("hint")))
            read_hint(memory, line);
        else if (slice_equal(word, SLICE("network")))
            result = read_network(memory, line, wall_ms, &network);
        else if (slice_equal(word, SLICE("path")) && network)
            read_path(network, line, wall_ms);
        if (result != RESULT_OK)
            return result;
    }
    return RESULT_OK;
}

enum result memory_read(struct memory *memory, struct slice text, struct slice relay_host, int64_t wall_ms)
{
    struct slice line;
    slice_cut(text, '\n', &line, &text);
    if (!slice_starts_with(line, SLICE(HEAD " ")) || !slice_equal(slice_skip(line, sizeof HEAD), relay_host))
        return RESULT_OK;
    enum result result = read_lines(memory, text, wall_ms);
    if (result != RESULT_OK)
        memory_forget(memory);
    memory->is_dirty = false;
    return result;
}
