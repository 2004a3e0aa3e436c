/* The custody of one message between agent and relay (schema/link.md, CHECKPOINT and XOUTCOME), for spin.
 *
 * The agent has acknowledged the message to a mail program when this begins. It hands it over under one name, over a network that may cut a connection at
 * any moment. What was sent on a connection that the agent has given up may still come to the relay, late, while the next one is in use: two sessions at once.
 * Both programs may be killed at any moment and forget what is not on their disks, and the relay's disk may be replaced by an empty one.
 *
 *   never doubled    a database of the relay's takes the message at most once                              (`taken`)
 *   nor the world    without such a loss the recipient's server gets it once, however often the relay is killed (`world`; that server's own 250 is never lost here)
 *   never lost       at any moment the agent, the relay or the recipient's server has the whole of it      (`safe`)
 *   handed over      when the network stops failing, it is delivered and the agent knows it                (`ltl handed_over`)
 *
 * FAULTS cuts and deaths and LOSSES of the database happen at most. CHUNKS is the length of the message. A mutant is made by -DNAME: each must fail.
 * Not in it: several names and recipients (each has its own record), names that are swept after their time, people who remove mail.
 *
 * What stands for what:
 *   agent, connect, hand_over, inquire      client-agent: uplink, consignment, custody; shared/smtp/client
 *   agent, the commit of an outcome         shared/store: store_attempt_finish, store_message_requeue
 *   session                                 server: gate; shared/mta/intake; shared/smtp/server
 *   claim, put, commit, ask                 shared/store on the writer's thread, each one transaction that is synced before it is answered: store_checkpoint_claim,
 *                                           half_put, half_commit, store_checkpoint_outcome. So each is one step here.
 *   owner                                   the generation of the half and its message's number: who has claimed last has both
 *   written, pos                            what the session has put into the database, and what it has in memory (lost when the relay is killed) */
#ifndef CHUNKS
#define CHUNKS 3
#endif
#ifndef FAULTS
#define FAULTS 3
#endif
#ifndef LOSSES
#define LOSSES 1
#endif
#define NOBODY 2

mtype = { MAIL_WHOLE, MAIL_ASK, CHUNK, XOUTCOME };                              /* up */
mtype = { GO_250, GO_355, DONE_250, FAIL_451, IS_QUEUED, IS_DELIVERED, IS_550 };  /* down */
mtype = { NONE, HALF, OVER };                                                   /* the relay's record */
mtype = { QUEUED, RELAYED, FINAL };                                             /* the agent's recipient */
mtype = { IDLE, NEW, CONT, SWALLOW, FAILED };                                   /* a session's transaction */
mtype = { REST, ASKED, STREAM, WAIT, TOLD, INQUIRY };                           /* the agent's hand-over, in memory */

/* ---- the network: two connections, each a pair of streams ---- */
chan up[2] = [CHUNKS + 2] of { mtype, byte };
chan down[2] = [2] of { mtype, byte };
bool linked[2];     /* the agent's end is open */
bool serving[2];    /* the relay's end is open */
byte faults = FAULTS, losses = LOSSES;

/* ---- on disks ---- */
mtype state = QUEUED;
bool has_copy = true;
mtype record = NONE;
byte held;          /* chunks of the half */
byte owner = NOBODY;
byte taken;         /* messages made under the name in this database */
bool is_delivered;  /* by this database's knowledge */
byte world;         /* the recipient's server has it so often */

/* ---- in the relay's memory, one for each session ---- */
mtype mode[2] = IDLE;
byte pos[2], written[2];

#define safe (has_copy || taken > 0 || world > 0)

inline drain(ch) { do :: nempty(ch) -> ch?_,_ :: empty(ch) -> break od; skip }

inline end_session(c)
{
    if :: owner == c -> owner = NOBODY :: else fi;
    mode[c] = IDLE; pos[c] = 0; written[c] = 0; serving[c] = false;
    drain(up[c])
}

/* MAIL TRANSID: the name is unknown, a half is gone on with (or dropped by XWHOLE), or it is over. */
inline claim(c, is_whole)
{
    pos[c] = 0; written[c] = 0;
#ifdef WHOLE_BLIND
    if :: is_whole -> record = NONE; held = 0; owner = NOBODY :: else fi;
#endif
    if
    :: record == OVER -> mode[c] = SWALLOW; pos[c] = CHUNKS
    :: record == HALF && is_whole -> record = NONE; held = 0; owner = NOBODY; mode[c] = NEW
    :: record == HALF && !is_whole -> owner = c; mode[c] = CONT; pos[c] = held; written[c] = held
    :: record == NONE -> mode[c] = NEW
    fi
}

#ifdef NO_GENERATION
#define is_ours(c) (record == HALF)
#else
#define is_ours(c) (record == HALF && owner == c)
#endif

/* What the session has in memory goes to the disk; the first time it begins the record. */
inline put(c)
{
    if
    :: mode[c] == NEW && pos[c] > 0 && record == NONE -> record = HALF; owner = c; held = pos[c]; written[c] = pos[c]; mode[c] = CONT
    :: mode[c] == NEW && pos[c] > 0 && record != NONE -> mode[c] = FAILED
    :: mode[c] == CONT && is_ours(c) -> assert(written[c] == held); held = pos[c]; written[c] = pos[c]
    :: mode[c] == CONT && !is_ours(c) -> mode[c] = FAILED
    :: else
    fi
}

inline take(c) { assert(pos[c] == CHUNKS); taken++; record = OVER; owner = NOBODY; held = 0; assert(taken <= 1) }

/* The last chunk: message, record and reply in one transaction. Who comes second is told what the first was told, or to try again. */
inline commit(c)
{
    if
    :: mode[c] == SWALLOW -> down[c]!DONE_250,0
    :: mode[c] == FAILED -> down[c]!FAIL_451,0
#ifdef COMMIT_BLIND
    :: mode[c] == NEW -> take(c); down[c]!DONE_250,0
#else
    :: mode[c] == NEW && record == NONE -> take(c); down[c]!DONE_250,0
    :: mode[c] == NEW && record != NONE -> down[c]!FAIL_451,0
    :: mode[c] == NEW && record == OVER -> down[c]!DONE_250,0
#endif
    :: mode[c] == CONT && is_ours(c) -> assert(written[c] == held); take(c); down[c]!DONE_250,0
    :: mode[c] == CONT && !is_ours(c) -> down[c]!FAIL_451,0
    fi;
    mode[c] = IDLE; pos[c] = 0; written[c] = 0
}

inline chunk(c, number)
{
    if
    :: mode[c] == SWALLOW || mode[c] == FAILED
    :: else -> assert(number == pos[c]); pos[c] = number + 1    /* no piece is put where it does not belong */
    fi;
    if :: number + 1 >= CHUNKS -> commit(c) :: else fi
}

active [2] proctype session()
{
    byte number;
end:
    do
    :: d_step { serving[_pid] && up[_pid]?[MAIL_WHOLE,_] -> up[_pid]?MAIL_WHOLE,_; claim(_pid, true) }
    :: d_step { serving[_pid] && up[_pid]?[MAIL_ASK,_] -> up[_pid]?MAIL_ASK,_; claim(_pid, false);
           if :: mode[_pid] == NEW -> down[_pid]!GO_250,0 :: else -> down[_pid]!GO_355,pos[_pid] fi }
    :: atomic { serving[_pid] && up[_pid]?[CHUNK,_] -> up[_pid]?CHUNK,number; chunk(_pid, number); number = 0 }
    :: d_step { serving[_pid] && up[_pid]?[XOUTCOME,_] -> up[_pid]?XOUTCOME,_;
           if
           :: record == OVER && is_delivered -> down[_pid]!IS_DELIVERED,0
           :: record == OVER && !is_delivered -> down[_pid]!IS_QUEUED,0
           :: record != OVER -> down[_pid]!IS_550,0
           fi }
    /* A piece is full, or the client was silent for a second (store_intake_sync). */
    :: d_step { serving[_pid] && (mode[_pid] == NEW || mode[_pid] == CONT) && pos[_pid] > written[_pid] -> put(_pid) }
    /* The connection's end comes to the relay: what was under way may have come before it, or is lost. The half stays (store_intake_suspend). */
    :: d_step { serving[_pid] && !linked[_pid] -> put(_pid); end_session(_pid) }
    :: d_step { serving[_pid] && linked[_pid] && faults > 0 -> faults--; put(_pid); end_session(_pid) }
    od
}

/* The relay's deliveries: shared/mta. */
active proctype delivery()
{
end:
    do :: d_step { record == OVER && taken > 0 && !is_delivered -> is_delivered = true;
           assert(world == 0 || losses < LOSSES); if :: world < 2 -> world++ :: else fi } od
}

/* The relay is killed; or its disk dies with all that was on it, and an empty one takes its place. */
active proctype relay_fate()
{
end:
    do
    :: d_step { faults > 0 && (serving[0] || serving[1]) -> faults--; end_session(0); end_session(1) }
    :: d_step { losses > 0 && record != NONE -> losses--; end_session(0); end_session(1);
           record = NONE; held = 0; owner = NOBODY; taken = 0; is_delivered = false; assert(safe) }
    od
}

inline connect(c) { drain(up[c]); drain(down[c]); current = c; linked[c] = true; serving[c] = true }

/* The agent's side of a connection ends; replies that were under way are gone. */
inline give_up() { linked[current] = false; drain(down[current]); current = NOBODY }

active proctype agent()
{
    byte current = NOBODY, next, offset;
    mtype stage = REST;
    do
    :: d_step { state != FINAL && current == NOBODY && stage == REST && !serving[0] && !linked[0] -> connect(0) }
    :: d_step { state != FINAL && current == NOBODY && stage == REST && !serving[1] && !linked[1] -> connect(1) }

    /* A small message or a fresh one goes as a whole; another asks first. After a start the agent can't know: both, always. */
    :: d_step { state == QUEUED && stage == REST && current != NOBODY -> up[current]!MAIL_WHOLE,0; next = 0; stage = STREAM }
    :: d_step { state == QUEUED && stage == REST && current != NOBODY -> up[current]!MAIL_ASK,0; stage = ASKED }
    :: d_step { stage == ASKED && current != NOBODY && down[current]?[GO_250,_] -> down[current]?GO_250,_; next = 0; stage = STREAM }
    :: d_step { stage == ASKED && current != NOBODY && down[current]?[GO_355,_] -> down[current]?GO_355,offset;
#ifdef RESUME_BLIND
           next = 1;           /* it goes on where it believes it stopped */
#else
           next = offset;      /* all of it: BDAT 0 LAST, the piece behind the last */
#endif
           offset = 0; stage = STREAM }
    :: d_step { stage == STREAM && current != NOBODY -> up[current]!CHUNK,next; next++;
           if :: next >= CHUNKS -> stage = WAIT; next = 0 :: else fi }
    :: d_step { stage == WAIT && current != NOBODY && down[current]?[DONE_250,_] -> down[current]?DONE_250,_; stage = TOLD }
    :: d_step { stage == WAIT && current != NOBODY && down[current]?[FAIL_451,_] -> down[current]?FAIL_451,_; stage = REST }
    :: d_step { stage == TOLD -> state = RELAYED; stage = REST;
#ifdef DROP_AT_250
           has_copy = false; assert(safe)
#endif
       }
#ifndef NEVER_ASKS
    :: d_step { state == RELAYED && stage == REST && current != NOBODY -> up[current]!XOUTCOME,0; stage = INQUIRY }
#endif
    :: d_step { stage == INQUIRY && current != NOBODY && down[current]?[IS_QUEUED,_] -> down[current]?IS_QUEUED,_; stage = REST }
    :: d_step { stage == INQUIRY && current != NOBODY && down[current]?[IS_DELIVERED,_] -> down[current]?IS_DELIVERED,_;
           state = FINAL; has_copy = false; stage = REST; assert(safe) }
    :: d_step { stage == INQUIRY && current != NOBODY && down[current]?[IS_550,_] -> down[current]?IS_550,_; stage = REST;
#ifdef NO_REFILL
           state = FINAL; has_copy = false; assert(safe)
#else
           if :: has_copy -> state = QUEUED :: else fi
#endif
       }
    /* The connection dies, by the network or by the relay's end of it; what the agent has read it still writes down. */
    :: d_step { current != NOBODY && faults > 0 -> faults--; give_up(); next = 0; if :: stage != TOLD -> stage = REST :: else fi }
    :: d_step { current != NOBODY && !serving[current] -> give_up(); next = 0; if :: stage != TOLD -> stage = REST :: else fi }
    /* The agent is killed. */
    :: d_step { faults > 0 && stage != REST -> faults--; if :: current != NOBODY -> give_up() :: else fi; next = 0; stage = REST }
    :: d_step { state == FINAL && stage == REST -> if :: current != NOBODY -> give_up() :: else fi } break
    od
}

#ifdef LIVENESS
ltl handed_over { <> (state == FINAL && world > 0) }
#endif
