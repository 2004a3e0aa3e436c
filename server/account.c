#include "account.h"

#include "mail/address.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct account *account_copy(const struct store_account *from)
{
    struct account *account = calloc(1, sizeof *account);
    if (!account)
        return NULL;
    account->is_enabled = from->is_enabled;
    account->changed_at_ms = from->changed_at_ms;
    struct slice *send_as = arena_alloc(&account->arena, (from->nsend_as + 1) * sizeof *send_as);
    if (!send_as || arena_copy(&account->arena, from->name, &account->name) != RESULT_OK)
        goto fail;
    for (size_t i = 0; i < from->nsend_as; i++) {
        if (arena_copy(&account->arena, from->send_as[i], &send_as[i]) != RESULT_OK)
            goto fail;
    }
    account->send_as = send_as;
    account->nsend_as = from->nsend_as;
    return account;
fail:
    account_free(&account);
    return NULL;
}

void account_free(struct account **account)
{
    if (!*account)
        return;
    arena_free(&(*account)->arena);
    free(*account);
    *account = NULL;
}

bool account_may_send_as(const struct account *account, struct slice address)
{
    for (size_t i = 0; i < account->nsend_as; i++) {
        if (address_matches(account->send_as[i], address))
            return true;
    }
    return false;
}

void account_describe(const struct account *account, char *out, size_t size)
{
    enum { SHOWN = 4 };
    size_t len = 0;
    snprintf(out, size, account->nsend_as ? "%s" : "nothing yet%s", "");
    for (size_t i = 0; i < account->nsend_as && len < size; i++) {
        bool is_cut = i == SHOWN;
        int n = is_cut ? snprintf(out + len, size - len, ", ...") :
                         snprintf(out + len, size - len, "%s%.*s", i ? ", " : "", SLICE_ARG(account->send_as[i]));
        if (n < 0 || is_cut)
            return;
        len += (size_t)n;
    }
}

static bool is_name_octet(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c && strchr(".-_+@", c));
}

bool account_name_normalise(struct slice name, char out[static ACCOUNT_NAME_MAX + 1])
{
    if (name.len == 0 || name.len > ACCOUNT_NAME_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        if (!is_name_octet(c))
            return false;
        out[i] = c;
    }
    out[name.len] = '\0';
    return true;
}
