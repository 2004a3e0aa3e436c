/* The end of a store's client on a loop of net tests. */
#ifndef POSTERN_TESTS_SUPPORT_NET_STORE_H
#define POSTERN_TESTS_SUPPORT_NET_STORE_H

#include "store/store.h"
#include "support/netloop.h"

/* Waits for the answer to a question of its own, so that those to earlier reads have come. */
void net_store_drain(struct netloop *net, struct store_client *client);
/* Waits until it is closed. */
void net_store_close(struct netloop *net, struct store_client **client);

#endif
