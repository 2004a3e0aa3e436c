#include "begun.h"

#include <stdlib.h>

struct begun *begun_find(const struct begun_table *table, uint64_t message)
{
    uint64_t hash = map_hash_u64(message);
    for (struct map_node *n = map_find(&table->map, hash, NULL); n; n = map_find(&table->map, hash, n))
        if (MAP_OWNER(n, struct begun, node)->message == message)
            return MAP_OWNER(n, struct begun, node);
    return NULL;
}

static struct begun *add(struct begun_table *table, uint64_t message)
{
    struct begun *begun = calloc(1, sizeof *begun);
    if (begun && map_add(&table->map, &begun->node, map_hash_u64(message)) == RESULT_OK)
        return begun;
    free(begun);
    return NULL;
}

struct begun *begun_note(struct begun_table *table, uint64_t message, uint32_t transaction, uint64_t size_octets)
{
    struct begun *begun = begun_find(table, message);
    if (begun && begun->transaction == transaction)
        return begun;
    if (!begun)
        begun = add(table, message);
    if (begun)
        *begun = (struct begun){.node = begun->node, .message = message, .transaction = transaction, .size_octets = size_octets};
    return begun;
}

bool begun_hold(struct begun *begun, uint64_t octets)
{
    begun->held_octets = octets;
    if (octets <= begun->most_octets)
        return false;
    begun->most_octets = octets;
    begun->nfutile = begun->nrepeats = 0;
    return true;
}

void begun_forget(struct begun_table *table, uint64_t message)
{
    struct begun *begun = begun_find(table, message);
    if (!begun)
        return;
    map_remove(&table->map, &begun->node);
    free(begun);
}

void begun_free(struct begun_table *table)
{
    struct map_node *node;
    for (size_t at = 0; (node = map_each(&table->map, &at));)
        free(MAP_OWNER(node, struct begun, node));
    map_free(&table->map);
    *table = (struct begun_table){0};
}
