/* The command line: a table of commands, their options, and what they share. Exit codes are those of sysexits. */
#ifndef POSTERN_SERVER_COMMAND_H
#define POSTERN_SERVER_COMMAND_H

#include "conf.h"

#include "mta/console.h"

#define COMMAND_PROGRAM "postern-relay"

enum { COMMAND_SEND_AS_MAX = 1000, COMMAND_WORDS_MAX = 16 };

enum command_option {
    OPTION_JSON = 1,
    OPTION_NAME = 2,
    OPTION_SMARTHOST = 4,
    OPTION_SEND_AS = 8,
    OPTION_ALL = 16,
    OPTION_ACCOUNT = 32,
};

struct command_line {
    const char *dir;
    const char *name, *smarthost, *account;
    const char **send_as;
    size_t nsend_as;
    const char *words[COMMAND_WORDS_MAX]; /* behind the command's own */
    size_t nwords;
    bool is_json, is_all, wants_help, wants_version;
};

struct command_context {
    struct arena arena;
    struct command_line line;
    struct dirs dirs;
    struct console console;
};

struct command {
    const char *words; /* "account add" */
    const char *arguments;
    const char *help;
    unsigned options; /* enum command_option, or-ed */
    size_t words_min, words_max;
    bool keeps_user; /* run as who called it, root included */
    int (*run)(struct command_context *context);
};

int command_main(int argc, char **argv);

/* ---- the commands ---- */
int cmd_init(struct command_context *context);
int cmd_run(struct command_context *context);
int cmd_account_add(struct command_context *context);
int cmd_account_passwd(struct command_context *context);
int cmd_account_list(struct command_context *context);
int cmd_account_show(struct command_context *context);
int cmd_account_enable(struct command_context *context);
int cmd_account_disable(struct command_context *context);
int cmd_account_remove(struct command_context *context);
int cmd_device_list(struct command_context *context);
int cmd_device_revoke(struct command_context *context);
int cmd_key_show(struct command_context *context);
int cmd_queue_list(struct command_context *context);
int cmd_queue_show(struct command_context *context);
int cmd_queue_halves(struct command_context *context);
int cmd_queue_retry(struct command_context *context);
int cmd_queue_hold(struct command_context *context);
int cmd_queue_release(struct command_context *context);
int cmd_queue_remove(struct command_context *context);
int cmd_queue_drop(struct command_context *context);
int cmd_status(struct command_context *context);
int cmd_check(struct command_context *context);
int cmd_dns(struct command_context *context);

/* ---- what they share ---- */
/* The configuration, or an exit code with words on stderr. */
MUST_CHECK int command_load_conf(const struct command_context *context, struct conf **out);
/* For struct console: the command on a store opened here, when no relay runs. context is a struct command_context. */
int command_local(void *context, const char *command, const json_t *arguments, void (*on_line)(void *, const json_t *), void *line_context);
/* Says that there is no database, and what to do about it; returns code. */
int command_refuse_without_database(const struct command_context *context, int code);
/* The pin of the certificate that is configured, in text. */
MUST_CHECK int command_load_pin(const struct command_context *context, const struct conf *conf, char out[static TLS_PIN_TEXT]);

#endif
