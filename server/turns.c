/* Invariants: 1 a line is in the list of its standing if and only if somebody waits in it, else it is spare; 2 count is the sum of all lines, and at
 * most places; 3 so there are never more lines than places. */
#include "turns.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct line {
    struct list_node node;
    struct list waiting;
    uint8_t key[CRYPTO_HASH];
};

struct turns {
    uint32_t places, count;
    struct list lines[SENTRY_STANDINGS]; /* in the order of their turns */
    struct list spare;
    struct line memory[];
};

struct turns *turns_new(uint32_t places)
{
    struct turns *turns = calloc(1, sizeof *turns + places * sizeof turns->memory[0]);
    if (!turns)
        return NULL;
    turns->places = places;
    for (uint32_t i = 0; i < places; i++)
        list_append(&turns->spare, &turns->memory[i].node);
    return turns;
}

void turns_free(struct turns **turns)
{
    assert(!*turns || turns_is_empty(*turns));
    free(*turns);
    *turns = NULL;
}

bool turns_is_empty(const struct turns *turns)
{
    return turns->count == 0;
}

static struct line *turns_find(struct turns *turns, const struct sentry_place *place)
{
    LIST_EACH(node, &turns->lines[place->standing]) {
        struct line *line = LIST_OWNER(node, struct line, node);
        if (memcmp(line->key, place->line, CRYPTO_HASH) == 0)
            return line;
    }
    return NULL;
}

static void turns_leave(struct turns *turns, struct line *line, struct list_node *node)
{
    list_remove(node);
    turns->count--;
    if (!list_is_empty(&line->waiting))
        return;
    list_remove(&line->node);
    list_append(&turns->spare, &line->node);
}

/* The longest line of the lowest standing. Of lines of one length the one whose turn comes last. */
static struct line *turns_longest(struct turns *turns, enum sentry_standing *standing)
{
    struct line *longest = NULL;
    for (int at = SENTRY_STANDINGS - 1; at >= 0 && !longest; at--) {
        *standing = (enum sentry_standing)at;
        LIST_EACH(node, &turns->lines[at]) {
            struct line *line = LIST_OWNER(node, struct line, node);
            if (!longest || line->waiting.count >= longest->waiting.count)
                longest = line;
        }
    }
    return longest;
}

/* All places are taken: makes one free, or not. */
static bool turns_displace(struct turns *turns, const struct sentry_place *place, struct list_node **displaced)
{
    const struct line *own = turns_find(turns, place);
    enum sentry_standing standing;
    struct line *longest = turns_longest(turns, &standing);
    size_t would_be = (own ? own->waiting.count : 0) + 1;
    if (standing < place->standing || (standing == place->standing && longest->waiting.count <= would_be))
        return false;
    *displaced = longest->waiting.last;
    turns_leave(turns, longest, *displaced);
    return true;
}

enum result turns_add(struct turns *turns, const struct sentry_place *place, struct list_node *node, struct list_node **displaced)
{
    *displaced = NULL;
    if (turns->count == turns->places && !turns_displace(turns, place, displaced))
        return RESULT_BUSY;
    struct line *line = turns_find(turns, place);
    if (!line) {
        line = LIST_OWNER(list_take_first(&turns->spare), struct line, node);
        memcpy(line->key, place->line, CRYPTO_HASH);
        list_append(&turns->lines[place->standing], &line->node);
    }
    list_append(&line->waiting, node);
    turns->count++;
    return RESULT_OK;
}

struct list_node *turns_take(struct turns *turns)
{
    for (int at = 0; at < SENTRY_STANDINGS; at++) {
        if (list_is_empty(&turns->lines[at]))
            continue;
        struct line *line = LIST_OWNER(turns->lines[at].first, struct line, node);
        struct list_node *node = line->waiting.first;
        list_remove(&line->node); /* to the end: the others come first now */
        list_append(&turns->lines[at], &line->node);
        turns_leave(turns, line, node);
        return node;
    }
    return NULL;
}
