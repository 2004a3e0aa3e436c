/* Where a program's files live.
 *
 *               --dir DIR        relay            agent
 *   config_file DIR/relay.conf   /etc/postern     $XDG_CONFIG_HOME/postern   or ~/.config/postern
 *   database    DIR/relay.db     /var/lib/postern $XDG_DATA_HOME/postern     or ~/.local/share/postern
 *   keys        DIR/keys         /var/lib/postern $XDG_DATA_HOME/postern     (a folder)
 *   socket      DIR/relay.sock   /run/postern     $XDG_RUNTIME_DIR/postern   or the database's folder
 *
 * ("agent" instead of "relay" in the agent's file names.) The XDG variables count only when they are absolute, as that specification asks. */
#ifndef POSTERN_CONFIG_DIRS_H
#define POSTERN_CONFIG_DIRS_H

#include "base/arena.h"
#include "base/result.h"

enum dirs_program { DIRS_RELAY, DIRS_AGENT };

struct dirs {
    const char *config_folder;
    const char *data_folder;
    const char *run_folder;
    const char *config_file;
    const char *database;
    const char *keys; /* a folder */
    const char *socket;
    const char *dir; /* DIR of --dir, for hints; NULL: not given */
};

/* What of the environment decides; a test gives its own. */
struct dirs_environment {
    const char *home;
    const char *xdg_config_home;
    const char *xdg_data_home;
    const char *xdg_runtime_dir;
};

struct dirs_environment dirs_environment(void);
/* What a person is told to run: command, and " --dir DIR" behind it when that was given, quoted for the shell where it needs that. A DIR that does not fit is left out. dirs NULL: not known.
 * Returns out. DIRS_HINT gives room that lasts as long as the block it stands in. */
enum { DIRS_HINT_MAX = 1024 };
const char *dirs_hint(const struct dirs *dirs, const char *command, char out[static DIRS_HINT_MAX]);
#define DIRS_HINT(dirs, command) dirs_hint((dirs), (command), (char[DIRS_HINT_MAX]){0})

/* dir: of --dir, or NULL. Strings are in the arena. RESULT_OK; RESULT_NOT_FOUND: the agent's home is not known; RESULT_SYNTAX: dir is empty;
 * RESULT_MEMORY. Nothing is made on disk: private_make_folder does that. */
MUST_CHECK enum result dirs_find(enum dirs_program program, const char *dir, const struct dirs_environment *environment, struct arena *arena,
                                 struct dirs *out);

#endif
