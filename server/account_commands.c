#include "admin.h"

#include "mail/address.h"
#include "mta/queue_commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

/* ---- JSON ------------------------------------------------------------------------------------------------------- */

static json_t *base64_json(const uint8_t *octets, size_t len)
{
    struct buffer text = BUFFER(256);
    json_t *json = NULL;
    if (crypto_base64_encode(slice_of(octets, len), &text) == RESULT_OK)
        json = json_stringn(buffer_slice(&text).ptr, buffer_len(&text));
    buffer_free(&text);
    return json;
}

/* Exactly want octets, or at most `most` where want is 0; the number, or 0. */
static size_t base64_value(const json_t *json, uint8_t *out, size_t want, size_t most)
{
    struct buffer octets = BUFFER(256);
    size_t len = 0;
    if (json_is_string(json) && crypto_base64_decode(slice_of(json_string_value(json), json_string_length(json)), &octets) == RESULT_OK) {
        len = buffer_len(&octets);
        if (len > most || (want && len != want))
            len = 0;
        memcpy(out, buffer_slice(&octets).ptr, len);
    }
    buffer_wipe_free(&octets);
    return len;
}

enum result account_password_json(struct slice password, json_t **out)
{
    char hash[CRYPTO_PASSWORD_HASH_MAX];
    uint8_t salt[16];
    struct scram_verifier scram = {0};
    crypto_random(salt, sizeof salt);
    enum result result = scram_verifier_make(password, salt, sizeof salt, SCRAM_ITERATIONS, &scram);
    if (result == RESULT_OK)
        result = crypto_password_hash(password, (struct crypto_password_cost){0}, hash);
    if (result != RESULT_OK)
        return result;
    json_t *keys = json_pack("{s:o, s:i, s:o, s:o}", "salt", base64_json(scram.salt, scram.salt_len), "iterations", (int)scram.iterations,
                             "stored_key", base64_json(scram.stored_key, SCRAM_KEY), "server_key", base64_json(scram.server_key, SCRAM_KEY));
    *out = json_pack("{s:s, s:o}", "password_hash", hash, "scram", keys);
    crypto_wipe(&scram, sizeof scram);
    crypto_wipe(hash, sizeof hash);
    return *out ? RESULT_OK : RESULT_MEMORY;
}

static json_t *account_json(const struct store_account *account)
{
    json_t *send_as = json_array();
    for (size_t i = 0; i < account->nsend_as; i++)
        json_array_append_new(send_as, json_stringn(account->send_as[i].ptr, account->send_as[i].len));
    return json_pack("{s:s%, s:b, s:o, s:o, s:o}", "name", account->name.ptr, account->name.len, "enabled", account->is_enabled,
                     "send_as", send_as, "created", queue_time_json(account->created_at_ms), "changed", queue_time_json(account->changed_at_ms));
}

/* ---- a command under way ---------------------------------------------------------------------------------------- */

enum account_change { ACCOUNT_SHOW, ACCOUNT_ADD, ACCOUNT_PASSWD, ACCOUNT_ENABLE, ACCOUNT_DISABLE, ACCOUNT_REMOVE, ACCOUNT_LIST };

struct work {
    struct list_node node; /* in admin.account_changes, while it waits for its turn */
    struct admin *admin;
    struct control_call *call;
    enum account_change change;
    char name[ACCOUNT_NAME_MAX + 1];
    json_t *arguments;
    json_t *result;
    enum result failure; /* of a listing: the first */
};

static void account_begin(struct work *work);

static bool is_change(const struct work *work)
{
    return work->change != ACCOUNT_SHOW && work->change != ACCOUNT_LIST;
}

/* Also the turn of the next, if this was a change. */
static void work_free(struct work *work)
{
    struct admin *admin = work->admin;
    struct list_node *next = NULL;
    if (is_change(work)) {
        next = list_take_first(&admin->account_changes);
        admin->is_account_changing = next != NULL;
    }
    json_decref(work->arguments);
    free(work);
    if (next)
        account_begin(LIST_OWNER(next, struct work, node));
}

static void work_end(struct work *work, enum result result)
{
    if (result == RESULT_OK && is_change(work) && work->admin->accounts_version)
        (*work->admin->accounts_version)++;
    if (result == RESULT_OK)
        control_result(work->call, work->result);
    else if (result == RESULT_NOT_FOUND)
        control_error(work->call, EX_NOUSER, "there is no account %s; see: postern-relay account list", work->name);
    else if (result == RESULT_EXISTS)
        control_error(work->call, EX_DATAERR, "there is an account %s already; to change its password: postern-relay account passwd %s",
                      work->name, work->name);
    else
        control_error(work->call, EX_TEMPFAIL, "the database could not be used (%s); is the disk full?", result_name(result));
    if (result != RESULT_OK)
        json_decref(work->result);
    work_free(work);
}

static void on_done(void *context, enum result result)
{
    work_end(context, result);
}

/* False: told the asker why. */
static bool take_password(const struct work *work, struct store_account *account)
{
    const json_t *scram = json_object_get(work->arguments, "scram");
    struct scram_verifier *v = &account->scram;
    account->password_hash = slice_from_cstr(json_string_value(json_object_get(work->arguments, "password_hash")));
    v->salt_len = base64_value(json_object_get(scram, "salt"), v->salt, 0, sizeof v->salt);
    v->iterations = (uint32_t)json_integer_value(json_object_get(scram, "iterations"));
    return account->password_hash.len > 0 && account->password_hash.len < CRYPTO_PASSWORD_HASH_MAX && v->salt_len > 0 && v->iterations > 0 &&
           v->iterations <= SCRAM_ITERATIONS_MAX && base64_value(json_object_get(scram, "stored_key"), v->stored_key, SCRAM_KEY, SCRAM_KEY) &&
           base64_value(json_object_get(scram, "server_key"), v->server_key, SCRAM_KEY, SCRAM_KEY);
}

/* ---- add -------------------------------------------------------------------------------------------------------- */

/* The list in lower case, in an arena; false: told the asker why. */
static bool take_send_as(struct work *work, struct arena *arena, struct store_account *account)
{
    const json_t *list = json_object_get(work->arguments, "send_as");
    size_t n = json_array_size(list);
    struct slice *send_as = arena_alloc(arena, (n + 1) * sizeof *send_as);
    if (n > ACCOUNT_SEND_AS_MAX) {
        control_error(work->call, EX_USAGE, "too many addresses: %d at most; @DOMAIN stands for all of a domain", ACCOUNT_SEND_AS_MAX);
        return false;
    }
    for (size_t i = 0; send_as && i < n; i++) {
        struct slice text = slice_from_cstr(json_string_value(json_array_get(list, i)));
        if (!address_pattern_is_valid(text)) {
            control_error(work->call, EX_USAGE, "\"%.*s\" is neither an address nor @DOMAIN", SLICE_ARG(text));
            return false;
        }
        if (arena_copy(arena, text, &send_as[i]) != RESULT_OK)
            send_as = NULL;
        for (size_t j = 0; send_as && j < text.len; j++) {
            char *c = (char *)(uintptr_t)&send_as[i].ptr[j];
            *c = *c >= 'A' && *c <= 'Z' ? (char)(*c - 'A' + 'a') : *c;
        }
    }
    if (!send_as)
        control_result(work->call, NULL);
    account->send_as = send_as;
    account->nsend_as = n;
    return send_as != NULL;
}

static void account_add(struct work *work)
{
    struct arena arena = {0};
    int64_t now_ms = wall_now_ms();
    struct store_account account = {.name = slice_from_cstr(work->name), .is_enabled = true, .created_at_ms = now_ms, .changed_at_ms = now_ms};
    if (!take_password(work, &account)) {
        control_error(work->call, EX_USAGE, "the password's hash is missing or malformed");
        work_free(work);
    } else if (!take_send_as(work, &arena, &account)) {
        work_free(work);
    } else {
        work->result = account_json(&account);
        store_account_put(work->admin->store, &account, true, on_done, work);
    }
    arena_free(&arena);
}

/* ---- the others ------------------------------------------------------------------------------------------------- */

static void on_found(void *context, enum result result, const struct store_account *found)
{
    struct work *work = context;
    if (result != RESULT_OK) {
        work_end(work, result);
        return;
    }
    struct store_account account = *found;
    if (work->change == ACCOUNT_PASSWD && !take_password(work, &account)) {
        control_error(work->call, EX_USAGE, "the password's hash is missing or malformed");
        work_free(work);
        return;
    }
    if (work->change == ACCOUNT_ENABLE || work->change == ACCOUNT_DISABLE)
        account.is_enabled = work->change == ACCOUNT_ENABLE;
    if (work->change != ACCOUNT_SHOW)
        account.changed_at_ms = wall_now_ms();
    work->result = account_json(&account);
    if (work->change == ACCOUNT_SHOW)
        work_end(work, RESULT_OK);
    else
        store_account_put(work->admin->store, &account, false, on_done, work);
}

static void on_rows(void *context, enum result result, const struct store_account *accounts, size_t n, bool is_last)
{
    struct work *work = context;
    if (work->failure == RESULT_OK)
        work->failure = result;
    for (size_t i = 0; work->failure == RESULT_OK && i < n; i++) {
        if (json_array_append_new(work->result, account_json(&accounts[i])) != 0)
            work->failure = RESULT_MEMORY;
    }
    if (is_last) /* not before: the store goes on telling */
        work_end(work, work->failure);
}

static void account_begin(struct work *work)
{
    struct slice name = slice_from_cstr(work->name);
    switch (work->change) {
    case ACCOUNT_ADD:
        account_add(work);
        break;
    case ACCOUNT_LIST:
        work->result = json_array();
        store_account_list(work->admin->store, on_rows, work);
        break;
    case ACCOUNT_REMOVE:
        work->result = json_pack("{s:s}", "name", work->name);
        store_account_remove(work->admin->store, name, on_done, work);
        break;
    case ACCOUNT_SHOW:
    case ACCOUNT_PASSWD:
    case ACCOUNT_ENABLE:
    case ACCOUNT_DISABLE:
        store_account_get(work->admin->store, name, on_found, work);
        break;
    }
}

static bool find_change(const char *command, enum account_change *out)
{
    static const struct {
        const char *command;
        enum account_change change;
    } changes[] = {
        {"account show", ACCOUNT_SHOW},     {"account add", ACCOUNT_ADD},         {"account passwd", ACCOUNT_PASSWD},
        {"account enable", ACCOUNT_ENABLE}, {"account disable", ACCOUNT_DISABLE}, {"account remove", ACCOUNT_REMOVE},
        {"account list", ACCOUNT_LIST},
    };
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        if (strcmp(changes[i].command, command) == 0) {
            *out = changes[i].change;
            return true;
        }
    }
    return false;
}

bool account_command(struct admin *admin, struct control_call *call, const char *command, const json_t *arguments)
{
    enum account_change change;
    struct slice name = slice_from_cstr(json_string_value(json_object_get(arguments, "name")));
    if (!find_change(command, &change))
        return false;
    struct work *work = calloc(1, sizeof *work);
    if (!work) {
        control_result(call, NULL);
        return true;
    }
    *work = (struct work){.admin = admin, .call = call, .change = change, .arguments = json_deep_copy(arguments)};
    if (change != ACCOUNT_LIST && !account_name_normalise(name, work->name)) {
        control_error(call, EX_USAGE, "\"%.*s\" is no account name: letters, digits and . - _ + @, %d at most", SLICE_ARG(name), ACCOUNT_NAME_MAX);
        json_decref(work->arguments);
        free(work);
        return true;
    }
    if (is_change(work) && admin->is_account_changing) {
        list_append(&admin->account_changes, &work->node);
        return true;
    }
    admin->is_account_changing = admin->is_account_changing || is_change(work);
    account_begin(work);
    return true;
}
