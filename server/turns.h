/* Whose turn it is: a bounded queue in which nobody can keep the others waiting.
 *
 * Who waits stands in a line: one for each address, or for each friend (sentry_place). Friends' lines are served before strangers', theirs before
 * suspects'; the lines of one standing in turn, one of each. While there is room a line may be of any length. When all places are taken a newcomer
 * is let in all the same if somebody of lower standing waits, or of his own in a line that is longer than his would become; the last of the longest
 * such line must leave for him.
 *
 * So who asks once is heard though another asks a thousand times. Nothing is allocated after turns_new; the caller locks. */
#ifndef POSTERN_SERVER_TURNS_H
#define POSTERN_SERVER_TURNS_H

#include "sentry.h"

#include "base/list.h"

struct turns;

/* NULL: out of memory. places: more than 0. */
struct turns *turns_new(uint32_t places);
/* Empty. */
void turns_free(struct turns **turns);

/* RESULT_OK: node waits; *displaced is NULL or another's node, which waits no more. RESULT_BUSY: no place for it. */
MUST_CHECK enum result turns_add(struct turns *turns, const struct sentry_place *place, struct list_node *node, struct list_node **displaced);
/* Whose turn it is, or NULL: nobody waits. */
struct list_node *turns_take(struct turns *turns);
bool turns_is_empty(const struct turns *turns);

#endif
