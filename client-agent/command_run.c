/* postern-agent run: in the foreground, logging to standard error. */
#include "commands.h"

#include <stdlib.h>
#include <sysexits.h>

int command_run(const struct command_line *line, int argc, char **argv)
{
    (void)argv;
    if (argc > 1)
        return agent_fail(EX_USAGE, "run takes no arguments");
    struct agent *agent = calloc(1, sizeof *agent);
    if (!agent)
        return agent_fail(EX_OSERR, "out of memory");
    int code = agent_run(agent, line->dirs);
    free(agent);
    return code;
}
