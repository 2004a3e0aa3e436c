#include "support/net_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void on_counted(void *context, enum result result, const struct store_counts *counts)
{
    (void)result, (void)counts;
    *(bool *)context = true;
}

static void on_closed(void *context)
{
    *(bool *)context = true;
}

void net_store_drain(struct netloop *net, struct store_client *client)
{
    bool is_counted = false;
    store_count(client, on_counted, &is_counted);
    NET_UNTIL(net, is_counted);
}

void net_store_close(struct netloop *net, struct store_client **client)
{
    bool is_closed = false;
    store_client_close(*client, on_closed, &is_closed);
    *client = NULL;
    NET_UNTIL(net, is_closed);
}
