/* An intrusive doubly linked list. The list owns nothing; a node is in at most one list.
 *
 * {0} is an empty list and an unlinked node. LIST_OWNER gives the struct that holds a node. */
#ifndef POSTERN_BASE_LIST_H
#define POSTERN_BASE_LIST_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>

struct list_node {
    struct list_node *prev;
    struct list_node *next;
    struct list *list; /* NULL: in none */
};

struct list {
    struct list_node *first;
    struct list_node *last;
    size_t count;
};

#define LIST_OWNER(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))
#define LIST_EACH(node, l) for (struct list_node *node = (l)->first; node; node = node->next)
/* For loops that remove the node they stand on. */
#define LIST_EACH_SAFE(node, after, l)                                                                                 \
    for (struct list_node *node = (l)->first, *after = node ? node->next : NULL; node;                                \
         node = after, after = node ? node->next : NULL)

static inline bool list_is_empty(const struct list *l)
{
    return l->first == NULL;
}

static inline bool list_has(const struct list *l, const struct list_node *node)
{
    return node->list == l;
}

static inline void list_append(struct list *l, struct list_node *node)
{
    assert(node->list == NULL);
    *node = (struct list_node){.prev = l->last, .list = l};
    if (l->last)
        l->last->next = node;
    else
        l->first = node;
    l->last = node;
    l->count++;
}

/* Removing a node that is in no list does nothing. */
static inline void list_remove(struct list_node *node)
{
    struct list *l = node->list;
    if (!l)
        return;
    if (node->prev)
        node->prev->next = node->next;
    else
        l->first = node->next;
    if (node->next)
        node->next->prev = node->prev;
    else
        l->last = node->prev;
    l->count--;
    *node = (struct list_node){0};
}

static inline struct list_node *list_take_first(struct list *l)
{
    struct list_node *node = l->first;
    if (node)
        list_remove(node);
    return node;
}

#endif
