/* To which relay, and to whose account there, our copies are bound: host and user of the settings, and the relay's epoch, kept in the setting "custody".
 *
 * A relay is asked only about what it was handed itself: another one would not know it, and what it does not know would be handed over again, to arrive twice. So when host or user have changed, nothing is handed over to the new
 * one before all that the old one has is given up on: those recipients stay `relayed`, with words that say who has them. Only then the setting names the new one; an agent that dies in between begins again. Settings that
 * come back to what the setting names before it is written over (a mistyped host, corrected) are bound at once, and nothing further is given up.
 *
 * The epoch names the relay's database. A new one at the same host and account is a relay that has begun anew.
 *
 * Invariants: 1 is_bound only while the setting names host and user; 2 nothing is given up on before the setting was read, and nothing of whom it names while that is who is wanted. */
#ifndef POSTERN_AGENT_BOND_H
#define POSTERN_AGENT_BOND_H

#include "settings.h"

#include "base/buffer.h"
#include "smtp/client.h"
#include "store/store.h"

enum { BOND_PAGE = 100, BOND_RETRY_MS = 2000, BOND_TEXT_MAX = 1024 };

struct bond {
    uv_loop_t *loop;
    struct store_client *store;
    const struct log *log;
    void (*on_bound)(void *context);  /* or bond_make is to be called, or it has stopped */
    void *context;
    /* Its own: */
    struct buffer host, user;             /* bound to, or to be */
    struct buffer named_host, named_user; /* by the setting; empty: nobody, or not known */
    struct buffer saved_host, saved_user; /* by the setting that is being written */
    char epoch[SMTP_EPOCH_MAX + 1];       /* of whom the setting names */
    bool is_read, is_bound, is_working, is_saving, is_stopping, has_failed;
    uint64_t after;                   /* the last message looked at */
    uint32_t nrows, nowed;            /* of the page; outcomes that the store owes */
    uv_timer_t retry;
};

/* False: out of memory. on_bound follows, when the setting has been read. */
MUST_CHECK bool bond_open(struct bond *bond, const struct settings *settings);
/* What the setting holds; bond_open's answer comes by way of it. What was written by no program of ours counts as another relay's: its messages are not asked about, which loses a copy and doubles nothing.
 * RESULT_OK, RESULT_MEMORY. */
MUST_CHECK enum result bond_take_text(struct bond *bond, struct slice text);
/* RESULT_OK: is_bound tells whether the new ones are bound already; RESULT_MEMORY: as it was. */
MUST_CHECK enum result bond_reload(struct bond *bond, const struct settings *settings);
/* Begins to give up on what the old one has, unless that is done or under way; on_bound follows, never from inside. */
void bond_make(struct bond *bond);
/* The relay has said its epoch. True: it was another one before. */
bool bond_note_epoch(struct bond *bond, struct slice epoch);
/* on_closed: of the timer, whose data is the bond. */
void bond_stop(struct bond *bond, uv_close_cb on_closed);
/* The store owes an answer. */
bool bond_is_owed(const struct bond *bond);
void bond_free(struct bond *bond);

#endif
