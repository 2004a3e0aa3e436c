/* Work handed from one thread to the loop of another: the only way in which threads of the relay speak to each other.
 *
 * A letter is embedded in what it is about; who posts it gives it away, and whoever opens it owns it. Letters are opened on the mailbox's
 * loop in the order of their posting, many in one turn of the loop, so posting a thousand costs one wake-up. */
#ifndef POSTERN_SERVER_MAILBOX_H
#define POSTERN_SERVER_MAILBOX_H

#include "base/list.h"
#include "base/result.h"

#include <uv.h>

struct letter {
    struct list_node node;
    void (*open)(struct letter *letter);
};

struct mailbox;

/* Its handle keeps the loop alive until mailbox_close. RESULT_OK, RESULT_MEMORY, RESULT_IO. */
MUST_CHECK enum result mailbox_open(struct mailbox **out, uv_loop_t *loop);
/* From any thread, as long as the mailbox is open. */
void mailbox_post(struct mailbox *mailbox, struct letter *letter);
/* On the loop's thread, when nobody can post any more. Letters that wait are opened first. The memory goes by itself. */
void mailbox_close(struct mailbox **mailbox);

#endif
