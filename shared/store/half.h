/* Bodies with a name, as they lie on the disk: for intake.c, which brings their octets, and checkpoint.c, which knows who may go on with them.
 *
 * Every function runs on the writer's thread inside its caller's transaction. A half is a row of `checkpoint` without reply and, of its body, `octets` without gap; who
 * writes it says under which generation he has it. Nothing here remembers anything between two calls: a task may run twice. */
#ifndef POSTERN_STORE_HALF_H
#define POSTERN_STORE_HALF_H

#include "base/list.h"
#include "store/checkpoint.h"

/* An intake's name; copied when it gets it and never changed: both threads read it. */
struct half_name {
    struct arena arena;
    struct store_naming naming;
};
/* NULL: out of memory. */
struct half_name *half_name_new(const struct store_naming *naming);
void half_name_free(struct half_name **name);
/* The relay's running time, at this moment; on the loop. */
int64_t half_served_ms(const struct half_name *name);
/* Under which its body is written; whoever begins one has the first, 1. */
uint32_t half_generation(const struct half_name *name);

/* receiving.c: a named body that a session writes. From its naming until nothing of it is under way to the disk any more. */
struct half_receipt {
    struct list_node node;
    uint64_t message;
    uint32_t generation;
};
void receiving_add(struct receiving *receiving, struct half_receipt *receipt);
void receiving_remove(struct receiving *receiving, struct half_receipt *receipt);
bool receiving_has(struct receiving *receiving, uint64_t message, uint32_t generation);

/* One chunk of a named body. */
struct half_piece {
    uint64_t message;
    uint32_t seq;
    struct slice octets;
    struct store_half half;
    int64_t served_ms; /* when it was sent off; 0: the name is not touched by it */
    bool is_first; /* nothing of this body was given to the writer yet, and it is not resumed: the name is begun here */
    bool replaces; /* a shorter one of this number may be on the disk */
};
/* In place of what there is no room for (yield.c). RESULT_OK: there is room; RESULT_FULL: more than has gone can't go; else the caller rolls back. */
MUST_CHECK enum result half_make_room(struct database *db, struct room *room, const struct half_growing *growing);
/* Others may have to make room. RESULT_EXISTS: the message's number is taken; RESULT_CANCELLED: somebody else has the name, or the account has gone. */
MUST_CHECK enum result half_put(struct database *db, const struct half_name *name, const struct half_piece *piece);
/* Of an account whose halves have come to no device: those beyond the limits are dropped. */
MUST_CHECK enum result half_limit(struct database *db, struct slice account);
/* The job, whose body is the last piece, becomes a message, and its name is over. RESULT_EXISTS: the number is taken, or the name is over already; RESULT_CANCELLED. */
MUST_CHECK enum result half_commit(struct database *db, const struct half_name *name, const struct half_piece *last, const struct store_job *job);
/* RESULT_NOT_FOUND: there is none, or it is somebody else's. */
MUST_CHECK enum result half_abort(struct database *db, uint64_t message, uint32_t generation);
/* How many of its stored octets can be gone on behind: up to a whole line, if it has lines. 0: none, because the header is not whole. */
MUST_CHECK enum result half_end(struct database *db, const struct checkpoint_row *row, uint64_t *end);
/* Its session gives it up: of one that is by itself larger than a device's may be together, what fits stays, to the end of a line; nothing, when that is not even the header. came: how many octets
 * of the sender's a claim will find; RESULT_NOT_FOUND: none, or it is somebody else's. */
enum half_fit { HALF_FITS, HALF_CUT, HALF_DROPPED };
MUST_CHECK enum result half_suspend(struct database *db, uint64_t message, uint32_t generation, uint64_t *came, enum half_fit *fit);
/* The same for one that no session has given up: the program was killed, or the bound was lowered since. has_more: perhaps for another, too. */
MUST_CHECK enum result half_fit_one(struct database *db, struct receiving *receiving, bool *has_more);
/* Cuts it off there; the octets of the chunk that is begun go to memory that is the caller's to free. RESULT_NOT_FOUND, RESULT_CANCELLED. */
MUST_CHECK enum result half_reopen(struct database *db, const struct half_name *name, uint64_t message, uint64_t end, char **octets, size_t *len);

#endif
