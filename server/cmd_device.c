#include "command.h"

#include <sysexits.h>

static void print_devices(FILE *out, const json_t *devices)
{
    size_t i;
    json_t *device;
    if (json_array_size(devices) == 0)
        fputs("There are no devices; a laptop is enrolled when its agent first logs in by name and password\n", out);
    json_array_foreach((json_t *)(uintptr_t)devices, i, device) {
        fprintf(out, "%s  %-20s seen %s  enrolled %s  ", console_text(device, "id"), console_text(device, "account"), console_text(device, "seen"),
                console_text(device, "created"));
        console_print_text(out, console_text(device, "label"));
        fputc('\n', out);
    }
}

int cmd_device_list(struct command_context *context)
{
    json_t *arguments = json_object();
    if (context->line.account)
        json_object_set_new(arguments, "account", json_string(context->line.account));
    return console_run(&context->console, "device list", arguments, print_devices);
}

/* One after the other; the first failure's exit code is ours, and the others are done all the same. */
int cmd_device_revoke(struct command_context *context)
{
    int code = EX_OK;
    for (size_t i = 0; i < context->line.nwords; i++) {
        int one = console_run(&context->console, "device revoke", json_pack("{s:s}", "id", context->line.words[i]), console_print_done);
        code = code == EX_OK ? one : code;
    }
    return code;
}
