/* The store: everything a program must not forget, in one SQLite file.
 *
 * Every call is asynchronous: it returns at once and the answer comes later in a callback on the loop that asked, never from inside the call.
 * No caller may assume that the database is local. One writer thread takes whatever requests have gathered, runs them in one
 * transaction, commits once (WAL, synchronous=FULL), and only then hands the answers back: group commit. A request that breaks takes nobody along:
 * the rest is rolled back and run again, each in a transaction of its own. A full disk refuses new mail only: room is kept for outcomes. One reader
 * thread with a connection of its own serves listings and bodies, so a commit never waits for them. A third moves the write-ahead log into the
 * database beside them. At rest no thread wakes up.
 *
 *     loop thread                writer thread
 *     store_put_... ----------> [queue] -> BEGIN, requests, COMMIT -> answers ----> store_client (uv_async) -> callback
 *
 * The place that turns a commit into answers is one function, writer_release in writer.c. A failed commit gives every request in it its error:
 * nothing is tried again into a success (fsync that failed once may lie the next time).
 *
 * Invariants; the tests name them by number.
 *   1 An answer RESULT_OK of a write means: on the disk, power cut included.
 *   2 A message exists with envelope, all chunks and its recipients, or it does not exist for the queue at all. Half-received bodies are swept at
 *     start, but for those of a named transaction (checkpoints, below).
 *   3 After RESULT_FULL or RESULT_IO everything that was acknowledged before is still there, and later requests are tried afresh.
 *   4 Answers to one client come in the order of its requests of the same kind (writes, reads), but for those that go in steps (lists, sweeps, the mending of times, the removal of an account), and for those that never
 *     came to a thread, because they were turned away (6) or memory was out: these are answered at once, before what waits.
 *   5 No slice given to a request is used after the call returns; what an answer points at is valid during the callback only, unless ownership is
 *     said to pass.
 *   6 What waits for the writer is bounded. A new message is turned away (RESULT_BUSY, later, as any answer) when STORE_WRITES_MAX requests or
 *     STORE_WRITES_OCTETS_MAX octets wait. Chunks of bodies that are already coming in may go to twice both, lest a message is refused when most of
 *     it is there; a body whose chunk is turned away fails. Everything else (outcomes, what people ask) is turned away at twice the requests and at
 *     no number of octets: one carries a report, of 512 KiB as a rule, and its outcomes, and those who ask bound how many they have under way. The same for the
 *     reader, whose requests carry nothing.
 *
 * States of a message and its recipients, and every crash point: schema/README.md. */
#ifndef POSTERN_STORE_STORE_H
#define POSTERN_STORE_STORE_H

#include "base/arena.h"
#include "base/log.h"
#include "crypto/seal.h"
#include "mail/envelope.h"
#include "smtp/sasl.h"

#include <uv.h>

#define STORE_UNREADABLE "(unreadable)" /* in the place of a text that does not open */

struct schema_file;
struct store;
struct store_client;

enum {
    STORE_CHUNK = 64 * 1024,             /* octets of a body chunk, the last of a message may be shorter */
    STORE_INTAKE_WINDOW = 4 * 64 * 1024, /* octets of one body that may wait for the writer before the sender is told to pause */
    STORE_WRITES_MAX = 4096,
    STORE_DIGEST = 32,
    STORE_WRITES_OCTETS_MAX = 16 * 1024 * 1024,
};

/* ---- opening -------------------------------------------------------------------------------------------------- */

/* Mail at rest, encrypted (store/sealed.h says what). A database is sealed or unsealed when it is opened, in bounded transactions that a crash may come between. */
struct store_seal {
    bool is_wanted; /* false: a sealed database is unsealed; the key is asked for only then */
    /* Asked once, by store_open, if a key is needed: under the lock on the database, so that no two processes make one each. id names the database among others that use the same place for their
     * keys. is_sealed: there is mail under a key already; never make a new one. RESULT_OK: it is in key, and why says where it was found; else why says what is wrong and what to do, and
     * store_open fails with the result (RESULT_NOT_FOUND becomes RESULT_DENIED; RESULT_CANCELLED: it is there, but locked, or may be where nobody answers now). */
    enum result (*find_key)(void *context, const uint8_t id[static SEAL_SALT], bool is_sealed, uint8_t key[static CRYPTO_KEY], char *why, size_t why_size);
    void *context;
    const char *key_file; /* where find_key looks first, for the words on a key that is lost for good: a file that is there and no good would stand in the next one's way; NULL: in no file */
};

struct store_config {
    const char *path;                 /* of the database; the folder exists. Beside it lie PATH-wal, PATH-shm, PATH.lock and PATH.reserve */
    const struct schema_file *schema; /* migrations, applied in order in one transaction each */
    const struct log *log;
    uint32_t cache_kib;  /* SQLite's page cache per connection; 0: 2,048 */
    uint64_t max_octets; /* of the database file; 0: no limit; beyond it writes of new mail answer RESULT_FULL */
    uint32_t fresh_kib;  /* memory for messages just committed, so that delivery need not read them back; 0: 4,096 */
    uint32_t log_kib;    /* size of the write-ahead log at which it is moved into the database; 0: 16,384 */
    uint32_t wait_ms;    /* how long to wait for another process to close it, as a daemon does for a command that is done in a moment */
    const struct store_seal *seal; /* bodies, addresses, replies and hosts lie encrypted on the disk; NULL: as they are, and a sealed database is refused */
    const char *vfs;     /* SQLite's file layer; NULL: the usual one. For tests of failing disks */
};

/* Synchronous, at start only: locks the file against a second program (PATH.lock), opens, migrates, sweeps half-received bodies, starts the threads.
 * RESULT_OK; RESULT_BUSY: another process has it; RESULT_VERSION: made by a newer program; RESULT_NOT_FOUND: no such folder; RESULT_DENIED: also, sealed and
 * without its key; RESULT_CANCELLED: its key is locked away; RESULT_CORRUPT, RESULT_IO, RESULT_FULL, RESULT_MEMORY. `why` gets words for a person in every case but OK. */
MUST_CHECK enum result store_open(struct store **out, const struct store_config *config, char *why, size_t why_size);
/* Finishes what is queued, answers it, checkpoints, closes. All clients are closed before. */
void store_close(struct store **store);

bool store_is_sealed(const struct store *store);
/* Sealed, but what lay in the clear before is still in the files, for want of so many octets of free disk, or of memory (store-not-wiped in the log); 0: nothing is. It can change while the store is open. */
uint64_t store_wipe_octets(const struct store *store);

/* One for each loop that asks. Its handle keeps the loop alive only while answers are owed. */
MUST_CHECK enum result store_client_open(struct store_client **out, struct store *store, uv_loop_t *loop);
/* No callback comes after this returned, pending requests are carried out without an answer. on_closed when the memory may go; at once for NULL,
 * which is allowed. Its intakes are committed or aborted before. May be called in a callback of the same client. */
void store_client_close(struct store_client *client, void (*on_closed)(void *), void *context);

typedef void store_done(void *context, enum result result);
struct store_due;
struct store_job;
struct store_listing;
struct store_counts;
struct store_account;
struct store_device;
struct store_checkpoint;
struct store_recipient;
typedef void store_queue_row(void *context, const struct store_due *due, size_t n, bool is_last, enum result result);
typedef void store_job_done(void *context, enum result result, struct store_job *job);
typedef void store_commit_done(void *context, enum result result, uint64_t earlier);
typedef void store_octets_done(void *context, enum result result, struct slice octets);
typedef void store_listing_row(void *context, enum result result, const struct store_listing *rows, size_t n, bool is_last);
typedef void store_count_done(void *context, enum result result, const struct store_counts *counts);
typedef void store_account_done(void *context, enum result result, const struct store_account *account);
typedef void store_device_done(void *context, enum result result, const struct store_device *device, const struct store_account *account);
typedef void store_device_row(void *context, enum result result, const struct store_device *devices, size_t n, bool is_last);
typedef void store_checkpoint_done(void *context, enum result result, const struct store_checkpoint *checkpoint);
typedef void store_recipients_done(void *context, enum result result, const struct store_recipient *recipients, size_t n, uint32_t total);
struct store_half_entry;
typedef void store_halves_done(void *context, enum result result, const struct store_half_entry *entries, size_t n);
typedef void store_account_row(void *context, enum result result, const struct store_account *accounts, size_t n, bool is_last);

/* ---- taking mail in ------------------------------------------------------------------------------------------- */

enum store_state {                  /* of a recipient; a message's is derived: schema/README.md */
                   STORE_QUEUED,    /* waits for its time, or is being tried */
                   STORE_HELD,      /* waits for a person */
                   STORE_RELAYED,   /* agent: the relay has it; what became of it is asked at next_attempt_ms; final when that is 0 */
                   STORE_DELIVERED, /* the recipient's server accepted it; final */
                   STORE_BOUNCED,   /* refused or expired; final */
                   STORE_UNCERTAIN, /* the connection died after the last octet: tried again, and shown */
};
const char *store_state_name(enum store_state state);

struct store_message {
    uint64_t id;
    struct slice account; /* who submitted; empty on the agent and for our own DSNs */
    struct envelope envelope;
    uint64_t size_octets;
    bool has_8bit, is_binary, needs_smtputf8, is_dsn;
    int64_t received_at_ms; /* wall time */
    int64_t expires_at_ms;  /* wall time */
    uint32_t nchunks;
    uint32_t header_octets; /* length of the header section with its empty line */
    uint8_t digest[STORE_DIGEST]; /* of what was submitted, octets and envelope (mta/intake.h); all zero: none */
};

struct store_intake;

/* A body on its way to disk, owned by the caller until commit or abort. id is the message's. NULL: out of memory. on_drain comes when a paused intake
 * may go on, or has failed. */
struct store_intake *store_intake_new(struct store_client *client, uint64_t id, void (*on_drain)(void *context), void *context);
/* Copies. RESULT_OK; RESULT_BUSY: taken, but pause until on_drain; RESULT_FULL, RESULT_IO, RESULT_MEMORY (also: too much
 * waits for the writer), RESULT_EXISTS (the id is taken); of a named body also RESULT_CANCELLED (another session has the name, or has ended it, or the account has gone): failed, now and in
 * every later call; abort it. */
MUST_CHECK enum result store_intake_append(struct store_intake *intake, struct slice octets);
/* Ends the body and makes it a message: envelope, recipients (each under hops[i], the name of the next hop it waits for; hops may be NULL: all "")
 * and the last chunk in one commit. Takes the intake; on a failure what was on the disk of it is dropped, but for a named body whose failure is one of the moment (store_keeps_half): that is suspended. A body that fits one chunk costs exactly
 * one request. `message` is copied; its id and nchunks are filled in by the store, size_octets too. due_at_ms: wall time of the first attempt. done:
 * RESULT_OK, RESULT_FULL, RESULT_IO, RESULT_BUSY, RESULT_MEMORY, RESULT_EXISTS (the id is taken); of a named body also RESULT_EXISTS (the name is over) and RESULT_CANCELLED (another
 * session has the name). */
void store_intake_commit(struct store_intake **intake, const struct store_message *message, const struct slice *hops, int64_t due_at_ms,
                         store_done *done, void *context);
/* The same, but of messages with one digest only the first that was received within the window is taken: where there is one, nothing is written, what was on the disk of the body is dropped, and done gets
 * RESULT_OK with that one's id; else 0. The writer looks and commits in one step, so that of two that come at once one is taken. */
struct store_window {
    int64_t since_ms, until_ms; /* wall time */
    int64_t lead_ms;            /* how far the wall clock has been set, ahead or (less than 0) back, since earlier messages were received: those fall into the window also by the time that they have now */
};
void store_intake_commit_once(struct store_intake **intake, const struct store_message *message, const struct slice *hops, int64_t due_at_ms, const struct store_window *window,
                              store_commit_done *done, void *context);
/* The transaction has a name: from its first chunk on the half is kept on the disk with it (checkpoints, below). Before the first append; all of it is copied. */
struct store_naming;
MUST_CHECK enum result store_intake_name(struct store_intake *intake, const struct store_naming *naming);
/* Where in the stored octets those of the sender lie: stored = came - header_came + header_stored, from header_stored on. To be told as soon as the header is whole; before, a half can't be resumed;
 * and again when a fact has changed, before the octets that changed it are appended. */
struct store_half {
    uint64_t header_came, header_stored; /* octets; 0: not known yet */
    bool has_8bit_header, is_header_utf8, has_8bit_body, has_lines; /* has_lines: it goes on at the beginning of a line only (all but BINARYMIME) */
    int64_t received_at_ms;
};
void store_intake_note(struct store_intake *intake, const struct store_half *half);
/* Writes what is gathered of a named body, so that no more than what comes later can be lost; goes on. No answer. Without memory, or when too much waits for the writer, it is left for the next time; a failure of
 * the disk, or a full one, is the body's, as of any chunk. */
void store_intake_sync(struct store_intake *intake);
/* The sender has gone, or there is no room for more at present: what is gathered of a named body stays on the disk until it is resumed; of one that has failed, what came to the disk before. Takes the intake. As abort for one without a name
 * or a whole header. No answer; but when all of it is on the disk, that is logged, with the offset that a 355 would tell (transaction-suspended).
 * Not for a body that was refused for what it is: who went on behind what was refused would not see it any more. */
void store_intake_suspend(struct store_intake **intake);
/* A failure of the moment (memory, the disk, too much that waits): nothing is wrong with the body, what is there of it stays, and who comes back goes on behind it. After any other a half is dropped. */
bool store_keeps_half(enum result result);
/* Drops what was gathered, on disk too. Takes the intake. No answer. */
void store_intake_abort(struct store_intake **intake);

/* ---- the queue ------------------------------------------------------------------------------------------------ */

struct store_due {
    uint64_t message;
    struct slice hop;
    uint64_t size_octets;
    int64_t due_at_ms; /* the earliest of its recipients */
    bool is_held;
};
/* Everything that still has work: at start, to fill the queue in memory. Rows come in groups; is_last with the last (maybe empty) one. */
void store_queue_load(struct store_client *client, store_queue_row *row, void *context);

struct store_recipient {
    uint32_t seq; /* its place in the message, from 0 */
    struct envelope_recipient envelope;
    struct slice hop;
    enum store_state state;
    uint32_t attempts;
    int64_t next_attempt_ms; /* wall time; 0: none */
    uint32_t transaction;    /* agent: under which of the message's names it goes, or went (schema/link.md, CHECKPOINT); else 0 */
    struct slice reply;      /* last word on it: "250 2.0.0 ok", or ours */
    struct slice host;       /* who said it */
    int64_t at_ms;           /* when it was last asked; 0: not yet */
};

/* One message for one hop, with the recipients that still need work there (STORE_QUEUED, STORE_UNCERTAIN), of these the ones with the lowest transaction, for an attempt. The job is the caller's
 * from then on; free it with store_job_free. done: RESULT_OK, RESULT_NOT_FOUND (nothing left to do), RESULT_CORRUPT (sealed, and does not open: to be held), RESULT_IO ... with job NULL. A message that was
 * committed a moment ago may come from memory (same answer). */
struct store_job {
    struct arena arena;
    struct store_message message; /* envelope.recipients are those of `recipients`, in the same order */
    struct store_recipient *recipients;
    size_t nrecipients;
    size_t nlater;     /* recipients with work at this hop whose transaction comes after this one: not among those above */
    struct slice body; /* whole body when message.nchunks is 1, else empty: then read chunks */
    char *memory;      /* the store's: what body may point to */
};
void store_job_load(struct store_client *client, uint64_t message, struct slice hop, store_job_done *done, void *context);
void store_job_free(struct store_job **job);

/* Chunk number seq of a body. octets are valid during the callback. RESULT_OK, RESULT_NOT_FOUND (past the end), RESULT_IO; RESULT_CORRUPT, without octets: sealed, and does not open. */
void store_body_read(struct store_client *client, uint64_t message, uint32_t seq, store_octets_done *done, void *context);

/* What an attempt came to, for the recipients it was about. */
struct store_outcome {
    uint32_t seq;
    enum store_state state;
    int64_t next_attempt_ms; /* for QUEUED and UNCERTAIN; for RELAYED: when to ask, 0: never again */
    uint32_t transaction;    /* as in store_recipient, from now on */
    int64_t at_ms;           /* when that was, where it is not the now_ms of the whole; 0: it is */
    bool counts;             /* false: nobody was really asked; neither the number of attempts nor the time of the last one moves */
    struct slice reply, host;
};
/* A message of our own (a DSN) to be queued in the same commit; body whole, at most 512 KiB. */
struct store_own_message {
    struct store_message message;
    const struct slice *hops;
    struct slice body;
};
/* Writes outcomes and DSN together, where the transitions of schema/README.md allow (a finished recipient stays so; a held one stays held unless it
 * is finished). RESULT_NOT_FOUND, and nothing written: none applies, for example because the message was removed. When no recipient of the message
 * needs work any more, its body is dropped in the same commit; with keep_body only when what became of it is known of all, or will not be asked any more. done as above. */
void store_attempt_finish(struct store_client *client, uint64_t message, const struct store_outcome *outcomes, size_t n, int64_t now_ms,
                          const struct store_own_message *own, bool keep_body, store_done *done, void *context);

/* ---- for people ----------------------------------------------------------------------------------------------- */

struct store_listing { /* one message with all its recipients */
    struct store_message message;
    const struct store_recipient *recipients;
    size_t nrecipients;
    const char *state; /* derived: see schema/README.md */
    bool is_unreadable; /* a sealed text of it does not open, and STORE_UNREADABLE stands for it; or rows of it are altered, or gone */
};
enum store_list {
    STORE_LIST_UNFINISHED,
    STORE_LIST_ALL,
    STORE_LIST_AWAITED, /* relayed, and to be asked about */
    STORE_LIST_PENDING, /* unfinished or awaited (agent) */
};
/* Oldest first, `after` an id (0: from the start), at most `limit`. */
void store_message_list(struct store_client *client, enum store_list which, uint64_t after, uint32_t limit, store_listing_row *row, void *context);
void store_message_get(struct store_client *client, uint64_t id, store_listing_row *row, void *context);
/* RESULT_NOT_FOUND: no such message, or none of its recipients is in a state that this applies to. */
void store_message_hold(struct store_client *client, uint64_t id, store_done *done, void *context);
void store_message_release(struct store_client *client, uint64_t id, int64_t now_ms, store_done *done, void *context); /* and retry: due now */
/* Never a half: store_half_drop. */
void store_message_remove(struct store_client *client, uint64_t id, store_done *done, void *context);
/* Forgets messages that were received and finished before before_ms; not those that are asked about, nor those whose name is known (checkpoints). */
void store_sweep(struct store_client *client, int64_t before_ms, store_done *done, void *context);

/* Messages that are not done with, and of which nothing was heard (received, or asked about) for STORE_PAUSE_MS or half their lifetime, or that were last heard of more than STORE_AHEAD_MS from now, come of
 * another wall clock than today's, or nobody was there: all their times are moved so that the last is now; but what was due stays due. So they have left of their lifetime what they had left. Those that the next
 * hop has, or may have, only after STORE_STRAY_MS. with_awaited: those that are asked about too (agent). alive_at_ms: when the program was last there, by the clock of that time (0: nobody knows): until then
 * everything that is here was heard of, for to wait with nobody to ask is no pause. In steps: RESULT_OK; RESULT_BUSY, RESULT_FULL, RESULT_IO, RESULT_MEMORY: some are mended, the rest is as it was; ask again. */
#define STORE_PAUSE_MS (INT64_C(24) * 3600 * 1000)
#define STORE_STRAY_MS (INT64_C(60) * 24 * 3600 * 1000)
#define STORE_AHEAD_MS INT64_C(3600000)
void store_clock_mend(struct store_client *client, int64_t now_ms, int64_t alive_at_ms, bool with_awaited, store_done *done, void *context);

struct store_counts {
    uint64_t queued, held, uncertain, finished, octets;
    uint64_t halves, half_octets; /* of transactions that are not over (relay) */
};
/* RESULT_OK; RESULT_BUSY, RESULT_IO, RESULT_MEMORY: the counts mean nothing. Valid during the callback. */
void store_count(struct store_client *client, store_count_done *done, void *context);

/* ---- accounts (relay) ----------------------------------------------------------------------------------------- */

struct store_account {
    struct slice name; /* lower case */
    bool is_enabled;
    struct slice password_hash; /* Argon2id, encoded as libsodium does */
    struct scram_verifier scram;
    const struct slice *send_as; /* addresses and @domains, lower case */
    size_t nsend_as;
    int64_t created_at_ms, changed_at_ms;
};
void store_account_get(struct store_client *client, struct slice name, store_account_done *done, void *context);
void store_account_list(struct store_client *client, store_account_row *row, void *context);
/* RESULT_EXISTS when is_new and the name is taken; RESULT_NOT_FOUND when not is_new and it is not there. */
void store_account_put(struct store_client *client, const struct store_account *account, bool is_new, store_done *done, void *context);
/* With its devices, and with the names of its transactions, whose halves may be large: these first, in steps that other requests come between. Cut off in its middle it is to be asked again. */
void store_account_remove(struct store_client *client, struct slice name, store_done *done, void *context);

/* ---- devices (relay): laptops that log in by a token of their own ---------------------------------------------- */

struct store_device {
    struct slice id;      /* the relay's making; letters and digits, at most 64 octets */
    struct slice account; /* goes with it: removed, or given a new password (other SCRAM keys), an account has no devices any more, in the same commit */
    struct slice label;   /* for people, UTF-8 */
    uint8_t token[SASL_TOKEN];
    int64_t created_at_ms, seen_at_ms;
    int64_t enrolled_served_ms; /* in the relay's own running time: it sees the names that were begun before; to be added only, 0 when it is read */
};
/* The device and its account, both valid during the callback. RESULT_OK, RESULT_NOT_FOUND, RESULT_IO. */
void store_device_get(struct store_client *client, struct slice id, store_device_done *done, void *context);
/* Of one account, or (empty) of all, account by account; oldest first. */
void store_device_list(struct store_client *client, struct slice account, store_device_row *row, void *context);
/* RESULT_NOT_FOUND: no such account; RESULT_DENIED: it was changed at another time than account_changed_at_ms, so whoever proved its password may have proved an
 * old one; RESULT_EXISTS: the id is taken. Where the account has `most` already, the one unseen for longest makes room in the same
 * commit: a traveller whose laptop is to be enrolled has no keeper of the relay at hand to revoke an old one, and a device that was dropped can still log in by
 * name and password and enrol again. done gets the id of the one that has gone, or nothing. */
void store_device_add(struct store_client *client, const struct store_device *device, int64_t account_changed_at_ms, uint32_t most, store_octets_done *done, void *context);
/* When it last logged in; never moves back. */
void store_device_seen(struct store_client *client, struct slice id, int64_t now_ms, store_done *done, void *context);
void store_device_remove(struct store_client *client, struct slice id, store_done *done, void *context);

/* ---- checkpoints (relay): transactions with a name (RFC 1845, schema/link.md) -------------------------------------
 *
 * One row a name. It is a half, with the octets that are here, or it is over: the message is committed, and `reply` is what its sender was told, again each time he asks. The writer thread alone decides
 * who goes on: a claim makes all that another session still writes under the name fail (RESULT_CANCELLED), and of two that commit the second gets RESULT_EXISTS. */

struct store_claim {
    struct slice account, device, helo, transid; /* device empty: logged in without a token */
    bool is_by_password;                         /* sees all of the account's */
    uint8_t digest[STORE_DIGEST];                /* of MAIL: sender and parameters; ours to choose, compared as it is */
    uint64_t size_octets;                        /* as MAIL had it, so that nobody is told to go on behind it; 0: it had none */
    bool is_whole;                               /* XWHOLE: a half is dropped */
    int64_t served_ms;                           /* the relay's own running time (server/served.h), not the wall's; what is begun under the claim is begun now */
};
/* Its texts, into the arena. */
MUST_CHECK enum result store_claim_copy(struct arena *arena, struct store_claim *claim);
struct store_checkpoint {
    uint64_t message;
    uint32_t generation;          /* of the claim */
    struct slice reply;           /* "250 2.0.0 Ok: queued as ..."; empty: a half. What has lost its words on the disk may have others, or "250" */
    uint64_t came_octets;         /* of the sender's that are here: of a half with lines up to the last whole one */
    struct store_half half;       /* of a half */
    const struct envelope_recipient *recipients; /* accepted when the first octet came */
    size_t nrcpt;
};
/* How many halves a device may have, or an account's sessions without one (0: no limit), and how many octets of them together; an account with all its devices as many as STORE_HALVES_DEVICES of them. A further one
 * drops the one untouched for longest, but never the one that grows; so does a device that goes, whose halves are then the account's. One that is by itself larger than all may be together is cut to that when
 * its session gives it up, or else by store_checkpoint_sweep. At once, for what comes after; from any thread. */
enum { STORE_HALVES_DEVICES = 4 /* who has a laptop, a desk and two to spare meets no bound but each device's own; who enrols without end does */ };
void store_limit_halves(struct store *store, uint64_t most, uint64_t most_octets);
/* Where there is no room for new mail, halves of anybody are dropped for it: those untouched for so long first, then those begun last; for a half that grows only those that were begun after it (yield.c). */
enum { STORE_HALF_IDLE_MS = 60 * 1000 };
/* The halves, account by account, those untouched for longest first, at most STORE_HALVES_LISTED. RESULT_OK; RESULT_BUSY, RESULT_IO, RESULT_MEMORY: without entries. Valid during the callback. */
enum { STORE_HALVES_LISTED = 1000 };
struct store_half_entry {
    uint64_t message;
    struct slice account, device; /* device empty: none */
    uint64_t octets;              /* as they lie here */
    uint32_t nrcpt;
    bool is_receiving;            /* a session writes it at this moment */
};
void store_half_list(struct store_client *client, store_halves_done *done, void *context);
/* By a person's hand, whoever has it; who would go on with it is told that it is gone, and begins anew. Never a message, which it may have become since it was listed. RESULT_NOT_FOUND: it is no half, or not any more;
 * RESULT_DENIED: a session writes it at this moment, so that it can't be dropped before that has ended. */
void store_half_drop(struct store_client *client, uint64_t message, store_done *done, void *context);
/* RESULT_OK: known; RESULT_NOT_FOUND: to this session it is not, and may be begun (XWHOLE: a half was dropped); RESULT_DENIED: known, with another digest; RESULT_IO, RESULT_FULL, RESULT_MEMORY. Valid during the callback. */
void store_checkpoint_claim(struct store_client *client, const struct store_claim *claim, store_checkpoint_done *done, void *context);
/* A half that this claim's session has no use for is dropped. RESULT_NOT_FOUND: there is none any more, or another has claimed it since. */
void store_checkpoint_drop(struct store_client *client, uint64_t message, uint32_t generation, store_done *done, void *context);
/* What store_intake_name needs. generation: that of the claim, 0 for a new one. */
struct store_naming {
    struct store_claim claim;
    uint32_t generation;
    struct slice reply;                          /* told when it is committed */
    struct slice session;                        /* for the log */
    const struct envelope_recipient *recipients;
    size_t nrcpt;
    int64_t (*served_now_ms)(const void *served); /* the relay's running time when something is written, so that a name is known for its time from its commit on, not from MAIL; on the client's loop.
                                                   * NULL: the claim's served_ms */
    const void *served;                          /* lives as long as the intake */
};
/* Goes on with a half, at came_octets: reads back what is there of its last chunk, and drops what lies behind the offset. done with the intake, named as before under the claim's generation, or NULL: RESULT_CANCELLED (claimed by another
 * since), RESULT_NOT_FOUND, RESULT_IO, RESULT_MEMORY. Its id is the checkpoint's message. */
typedef void store_intake_done(void *context, enum result result, struct store_intake *intake);
void store_intake_resume(struct store_client *client, const struct store_checkpoint *checkpoint, const struct store_naming *naming, void (*on_drain)(void *context),
                         void *drain_context, store_intake_done *done, void *context);
/* A name that is over: the recipients of its message from number `first` on, at most `most`, and how many there are; none at all for a message that was removed. Digest and is_whole do not matter. RESULT_OK; RESULT_NOT_FOUND: unknown to this session, or a
 * half; RESULT_IO, RESULT_MEMORY. Valid during the callback. */
void store_checkpoint_outcome(struct store_client *client, const struct store_claim *claim, uint32_t first, uint32_t most, store_recipients_done *done, void *context);
/* The latest of the relay's own running time that names and devices tell, as decimal digits: it went on at least until then; "0" where there is none. RESULT_OK; RESULT_BUSY, RESULT_IO, RESULT_MEMORY,
 * with nothing. Valid during the callback. */
void store_served_latest(struct store_client *client, store_octets_done *done, void *context);
/* Forgets names untouched since served_ms, and drops their halves; cuts those that are too large (store_limit_halves) and that nobody writes. Messages whose name is known are not swept by store_sweep.
 * In steps: RESULT_OK; RESULT_BUSY, RESULT_FULL, RESULT_IO, RESULT_MEMORY: some may be forgotten, the rest is there. */
void store_checkpoint_sweep(struct store_client *client, int64_t served_ms, store_done *done, void *context);

/* ---- custody (agent): what the relay has, and may lose ------------------------------------------------------------ */

/* The relay has lost it: recipients that are STORE_RELAYED and asked about are STORE_QUEUED again, due at due_at_ms, under the same transactions. RESULT_NOT_FOUND: none is, or there is no body any more. */
void store_message_requeue(struct store_client *client, uint64_t id, int64_t due_at_ms, store_done *done, void *context);
/* No later message is taken for this one any more (store_intake_commit_once). RESULT_NOT_FOUND: no such message. */
void store_message_forget_digest(struct store_client *client, uint64_t id, store_done *done, void *context);

/* ---- small things --------------------------------------------------------------------------------------------- */

/* Named values: secrets that only this program knows, last good addresses, and the like. Name and value are copied, and wiped. get: RESULT_OK; RESULT_NOT_FOUND, RESULT_BUSY, RESULT_IO, RESULT_MEMORY, with nothing. Valid
 * during the callback. put, in the place of what was there: RESULT_OK; RESULT_BUSY, RESULT_FULL, RESULT_IO, RESULT_MEMORY (also: more than a mebibyte): what was there stays. */
void store_setting_get(struct store_client *client, struct slice name, store_octets_done *done, void *context);
void store_setting_put(struct store_client *client, struct slice name, struct slice value, store_done *done, void *context);

#endif
