/* The store's inside, for the files of this folder only: tasks, the threads that run them, and what they share.
 *
 *     client.c  task_new ... writer_send / reader_send        on the asker's loop
 *     writer.c  run, commit, writer_release -> client_post     writer thread
 *     reader.c  run -> client_post                             reader thread
 *     client.c  answer                                         on the asker's loop again
 *
 * A task belongs to one thread at a time; who passes it on does not look back. */
#ifndef POSTERN_STORE_ENGINE_H
#define POSTERN_STORE_ENGINE_H

#include "store/database.h"
#include "store/sealed.h"
#include "store/store.h"

#include <stdatomic.h>

/* New mail, for what has to give way to it where there is no room: a piece of the half of that number, or (is_whole) what is in the queue behind it, or was never a half. */
struct half_growing {
    uint64_t message; /* 0: none that is named */
    bool is_whole;
};

struct store_task {
    struct store_task *next;
    struct store_client *client;
    /* On the writer's or reader's thread. A writer's task may run twice: once among others and, when one of those broke the transaction,
     * once alone. What it has changed when it answers NOT_FOUND, EXISTS, CANCELLED or DENIED (nothing, as a rule) is committed: these need no rollback. */
    enum result (*run)(struct store_task *task, struct database *db);
    /* Likewise, in place of `run` for new mail that finds no room: what can be said without any. RESULT_NOT_FOUND: nothing, it is refused (RESULT_FULL). NULL: the same. */
    enum result (*run_full)(struct store_task *task, struct database *db);
    /* Writer's thread, after a commit that took the task in: for memory that mirrors the disk. NULL: nothing. */
    void (*committed)(struct store_task *task);
    /* On the loop: calls back (only if is_wanted: the client is still open) and frees the task with task_free, or sends it on again. */
    void (*answer)(struct store_task *task, bool is_wanted);
    /* Set once by the writer when a task of the same body failed, before it looks at the next: the later ones fail with it. NULL: stands alone. */
    enum result *fate;
    enum result result;
    size_t octets;     /* of memory, for the bound on what waits */
    struct half_growing growing; /* of new mail */
    bool is_mail;      /* new mail: refused when room is short, while everything else goes on */
    bool is_urgent;    /* somebody waits for the commit */
    bool has_set_fate; /* the writer's: this is the one that failed */
    bool is_emergency; /* lives in the client's reserve, because memory was out */
};

struct task_queue {
    struct store_task *first, *last;
    size_t count, nurgent, octets;
};
void task_queue_add(struct task_queue *queue, struct store_task *task);
struct store_task *task_queue_take(struct task_queue *queue);

/* A thread with a queue of tasks. {0} is one that was never started. */
struct worker {
    uv_thread_t thread;
    uv_mutex_t mutex;
    uv_cond_t wake;
    struct task_queue queue;
    bool is_started;
    size_t wake_at; /* urgent tasks that end the writer's wait for company; 0: any task wakes */
    bool is_stopping;
    bool is_warm; /* has worked since it was last quiet */
};
MUST_CHECK enum result worker_start(struct worker *worker, void (*run)(void *), void *context);
/* Lets it finish its queue, and waits for that. Does nothing for one that was not started. */
void worker_stop(struct worker *worker);
/* Waits for tasks. False: told to stop and nothing is left. After a while without work that follows work calls `quiet` once: there is no timer at
 * rest. */
bool worker_wait(struct worker *worker, void (*quiet)(void *), void *context);
/* Gives freed memory back to the system. */
void worker_trim(void);

struct fresh;
struct receiving;
struct room;
struct keeper;

struct store {
    const struct log *log;
    char *path;
    int lock_fd;
    struct database writer_db, reader_db, keeper_db;
    struct worker writer, reader;
    struct keeper *keeper;
    struct fresh *fresh;
    struct receiving *receiving;
    struct room *room;
    struct seal *seal; /* NULL: the database is not sealed */
    _Atomic uint64_t wipe_octets; /* store_wipe_octets */
    /* writer's thread */
    size_t crowd; /* urgent tasks that lately came together; decays */
    bool is_room_known, has_room;
    bool is_wipe_given_up; /* until the next opening: something else than room is wanting */
};

/* ---- writer.c, reader.c, keeper.c: threads ---- */
void writer_main(void *store);
void reader_main(void *store);

/* Moves the write-ahead log into the database beside the writer's work. */
MUST_CHECK enum result keeper_open(struct keeper **out, struct store *store, uint32_t log_kib);
void keeper_close(struct keeper **keeper);
/* Writer, after each commit. */
void keeper_consider(struct keeper *keeper);
/* Writer, when work has ended: the log is moved beside whatever comes next. */
void keeper_rest(struct keeper *keeper);
/* Writer, outside a transaction, when the disk is full: waits for it. True: the log's file can be written from its start. */
bool keeper_empty(struct keeper *keeper);

/* ---- room.c: what is left of the disk ---- */
MUST_CHECK enum result room_open(struct room **out, const char *path, uint64_t max_octets, const struct log *log);
void room_close(struct room **room);
/* Octets that must be freed in the database before new mail may be taken: 0, none; UINT64_MAX: no such number would help. Inside a transaction. */
uint64_t room_lacking(struct room *room, struct database *db);
/* Octets on the disk; UINT64_MAX: it can't be told. From any thread. */
uint64_t room_free(const struct room *room);
/* What came of it, for the log, which tells it when it changes. */
void room_tell(struct room *room, bool is_short);
/* The disk is full: gives up the reserve so that outcomes can still be written. False: there was none left. */
bool room_give_way(struct room *room);

/* ---- fresh.c: messages that were committed a moment ago ---- */
struct fresh *fresh_new(size_t max_octets); /* NULL: out of memory */
void fresh_free(struct fresh **fresh);
/* Takes the job, and keeps or frees it. */
void fresh_put(struct fresh *fresh, struct store_job *job);
/* NULL: not here, or not all of it is for that hop. The job is the caller's. */
struct store_job *fresh_take(struct fresh *fresh, uint64_t message, struct slice hop);
void fresh_drop(struct fresh *fresh, uint64_t message);
void fresh_clear(struct fresh *fresh);

/* ---- receiving.c: named bodies that come in at this moment ---- */
struct receiving *receiving_new(void); /* NULL: out of memory */
void receiving_free(struct receiving **receiving);

/* ---- client.c ---- */
struct store *client_store(const struct store_client *client);
/* Zeroed; never NULL: when memory is out the task comes from the client's reserve, with result RESULT_MEMORY. */
void *task_new(struct store_client *client, size_t size, enum result (*run)(struct store_task *, struct database *),
               void (*answer)(struct store_task *, bool is_wanted));
/* For one that is embedded in something longer-lived. */
void task_init(struct store_task *task, struct store_client *client, enum result (*run)(struct store_task *, struct database *),
               void (*answer)(struct store_task *, bool is_wanted));
void task_free(struct store_task *task);
/* On the loop. One whose result is not RESULT_OK is answered without being run; one that finds the queue full, too, with RESULT_BUSY. Returns what is
 * known at once: RESULT_OK, or why it will not be run. The answer comes in every case. */
enum result writer_send(struct store_task *task);
void reader_send(struct store_task *task);
/* From any thread: the task is done. */
void client_post(struct store_task *task);
/* For tasks that know their answer without a thread. */
void client_answer(struct store_task *task);
/* +1 and -1: none may be left when the client is closed. */
void client_count_intake(struct store_client *client, int change);
bool client_is_open(const struct store_client *client);
/* Octets that wait for the writer, about. */
size_t writer_load(struct store *store);

enum { TASK_SIZE_MAX = 352 }; /* octets: what the reserve has for a task */

/* The tasks that end in a store_done. */
struct done_task {
    struct store_task task;
    store_done *done;
    void *context;
};
/* As task_new, for a task that begins with a done_task; answer: done_answer, or what ends in it. */
void *done_task_new(struct store_client *client, size_t size, enum result (*run)(struct store_task *, struct database *),
                    void (*answer)(struct store_task *, bool is_wanted), store_done *done, void *context);
void done_answer(struct store_task *task, bool is_wanted);

/* ---- row.c: rows of messages; inside the caller's transaction ---- */
/* A whole job: message, recipients, and its body from chunk number nsent on. RESULT_EXISTS before any change. */
MUST_CHECK enum result message_write(struct database *db, const struct store_job *job, uint32_t nsent);
/* The first of that digest that was received within the window. RESULT_NOT_FOUND. */
MUST_CHECK enum result message_find(struct database *db, const uint8_t digest[static STORE_DIGEST], const struct store_window *window, uint64_t *id);
/* Chunk 0 or later. */
MUST_CHECK enum result message_add_chunk(struct database *db, uint64_t message, uint32_t seq, struct slice octets);
/* Into memory that is the caller's to free. RESULT_NOT_FOUND: past the end. */
MUST_CHECK enum result message_read_chunk(struct database *db, uint64_t message, uint32_t seq, char **octets, size_t *len);
MUST_CHECK enum result message_drop_body(struct database *db, uint64_t message);
MUST_CHECK enum result message_drop_chunks_from(struct database *db, uint64_t message, uint32_t seq);
/* Everything of it: message, recipients, body. RESULT_NOT_FOUND: neither a message nor recipients. */
MUST_CHECK enum result message_erase(struct database *db, uint64_t message);
/* Reads into an arena. RESULT_NOT_FOUND. RESULT_CORRUPT: where a sealed text can't be opened stands STORE_UNREADABLE, and the rest is there all the same. envelope.recipients is left
 * empty. */
MUST_CHECK enum result message_read(struct database *db, struct arena *arena, uint64_t id, struct store_message *out);
/* Recipients of a message: all of them, or with `hop` those with work at it. RESULT_CORRUPT with *n not 0: as above. */
MUST_CHECK enum result message_read_recipients(struct database *db, struct arena *arena, uint64_t id, const struct slice *hop,
                                               struct store_recipient **out, size_t *n);
/* Those from number `first` on, at most `most`; and how many there are. */
MUST_CHECK enum result message_read_some(struct database *db, struct arena *arena, uint64_t id, uint32_t first, uint32_t most, struct store_recipient **out, size_t *n);
MUST_CHECK enum result message_count_recipients(struct database *db, uint64_t id, uint32_t *out);
/* database_changes tells whether it applied. */
MUST_CHECK enum result message_set_outcome(struct database *db, uint64_t message, const struct store_outcome *outcome, int64_t now_ms);
MUST_CHECK enum result message_is_there(struct database *db, uint64_t message, bool *out);
/* A recipient is unfinished; or, with while_awaited, relayed and to be asked about. */
MUST_CHECK enum result message_needs_body(struct database *db, uint64_t message, bool while_awaited, bool *out);
/* After the first change of a task "exists" is no answer but a broken database: RESULT_CORRUPT, and the task is rolled back. */
enum result must_be_new(enum result result);

/* ---- account.c, device.c: inside the caller's transaction ---- */
/* RESULT_NOT_FOUND. */
MUST_CHECK enum result account_read(struct database *db, struct slice name, struct arena *arena, struct store_account *out);
MUST_CHECK enum result account_is_there(struct database *db, struct slice name, bool *out);
MUST_CHECK enum result device_remove_all(struct database *db, struct slice account);

/* ---- job.c, intake.c ---- */
struct store_job *job_new(void); /* NULL: out of memory */
/* Copies the message, and builds recipients of its envelope. RESULT_OK, RESULT_MEMORY. */
MUST_CHECK enum result job_fill(struct store_job *job, const struct store_message *message, const struct slice *hops, int64_t due_at_ms);
/* At start: bodies that were half received. */
MUST_CHECK enum result intake_sweep(struct database *db);

/* ---- sealing.c ---- */
/* At start: makes the database as the configuration has it, sealed or not, and sets store->seal; as store_open. */
MUST_CHECK enum result sealing_settle(struct store *store, const struct store_config *config, char *why, size_t why_size);

/* The mark of the database (mark.h): read; and written in a transaction of its own. */
struct mark;
MUST_CHECK enum result sealing_read_mark(struct database *db, struct mark *mark);
MUST_CHECK enum result sealing_commit_mark(struct database *db, const struct mark *mark);

/* ---- wiping.c ---- */
/* Of a database that is MARK_WIPING. That it could not be done is no failure: mail goes on, sealed, and store->wipe_octets says that it is due. */
MUST_CHECK enum result wiping_try(struct store *store, struct mark *mark);
/* Writer, when work has ended, outside a transaction: does what is due of it, if little is left in the database and there is room. */
void wiping_later(struct store *store);
/* The settings that sealing and wiping change. */
MUST_CHECK enum result wiping_back_to_usual(struct database *db);

/* ---- migrate.c ---- */
MUST_CHECK enum result database_migrate(struct database *db, const struct schema_file *files, char *why, size_t why_size);

#endif
