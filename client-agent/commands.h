/* The commands of postern-agent, one a file. Each returns an exit code of sysexits. */
#ifndef POSTERN_AGENT_COMMANDS_H
#define POSTERN_AGENT_COMMANDS_H

#include "agent.h"

#include "mta/console.h"

/* What every command knows: where the files are. argv[0] of a command is its own name. */
struct command_line {
    const struct dirs *dirs;
};

int command_run(const struct command_line *line, int argc, char **argv);
int command_setup(const struct command_line *line, int argc, char **argv);
int command_status(const struct command_line *line, int argc, char **argv);
int command_diagnose(const struct command_line *line, int argc, char **argv);
int command_queue(const struct command_line *line, int argc, char **argv);
int command_proxies(const struct command_line *line, int argc, char **argv);
int command_secret(const struct command_line *line, int argc, char **argv);
int command_sendmail(const struct command_line *line, int argc, char **argv);

/* A console whose commands are done here when no daemon runs. is_json is taken from argv, and removed. */
struct console command_console(const struct command_line *line, int *argc, char **argv);

#endif
