#include "net/dns_record.h"

#include "base/octets.h"

#include <string.h>

enum { LABEL_MAX = 63, NAME_MAX_TEXT = 253 }; /* octets; RFC 1035 2.3.4 */

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

static bool is_label(struct slice label)
{
    for (size_t i = 0; i < label.len; i++) {
        char c = lower(label.ptr[i]);
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-' && c != '_')
            return false;
    }
    return label.len > 0 && label.len <= LABEL_MAX;
}

/* Appends a label, behind a dot unless it is the first. */
static enum result add_label(char *out, size_t *len, struct slice label)
{
    size_t dot = *len > 0 ? 1 : 0;
    if (!is_label(label) || *len + dot + label.len > NAME_MAX_TEXT)
        return RESULT_SYNTAX;
    if (dot)
        out[(*len)++] = '.';
    for (size_t i = 0; i < label.len; i++)
        out[(*len)++] = lower(label.ptr[i]);
    out[*len] = '\0';
    return RESULT_OK;
}

enum result dns_name_from_text(struct slice text, char out[static DNS_NAME_TEXT])
{
    struct slice label;
    size_t len = 0;
    out[0] = '\0';
    if (text.len > 1 && text.ptr[text.len - 1] == '.')
        text.len--;
    bool has_more = true;
    while (has_more) {
        has_more = slice_cut(text, '.', &label, &text);
        if (add_label(out, &len, label) != RESULT_OK)
            return RESULT_SYNTAX;
    }
    return RESULT_OK;
}

enum result dns_name_from_wire(struct slice wire, char out[static DNS_NAME_TEXT])
{
    size_t len = 0;
    out[0] = '\0';
    while (wire.len > 0) {
        size_t label_len = (unsigned char)wire.ptr[0];
        wire = slice_skip(wire, 1);
        if (label_len == 0)
            return wire.len == 0 ? RESULT_OK : RESULT_SYNTAX;
        if (label_len > wire.len || add_label(out, &len, slice_take(wire, label_len)) != RESULT_OK)
            return RESULT_SYNTAX;
        wire = slice_skip(wire, label_len);
    }
    return RESULT_SYNTAX; /* without its end */
}

/* ---- MX ----------------------------------------------------------------------------------------------------------- */

static bool is_before(const struct dns_mx_list *list, size_t at, uint16_t preference, uint32_t lot)
{
    return list->hosts[at].preference < preference || (list->hosts[at].preference == preference && list->lots[at] <= lot);
}

static void remove_at(struct dns_mx_list *list, size_t at)
{
    list->count--;
    memmove(&list->hosts[at], &list->hosts[at + 1], (list->count - at) * sizeof list->hosts[0]);
    memmove(&list->lots[at], &list->lots[at + 1], (list->count - at) * sizeof list->lots[0]);
}

static void insert(struct dns_mx_list *list, const struct dns_host *host, uint32_t lot)
{
    size_t at = 0;
    while (at < list->count && is_before(list, at, host->preference, lot))
        at++;
    if (at == DNS_MX_MAX)
        return;
    if (list->count == DNS_MX_MAX)
        list->count--;
    memmove(&list->hosts[at + 1], &list->hosts[at], (list->count - at) * sizeof list->hosts[0]);
    memmove(&list->lots[at + 1], &list->lots[at], (list->count - at) * sizeof list->lots[0]);
    list->hosts[at] = *host;
    list->lots[at] = lot;
    list->count++;
}

void dns_mx_list_add(struct dns_mx_list *list, struct slice rdata, uint32_t lot)
{
    struct dns_host host;
    if (rdata.len < 3 || dns_name_from_wire(slice_skip(rdata, 2), host.name) != RESULT_OK)
        return;
    host.preference = (uint16_t)octets_get(rdata.ptr, 2);
    if (!host.name[0]) {
        list->has_null = true;
        return;
    }
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->hosts[i].name, host.name) != 0)
            continue;
        if (list->hosts[i].preference <= host.preference)
            return;
        remove_at(list, i);
        break;
    }
    insert(list, &host, lot);
}

/* ---- TXT ---------------------------------------------------------------------------------------------------------- */

enum result dns_text_join(struct slice rdata, char *out, size_t *len)
{
    *len = 0;
    while (rdata.len > 0) {
        size_t part = (unsigned char)rdata.ptr[0];
        rdata = slice_skip(rdata, 1);
        if (part > rdata.len)
            return RESULT_SYNTAX;
        if (part > 0)
            memcpy(out + *len, rdata.ptr, part);
        *len += part;
        rdata = slice_skip(rdata, part);
    }
    return RESULT_OK;
}
