#include "mail/envelope.h"

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

struct named {
    struct slice address;
    size_t at; /* in the envelope */
};

/* Those of one address beside each other, the first of them first. (A table of hashes would be at the mercy of who chooses the addresses.) */
static int compare_named(const void *left, const void *right)
{
    const struct named *a = left, *b = right;
    if (a->address.len != b->address.len)
        return a->address.len < b->address.len ? -1 : 1;
    int order = a->address.len > 0 ? memcmp(a->address.ptr, b->address.ptr, a->address.len) : 0;
    return order != 0 ? order : (a->at > b->at) - (a->at < b->at);
}

static void mark_repeated(struct named *named, size_t n, bool *is_repeated)
{
    qsort(named, n, sizeof *named, compare_named);
    for (size_t i = 1; i < n; i++)
        is_repeated[named[i].at] = slice_equal(named[i].address, named[i - 1].address);
}

enum result envelope_drop_repeated(struct envelope *envelope)
{
    size_t n = envelope->nrcpt, nkept = 0;
    if (n < 2)
        return RESULT_OK;
    struct named *named = calloc(n, sizeof *named);
    bool *is_repeated = calloc(n, sizeof *is_repeated);
    if (named && is_repeated) {
        for (size_t i = 0; i < n; i++)
            named[i] = (struct named){envelope->recipients[i].address, i};
        mark_repeated(named, n, is_repeated);
        for (size_t i = 0; i < n; i++)
            if (!is_repeated[i])
                envelope->recipients[nkept++] = envelope->recipients[i];
        envelope->nrcpt = nkept;
    }
    free(named);
    free(is_repeated);
    return nkept > 0 ? RESULT_OK : RESULT_MEMORY;
}
