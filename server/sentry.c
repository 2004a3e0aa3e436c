#include "sentry.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum { SENTRY_SETS = 256, SENTRY_WAYS = 8 };

/* One fact: until when it holds, and for failures how many there were. */
struct sentry_entry {
    uint8_t key[CRYPTO_HASH];
    int64_t until_ms; /* 0: free */
    uint32_t count;
};

struct sentry_table {
    struct sentry_entry entries[SENTRY_SETS][SENTRY_WAYS];
};

struct sentry {
    uv_mutex_t lock;
    uint8_t secret[CRYPTO_KEY];
    struct sentry_limits limits;
    struct sentry_table right;
    struct sentry_table wrong;   /* by address, and by account */
    struct sentry_table pairs;   /* as wrong, by account and address together */
    struct sentry_table friends; /* likewise */
};

enum result sentry_new(struct sentry **out, const struct sentry_limits *limits)
{
    struct sentry *sentry = calloc(1, sizeof *sentry);
    if (!sentry)
        return RESULT_MEMORY;
    if (uv_mutex_init(&sentry->lock) != 0) {
        free(sentry);
        return RESULT_IO;
    }
    crypto_random(sentry->secret, sizeof sentry->secret);
    sentry->limits = *limits;
    *out = sentry;
    return RESULT_OK;
}

void sentry_free(struct sentry **at)
{
    struct sentry *sentry = *at;
    if (!sentry)
        return;
    uv_mutex_destroy(&sentry->lock);
    crypto_wipe(sentry, sizeof *sentry);
    free(sentry);
    *at = NULL;
}

void sentry_set_limits(struct sentry *sentry, const struct sentry_limits *limits)
{
    uv_mutex_lock(&sentry->lock);
    sentry->limits = *limits;
    uv_mutex_unlock(&sentry->lock);
}

/* ---- tables --------------------------------------------------------------------------------------------------- */

static struct sentry_entry *sentry_find(struct sentry_table *table, const uint8_t key[CRYPTO_HASH], int64_t now_ms)
{
    struct sentry_entry *set = table->entries[key[0]];
    for (size_t i = 0; i < SENTRY_WAYS; i++) {
        if (set[i].until_ms > now_ms && crypto_equal(slice_of(set[i].key, CRYPTO_HASH), slice_of(key, CRYPTO_HASH)))
            return &set[i];
    }
    return NULL;
}

/* The entry that ends first makes room. */
static struct sentry_entry *sentry_add(struct sentry_table *table, const uint8_t key[CRYPTO_HASH], int64_t until_ms)
{
    struct sentry_entry *set = table->entries[key[0]];
    struct sentry_entry *oldest = &set[0];
    for (size_t i = 1; i < SENTRY_WAYS; i++) {
        if (set[i].until_ms < oldest->until_ms)
            oldest = &set[i];
    }
    memcpy(oldest->key, key, CRYPTO_HASH);
    oldest->until_ms = until_ms;
    oldest->count = 0;
    return oldest;
}

static void sentry_keep(struct sentry_table *table, const uint8_t key[CRYPTO_HASH], int64_t now_ms, int64_t for_ms)
{
    struct sentry_entry *entry = sentry_find(table, key, now_ms);
    if (entry)
        entry->until_ms = now_ms + for_ms;
    else
        sentry_add(table, key, now_ms + for_ms);
}

/* ---- right passwords ------------------------------------------------------------------------------------------ */

/* Each part is hashed to a fixed length first, so that no two triples run together into one text. */
static void sentry_password_key(const struct sentry *sentry, struct slice user, struct slice password, struct slice stored, uint8_t key[CRYPTO_HASH])
{
    uint8_t parts[3][CRYPTO_HASH];
    crypto_keyed_hash(sentry->secret, user, parts[0]);
    crypto_keyed_hash(sentry->secret, password, parts[1]);
    crypto_keyed_hash(sentry->secret, stored, parts[2]);
    crypto_keyed_hash(sentry->secret, slice_of(parts, sizeof parts), key);
    crypto_wipe(parts, sizeof parts);
}

bool sentry_knows(struct sentry *sentry, struct slice user, struct slice password, struct slice stored, int64_t now_ms)
{
    uint8_t key[CRYPTO_HASH];
    sentry_password_key(sentry, user, password, stored, key);
    uv_mutex_lock(&sentry->lock);
    bool is_known = sentry_find(&sentry->right, key, now_ms) != NULL;
    uv_mutex_unlock(&sentry->lock);
    return is_known;
}

void sentry_remember(struct sentry *sentry, struct slice user, struct slice password, struct slice stored, int64_t now_ms)
{
    uint8_t key[CRYPTO_HASH];
    sentry_password_key(sentry, user, password, stored, key);
    uv_mutex_lock(&sentry->lock);
    sentry_keep(&sentry->right, key, now_ms, SENTRY_REMEMBER_MS);
    uv_mutex_unlock(&sentry->lock);
}

/* ---- failures and friends ------------------------------------------------------------------------------------- */

struct sentry_keys {
    uint8_t address[CRYPTO_HASH], account[CRYPTO_HASH], pair[CRYPTO_HASH];
};

static void sentry_address_key(const struct sentry *sentry, const struct sockaddr *address, uint8_t key[CRYPTO_HASH])
{
    uint8_t octets[17] = {0};
    if (address->sa_family == AF_INET6) {
        octets[0] = 6;
        memcpy(octets + 1, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, 8); /* the /64: one household */
    } else if (address->sa_family == AF_INET) {
        octets[0] = 4;
        memcpy(octets + 1, &((const struct sockaddr_in *)(const void *)address)->sin_addr, 4);
    }
    crypto_keyed_hash(sentry->secret, slice_of(octets, sizeof octets), key);
}

static struct sentry_keys sentry_keys_of(const struct sentry *sentry, const struct sockaddr *address, struct slice user)
{
    struct sentry_keys keys;
    uint8_t once[CRYPTO_HASH], both[2][CRYPTO_HASH];
    sentry_address_key(sentry, address, keys.address);
    crypto_keyed_hash(sentry->secret, user, once);
    crypto_keyed_hash(sentry->secret, slice_of(once, sizeof once), keys.account); /* twice: a name is no address */
    memcpy(both[0], keys.address, CRYPTO_HASH);
    memcpy(both[1], keys.account, CRYPTO_HASH);
    crypto_keyed_hash(sentry->secret, slice_of(both, sizeof both), keys.pair);
    return keys;
}

static void sentry_count(struct sentry_table *table, const uint8_t key[CRYPTO_HASH], int64_t now_ms)
{
    struct sentry_entry *entry = sentry_find(table, key, now_ms);
    if (!entry)
        entry = sentry_add(table, key, now_ms + SENTRY_WINDOW_MS);
    if (entry->count < UINT32_MAX)
        entry->count++;
}

static uint32_t sentry_failures(struct sentry_table *table, const uint8_t key[CRYPTO_HASH], int64_t now_ms)
{
    const struct sentry_entry *entry = sentry_find(table, key, now_ms);
    return entry ? entry->count : 0;
}

static bool is_over(uint32_t failures, uint32_t limit)
{
    return limit > 0 && failures >= limit;
}

void sentry_note_failure(struct sentry *sentry, const struct sockaddr *address, struct slice user, int64_t now_ms)
{
    const struct sentry_keys keys = sentry_keys_of(sentry, address, user);
    uv_mutex_lock(&sentry->lock);
    sentry_count(&sentry->wrong, keys.address, now_ms);
    sentry_count(&sentry->wrong, keys.account, now_ms);
    sentry_count(&sentry->pairs, keys.pair, now_ms);
    uv_mutex_unlock(&sentry->lock);
}

void sentry_note_success(struct sentry *sentry, const struct sockaddr *address, struct slice user, int64_t now_ms)
{
    const struct sentry_keys keys = sentry_keys_of(sentry, address, user);
    uv_mutex_lock(&sentry->lock);
    sentry_keep(&sentry->friends, keys.pair, now_ms, SENTRY_FRIEND_MS);
    uv_mutex_unlock(&sentry->lock);
}

bool sentry_is_locked(struct sentry *sentry, const struct sockaddr *address, struct slice user, bool is_password, int64_t now_ms)
{
    const struct sentry_keys keys = sentry_keys_of(sentry, address, user);
    bool is_locked;
    uv_mutex_lock(&sentry->lock);
    uint32_t together = sentry_failures(&sentry->pairs, keys.pair, now_ms);
    if (sentry_find(&sentry->friends, keys.pair, now_ms))
        is_locked = is_over(together, sentry->limits.failures_per_address);
    else
        is_locked = is_over(sentry_failures(&sentry->wrong, keys.address, now_ms), sentry->limits.failures_per_address) ||
                    (is_password && together >= SENTRY_SPARED &&
                     is_over(sentry_failures(&sentry->wrong, keys.account, now_ms), sentry->limits.failures_per_account));
    uv_mutex_unlock(&sentry->lock);
    return is_locked;
}

/* A friend who fails again and again is a friend no more, or he could keep all others waiting for ever. */
void sentry_place(struct sentry *sentry, const struct sockaddr *address, struct slice user, int64_t now_ms, struct sentry_place *out)
{
    const struct sentry_keys keys = sentry_keys_of(sentry, address, user);
    uv_mutex_lock(&sentry->lock);
    bool is_friend = sentry_find(&sentry->friends, keys.pair, now_ms) && sentry_failures(&sentry->pairs, keys.pair, now_ms) < SENTRY_SPARED;
    bool is_suspect = sentry_failures(&sentry->wrong, keys.address, now_ms) > 0;
    uv_mutex_unlock(&sentry->lock);
    out->standing = is_friend ? SENTRY_FRIEND : is_suspect ? SENTRY_SUSPECT : SENTRY_STRANGER;
    memcpy(out->line, is_friend ? keys.pair : keys.address, CRYPTO_HASH);
}
