/* The tickets a client keeps, in memory only, one per server and context: what was proved under these pins or CAs when the ticket was
 * given holds for whoever can use it. */
#include "net/tls_context.h"

#include "crypto/crypto.h"

#include <stdlib.h>
#include <string.h>

void tls_cache_init(struct tls_cache *cache)
{
    pthread_mutex_init(&cache->lock, NULL);
}

static void forget(struct tls_kept_session *kept)
{
    if (kept->blob)
        crypto_wipe(kept->blob, kept->blob_len);
    free(kept->blob);
    free(kept->server_name);
    *kept = (struct tls_kept_session){0};
}

void tls_cache_free(struct tls_cache *cache)
{
    for (size_t i = 0; i < TLS_CACHE_MAX; i++)
        forget(&cache->kept[i]);
    pthread_mutex_destroy(&cache->lock);
}

static struct tls_kept_session *find(struct tls_cache *cache, const char *server_name)
{
    for (size_t i = 0; i < TLS_CACHE_MAX; i++)
        if (cache->kept[i].server_name && strcmp(cache->kept[i].server_name, server_name) == 0)
            return &cache->kept[i];
    return NULL;
}

/* A free place, or the one that was filled longest ago. */
static struct tls_kept_session *find_place(struct tls_cache *cache)
{
    struct tls_kept_session *oldest = &cache->kept[0];
    for (size_t i = 0; i < TLS_CACHE_MAX; i++) {
        if (!cache->kept[i].server_name)
            return &cache->kept[i];
        if (cache->kept[i].kept_at < oldest->kept_at)
            oldest = &cache->kept[i];
    }
    return oldest;
}

bool tls_cache_take(struct tls_cache *cache, const char *server_name, struct tls_kept_session *out)
{
    pthread_mutex_lock(&cache->lock);
    struct tls_kept_session *kept = find(cache, server_name);
    if (kept) {
        *out = *kept;
        free(out->server_name);
        out->server_name = NULL;
        *kept = (struct tls_kept_session){0};
    }
    pthread_mutex_unlock(&cache->lock);
    return kept != NULL;
}

void tls_cache_put(struct tls_cache *cache, const char *server_name, unsigned char *blob, size_t blob_len, const uint8_t *end_point,
                   size_t end_point_len)
{
    struct tls_kept_session fresh = {.server_name = strdup(server_name), .blob = blob, .blob_len = blob_len};
    if (!fresh.server_name) {
        forget(&fresh);
        return;
    }
    memcpy(fresh.end_point, end_point, end_point_len);
    fresh.end_point_len = end_point_len;
    pthread_mutex_lock(&cache->lock);
    struct tls_kept_session *place = find(cache, server_name);
    if (!place)
        place = find_place(cache);
    forget(place);
    fresh.kept_at = ++cache->count;
    *place = fresh;
    pthread_mutex_unlock(&cache->lock);
}
