#include "mail/envelope.h"

#include "base/map.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

const char *mail_body_name(enum mail_body body)
{
    switch (body) {
    case MAIL_BODY_7BIT: return "7BIT";
    case MAIL_BODY_8BITMIME: return "8BITMIME";
    case MAIL_BODY_BINARYMIME: return "BINARYMIME";
    }
    return "";
}

const char *dsn_ret_name(enum dsn_ret ret)
{
    switch (ret) {
    case DSN_RET_UNSET: return "";
    case DSN_RET_FULL: return "FULL";
    case DSN_RET_HDRS: return "HDRS";
    }
    return "";
}

/* NEVER stands alone (RFC 3461 4.1), whatever else is set. */
void dsn_notify_format(unsigned notify, char *out, size_t size)
{
    static const struct {
        unsigned bit;
        const char *name;
    } names[] = {{DSN_NOTIFY_SUCCESS, "SUCCESS"}, {DSN_NOTIFY_FAILURE, "FAILURE"}, {DSN_NOTIFY_DELAY, "DELAY"}};
    size_t len = 0;
    assert(size >= 32);
    out[0] = '\0';
    if (notify & DSN_NOTIFY_NEVER) {
        memcpy(out, "NEVER", sizeof "NEVER");
        return;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!(notify & names[i].bit))
            continue;
        if (len > 0)
            out[len++] = ',';
        memcpy(out + len, names[i].name, strlen(names[i].name) + 1);
        len += strlen(names[i].name);
    }
}

static enum result copy_recipient(struct arena *a, const struct envelope_recipient *from, struct envelope_recipient *out)
{
    out->notify = from->notify;
    enum result result = arena_copy(a, from->address, &out->address);
    return result == RESULT_OK ? arena_copy(a, from->orcpt, &out->orcpt) : result;
}

enum result envelope_copy_recipients(struct arena *a, const struct envelope_recipient *from, size_t n, struct envelope_recipient **out)
{
    *out = NULL;
    if (n == 0)
        return RESULT_OK;
    struct envelope_recipient *copy = arena_alloc(a, n * sizeof *copy);
    enum result result = copy ? RESULT_OK : RESULT_MEMORY;
    for (size_t i = 0; i < n && result == RESULT_OK; i++)
        result = copy_recipient(a, &from[i], &copy[i]);
    if (result == RESULT_OK)
        *out = copy;
    return result;
}

enum result envelope_copy(struct arena *a, const struct envelope *from, struct envelope *out)
{
    struct envelope copy = *from;
    enum result result = arena_copy(a, from->sender, &copy.sender);
    if (result == RESULT_OK)
        result = arena_copy(a, from->envid, &copy.envid);
    if (result == RESULT_OK)
        result = envelope_copy_recipients(a, from->recipients, from->nrcpt, &copy.recipients);
    if (result == RESULT_OK)
        *out = copy;
    return result;
}

/* ---- each once -------------------------------------------------------------------------------------------------- */

struct seen {
    struct map_node by_address;
    struct slice address;
};

static bool is_known(const struct map *known, uint64_t hash, struct slice address)
{
    for (struct map_node *node = map_find(known, hash, NULL); node; node = map_find(known, hash, node))
        if (slice_equal(MAP_OWNER(node, struct seen, by_address)->address, address))
            return true;
    return false;
}

enum result envelope_drop_repeated(struct envelope *envelope)
{
    struct map known = {0};
    size_t nkept = 0;
    if (envelope->nrcpt < 2)
        return RESULT_OK;
    struct seen *seen = calloc(envelope->nrcpt, sizeof *seen);
    enum result result = seen ? map_reserve(&known, envelope->nrcpt) : RESULT_MEMORY;
    for (size_t i = 0; i < envelope->nrcpt && result == RESULT_OK; i++) {
        struct envelope_recipient recipient = envelope->recipients[i];
        uint64_t hash = map_hash(recipient.address);
        if (is_known(&known, hash, recipient.address))
            continue;
        seen[nkept].address = recipient.address;
        result = map_add(&known, &seen[nkept].by_address, hash); /* there is room */
        envelope->recipients[nkept++] = recipient;
    }
    if (result == RESULT_OK)
        envelope->nrcpt = nkept;
    map_free(&known);
    free(seen);
    return result;
}
