#include "admin.h"
#include "command.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

/* ---- the password ----------------------------------------------------------------------------------------------- */

/* One line of standard input, unless that is a terminal or at its end: then a password is made. *is_made says which. The caller wipes. */
static int take_password(const struct command_context *context, struct buffer *out, bool *is_made)
{
    char *room;
    *is_made = false;
    *out = BUFFER(CRYPTO_PASSWORD_MAX + 2);
    if (buffer_reserve(out, CRYPTO_PASSWORD_MAX + 2, &room) != RESULT_OK)
        return console_fail(&context->console, EX_OSERR, "out of memory");
    size_t len = 0;
    for (ssize_t n = 1; n > 0 && !isatty(STDIN_FILENO) && len < CRYPTO_PASSWORD_MAX + 2 && !memchr(room, '\n', len); len += n > 0 ? (size_t)n : 0)
        n = read(STDIN_FILENO, room + len, CRYPTO_PASSWORD_MAX + 2 - len);
    const char *end = memchr(room, '\n', len);
    size_t used = end ? (size_t)(end - room) : len;
    if (used > 0 && room[used - 1] == '\r')
        used--;
    if (used > CRYPTO_PASSWORD_MAX)
        return console_fail(&context->console, EX_DATAERR, "the password is longer than %d octets", CRYPTO_PASSWORD_MAX);
    if (used == 0) {
        crypto_readable_password(room);
        used = strlen(room);
        *is_made = true;
    }
    buffer_commit(out, used);
    return EX_OK;
}

static int hash_password(const struct command_context *context, struct slice password, json_t **out)
{
    switch (account_password_json(password, out)) {
    case RESULT_OK:
        return EX_OK;
    case RESULT_SYNTAX:
        return console_fail(&context->console, EX_DATAERR, "the password holds control characters or is not UTF-8");
    case RESULT_LIMIT:
        return console_fail(&context->console, EX_DATAERR, "the password is too long");
    default:
        return console_fail(&context->console, EX_OSERR, "out of memory: a password hash needs 64 MiB");
    }
}

/* ---- printing --------------------------------------------------------------------------------------------------- */

static void print_account(FILE *out, const json_t *account)
{
    size_t i;
    json_t *address;
    json_t *send_as = json_object_get(account, "send_as");
    fprintf(out, "name     %s%s\n", console_text(account, "name"), json_is_true(json_object_get(account, "enabled")) ? "" : " (disabled)");
    json_array_foreach(send_as, i, address) {
        fputs(i == 0 ? "send as  " : "         ", out);
        console_print_text(out, json_string_value(address));
        fputc('\n', out);
    }
    if (json_array_size(send_as) == 0)
        fputs("send as  nothing: it can log in and send no mail; remove it and add it with --send-as\n", out);
    fprintf(out, "created  %s\nchanged  %s\n", console_text(account, "created"), console_text(account, "changed"));
}

static void print_accounts(FILE *out, const json_t *accounts)
{
    size_t i;
    json_t *account;
    json_array_foreach((json_t *)(uintptr_t)accounts, i, account) {
        size_t n = json_array_size(json_object_get(account, "send_as"));
        fprintf(out, "%-20s %-9s ", console_text(account, "name"), json_is_true(json_object_get(account, "enabled")) ? "enabled" : "disabled");
        console_print_text(out, json_string_value(json_array_get(json_object_get(account, "send_as"), 0)));
        if (n > 1)
            fprintf(out, " and %zu more", n - 1);
        fputc('\n', out);
    }
}

static void print_name(FILE *out, const json_t *account)
{
    fprintf(out, "%s: done\n", console_text(account, "name"));
}

/* With --json the password is a member of the account; it is shown this once and kept nowhere. */
static int show_result(const struct command_context *context, json_t *account, const struct buffer *password, bool is_made)
{
    struct slice text = buffer_slice(password);
    if (!context->line.is_json) {
        print_account(stdout, account);
        if (is_made)
            fprintf(stdout, "password %.*s\n", SLICE_ARG(text));
        return fflush(stdout) == 0 ? EX_OK : EX_IOERR;
    }
    if (is_made)
        json_object_set_new(account, "password", json_stringn(text.ptr, text.len));
    json_dumpf(account, stdout, JSON_INDENT(2));
    fputc('\n', stdout);
    return fflush(stdout) == 0 ? EX_OK : EX_IOERR;
}

/* ---- commands --------------------------------------------------------------------------------------------------- */

static json_t *send_as_json(const struct command_line *line)
{
    json_t *list = json_array();
    for (size_t i = 0; i < line->nsend_as; i++)
        json_array_append_new(list, json_string(line->send_as[i]));
    return list;
}

static int with_password(struct command_context *context, const char *command, json_t *send_as)
{
    struct buffer password = {0};
    json_t *arguments = NULL, *account = NULL;
    bool is_made;
    int code = take_password(context, &password, &is_made);
    if (code == EX_OK)
        code = hash_password(context, buffer_slice(&password), &arguments);
    if (code == EX_OK) {
        json_object_set_new(arguments, "name", json_string(context->line.words[0]));
        if (send_as)
            json_object_set(arguments, "send_as", send_as);
        code = console_fetch(&context->console, command, arguments, &account);
    }
    if (code == EX_OK)
        code = show_result(context, account, &password, is_made);
    json_decref(account);
    json_decref(send_as);
    buffer_wipe_free(&password);
    return code;
}

int cmd_account_add(struct command_context *context)
{
    if (context->line.nsend_as == 0)
        return console_fail(&context->console, EX_USAGE, "what may it send as? Give --send-as ADDRESS or --send-as @DOMAIN, once or more");
    return with_password(context, "account add", send_as_json(&context->line));
}

int cmd_account_passwd(struct command_context *context)
{
    return with_password(context, "account passwd", NULL);
}

static int named(struct command_context *context, const char *command, void (*print)(FILE *out, const json_t *result))
{
    return console_run(&context->console, command, json_pack("{s:s}", "name", context->line.words[0]), print);
}

int cmd_account_list(struct command_context *context)
{
    json_t *accounts;
    int code = console_fetch(&context->console, "account list", json_object(), &accounts);
    if (code == EX_OK && json_array_size(accounts) == 0 && !context->line.is_json)
        fprintf(stdout, "There are no accounts; make one with: %s\n", DIRS_HINT(&context->dirs, COMMAND_PROGRAM " account add NAME --send-as ADDRESS"));
    if (code == EX_OK)
        code = console_show(&context->console, accounts, print_accounts);
    json_decref(accounts);
    return code;
}

int cmd_account_show(struct command_context *context)
{
    return named(context, "account show", print_account);
}

int cmd_account_enable(struct command_context *context)
{
    return named(context, "account enable", print_name);
}

int cmd_account_disable(struct command_context *context)
{
    return named(context, "account disable", print_name);
}

int cmd_account_remove(struct command_context *context)
{
    return named(context, "account remove", print_name);
}
