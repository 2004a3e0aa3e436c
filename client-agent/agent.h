/* The agent: everything that a running postern-agent owns, from its start to its end. One loop, one store, one uplink.
 *
 *   mail program --localhost--> reception --> store --> queue --> uplink --> relay
 *
 * Start: configuration, keys, store, queue, listeners, control socket, in this order, so that nothing is accepted that could not be kept. Stop (SIGTERM, SIGINT): the other way round; what
 * is under way is given up where it stands, for the store has it all. SIGHUP: configuration, password and CA anew; what is wrong in them leaves the old in force. */
#ifndef POSTERN_AGENT_AGENT_H
#define POSTERN_AGENT_AGENT_H

#include "backlog.h"
#include "reception.h"
#include "consignment.h"
#include "diagnosis.h"
#include "naming.h"
#include "spool_key.h"
#include "uplink.h"

#include "mail/message_id.h"
#include "mta/wall.h"
#include "net/control.h"

struct agent {
    const struct dirs *dirs;
    char program[4096]; /* our own executable; "": not known */
    struct log log;
    struct settings *settings;
    uv_loop_t loop;
    struct store *store;
    struct spool_key key; /* of the store */
    struct store_client *client;
    struct message_id_source ids;
    struct queue *queue;
    struct backlog backlog;
    struct attempt_office office;
    struct reception *reception;
    struct service *service;
    struct recall recall;
    struct naming naming;
    struct prober *prober;
    struct uplink *uplink;
    struct monitor *monitor;
    struct control_server *control;
    struct diagnosis *diagnosis; /* while one runs */
    uv_signal_t signals[3];
    uv_timer_t last_patience; /* at the end, for a resolver that is silent */
    struct wall wall;
    int64_t swept_at_ms; /* wall time */
    bool has_loop, has_signals, has_started, has_backlog, is_stopping;
    struct monitor_event network;       /* the monitor's last word; up until it has come */
    bool is_hangup_early, is_end_early; /* signals that came during the start */
    int exit_code;
};

/* Runs until told to stop; returns an exit code of sysexits, having said why on stderr. When the resolver is still silent then, the process ends from in here. */
int agent_run(struct agent *agent, const struct dirs *dirs);
/* SIGTERM's effect. */
void agent_stop(struct agent *agent, int exit_code);

/* The commands of the control socket (admin.c); context is the agent. */
void agent_command(void *context, struct control_call *call, const char *command, const json_t *arguments);

/* Finds out where our own executable is. */
void agent_find_program(struct agent *agent);

/* Parts of the start that other commands need too (parts.c). All say on stderr what is wrong and return an exit code, EX_OK on success. */
int agent_load_settings(const struct dirs *dirs, struct settings **out);
/* A secret with the line end behind it taken off; buffer_wipe_free it. */
int agent_read_secret(const char *path, struct buffer *out);
int agent_make_tls(const struct settings *settings, const struct log *log, struct tls_context **out);
/* EX_TEMPFAIL: another process has it, and still has it after AGENT_STORE_PATIENCE_MS; our own short commands (a sendmail without a daemon) are waited for. */
int agent_open_store(const struct dirs *dirs, const struct settings *settings, const struct log *log, struct store **out, struct spool_key *key);
/* Of what store_open has said: a key that is locked away is EX_TEMPFAIL. */
int agent_store_exit_code(enum result result);
/* The same without waiting and without words on stderr: those go to why. */
MUST_CHECK enum result agent_try_store(const struct dirs *dirs, const struct settings *settings, const struct log *log, uint32_t wait_ms, struct store **out, struct spool_key *key,
                                       char *why, size_t why_size);
/* The token that lets our own sendmail in; made at the first start. */
int agent_read_token(const struct dirs *dirs, bool may_make, struct buffer *out);
/* The program's name in errors. */
#define AGENT_PROGRAM "postern-agent"
enum { AGENT_STORE_PATIENCE_MS = 5000 };
int agent_fail(int exit_code, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
