/* Announcements of strangers: nothing but what stands there is believed. */
#include "smtp/ehlo.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct smtp_peer peer;
    bool is_masked;
    smtp_ehlo_parse(slice_of(data, size), &peer, &is_masked);
    check(peer.mechanisms == 0 || peer.capabilities & SMTP_CAP_AUTH);
    check(peer.size_max_octets == 0 || peer.capabilities & SMTP_CAP_SIZE);
    check((peer.nrcpt_max == 0 && peer.transactions_max == 0) || peer.capabilities & SMTP_CAP_LIMITS);
    check(!is_masked || !(peer.capabilities & SMTP_CAP_STARTTLS));
    check(peer.ways.len == 0 || peer.capabilities & SMTP_CAP_XWAYS);
    check(peer.ways.len <= SMTP_WAYS_MAX && slice_find(peer.ways, '\n') < 0);
    check(peer.ways.len == 0 || (peer.ways.ptr >= (const char *)data && peer.ways.ptr + peer.ways.len <= (const char *)data + size));
    check((peer.epoch.len > 0) == !!(peer.capabilities & SMTP_CAP_XOUTCOME) && peer.epoch.len <= SMTP_EPOCH_MAX && slice_find(peer.epoch, ' ') < 0);
    check(peer.name.len == 0 || (peer.name.ptr >= (const char *)data && peer.name.ptr + peer.name.len <= (const char *)data + size));
    return 0;
}
