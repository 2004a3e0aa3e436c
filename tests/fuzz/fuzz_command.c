/* smtp/command.h: any line. What is accepted stays within its bounds. */
#include "smtp/command.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static bool is_inside(struct slice inner, struct slice outer)
{
    return inner.len == 0 || (inner.ptr >= outer.ptr && inner.ptr + inner.len <= outer.ptr + outer.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice line = slice_of(data, size), argument;
    enum smtp_verb verb = smtp_verb_parse(line, &argument);
    check(verb < SMTP_VERBS && is_inside(argument, line));
    for (int is_smtputf8 = 0; is_smtputf8 < 2; is_smtputf8++) {
        struct smtp_command command;
        enum smtp_command_fault fault = smtp_command_parse(verb, argument, is_smtputf8, &command);
        check((smtp_command_fault_reply(fault) == NULL) == (fault == SMTP_COMMAND_OK));
        if (fault != SMTP_COMMAND_OK)
            continue;
        check(is_inside(command.argument, line) && is_inside(command.envid, line) && is_inside(command.orcpt, line));
        check(is_inside(command.mechanism, line) && is_inside(command.initial, line));
        check(is_inside(command.transid, line) && command.transid.len <= SMTP_TRANSID_MAX && slice_find(command.transid, ' ') < 0);
        check(verb != SMTP_VERB_XOUTCOME || command.transid.len > 4);
        check(!(command.given & SMTP_PARAMETER_WHOLE) || (command.given & SMTP_PARAMETER_TRANSID));
        check(command.envid.len <= SMTP_ENVID_MAX && command.orcpt.len <= SMTP_ORCPT_MAX && command.address.len <= ADDRESS_MAX);
        check(!(command.notify & DSN_NOTIFY_NEVER) || command.notify == DSN_NOTIFY_NEVER);
        for (size_t i = 0; i < command.address.len; i++)
            check((unsigned char)command.address.text[i] >= ' ' && command.address.text[i] != 0x7f);
    }
    return 0;
}
