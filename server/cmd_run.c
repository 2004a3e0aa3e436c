#include "command.h"
#include "relay.h"

#include "config/private.h"

#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

/* Root's database in the service's folder would lock the service out of it. */
static int refuse_other_user(const struct command_context *context)
{
    struct stat folder;
    if (stat(context->dirs.data_folder, &folder) != 0 || folder.st_uid == geteuid())
        return EX_OK;
    return console_fail(&context->console, EX_NOPERM, "%s belongs to user %u: run it as that user, or with: systemctl start " COMMAND_PROGRAM,
                        context->dirs.data_folder, (unsigned)folder.st_uid);
}

int cmd_run(struct command_context *context)
{
    struct private_error error;
    int code = refuse_other_user(context);
    if (code == EX_OK && access(context->dirs.database, F_OK) != 0)
        code = command_refuse_without_database(context, EX_CONFIG);
    if (code == EX_OK && private_make_folder(context->dirs.run_folder, &error) != RESULT_OK)
        code = console_fail(&context->console, EX_CANTCREAT, "%s", error.text);
    return code == EX_OK ? relay_run(&context->dirs) : code;
}
