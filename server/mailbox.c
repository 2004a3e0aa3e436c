#include "mailbox.h"

#include <assert.h>
#include <stdlib.h>

struct mailbox {
    uv_async_t bell;
    uv_mutex_t lock;
    struct list letters; /* under lock */
};

/* Moves everything out under the lock, then opens it outside: a letter may post to its own mailbox. */
static void mailbox_empty(struct mailbox *mailbox)
{
    for (;;) {
        uv_mutex_lock(&mailbox->lock);
        struct list_node *node = list_take_first(&mailbox->letters);
        uv_mutex_unlock(&mailbox->lock);
        if (!node)
            return;
        struct letter *letter = LIST_OWNER(node, struct letter, node);
        letter->open(letter);
    }
}

static void mailbox_on_bell(uv_async_t *bell)
{
    mailbox_empty(bell->data);
}

enum result mailbox_open(struct mailbox **out, uv_loop_t *loop)
{
    struct mailbox *mailbox = calloc(1, sizeof *mailbox);
    if (!mailbox)
        return RESULT_MEMORY;
    if (uv_mutex_init(&mailbox->lock) != 0) {
        free(mailbox);
        return RESULT_IO;
    }
    mailbox->bell.data = mailbox;
    if (uv_async_init(loop, &mailbox->bell, mailbox_on_bell) != 0) {
        uv_mutex_destroy(&mailbox->lock);
        free(mailbox);
        return RESULT_IO;
    }
    *out = mailbox;
    return RESULT_OK;
}

void mailbox_post(struct mailbox *mailbox, struct letter *letter)
{
    assert(letter->open);
    uv_mutex_lock(&mailbox->lock);
    list_append(&mailbox->letters, &letter->node);
    /* Under the lock: the letter may be the one that closes the mailbox, and once it can be taken out the bell may be gone. */
    uv_async_send(&mailbox->bell);
    uv_mutex_unlock(&mailbox->lock);
}

static void mailbox_on_closed(uv_handle_t *handle)
{
    struct mailbox *mailbox = handle->data;
    uv_mutex_destroy(&mailbox->lock);
    free(mailbox);
}

void mailbox_close(struct mailbox **mailbox)
{
    if (!*mailbox)
        return;
    mailbox_empty(*mailbox);
    uv_close((uv_handle_t *)&(*mailbox)->bell, mailbox_on_closed);
    *mailbox = NULL;
}
