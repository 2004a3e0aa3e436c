#include "bond.h"

#include "net/stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char SETTING[] = "custody", FORM[] = "1";

/* ---- the setting ------------------------------------------------------------------------------------------------ */

/* Lines: the form's number, host, user, epoch. */
static enum result write_text(struct slice host, struct slice user, const char *epoch, struct buffer *out)
{
    return buffer_printf(out, "%s\n%.*s\n%.*s\n%s\n", FORM, SLICE_ARG(host), SLICE_ARG(user), epoch);
}

static void save(struct bond *bond, const char *epoch, store_done *done)
{
    struct buffer text = BUFFER(BOND_TEXT_MAX);
    if (write_text(buffer_slice(&bond->host), buffer_slice(&bond->user), epoch, &text) == RESULT_OK)
        store_setting_put(bond->store, slice_from_cstr(SETTING), buffer_slice(&text), done, bond);
    else if (done)
        done(bond, RESULT_MEMORY);
    buffer_free(&text);
}

static enum result set(struct buffer *out, struct slice text)
{
    buffer_clear(out);
    return buffer_append(out, text);
}

/* Takes over what `from` has. */
static void move(struct buffer *to, struct buffer *from)
{
    buffer_free(to);
    *to = *from;
    *from = BUFFER(BOND_TEXT_MAX);
}

static bool is_of(const struct bond *bond, struct slice host, struct slice user)
{
    return slice_equal(buffer_slice(&bond->host), host) && slice_equal(buffer_slice(&bond->user), user);
}

static bool is_named(const struct bond *bond)
{
    return is_of(bond, buffer_slice(&bond->named_host), buffer_slice(&bond->named_user));
}

enum result bond_take_text(struct bond *bond, struct slice text)
{
    struct slice form, host, user, epoch, rest;
    bool is_good = slice_cut(text, '\n', &form, &rest) && slice_equal(form, slice_from_cstr(FORM)) && slice_cut(rest, '\n', &host, &rest) &&
                   slice_cut(rest, '\n', &user, &rest) && slice_cut(rest, '\n', &epoch, &rest);
    if (!is_good || host.len > BOND_TEXT_MAX || user.len > BOND_TEXT_MAX)
        return RESULT_OK;
    if (set(&bond->named_host, host) != RESULT_OK || set(&bond->named_user, user) != RESULT_OK)
        return RESULT_MEMORY;
    slice_to_cstr(epoch, bond->epoch, sizeof bond->epoch);
    bond->is_bound = is_named(bond);
    return RESULT_OK;
}

static void try_again_later(struct bond *bond);

/* A disk that can't be read now says nothing of whose our copies are, and to take them for another relay's would give them all up. */
static void on_setting(void *context, enum result result, struct slice value)
{
    struct bond *bond = context;
    bond->nowed--;
    if (result == RESULT_OK)
        result = bond_take_text(bond, value);
    if (result != RESULT_OK && result != RESULT_NOT_FOUND) {
        try_again_later(bond);
        return;
    }
    bond->is_read = true;
    bond->is_working = false;
    bond->on_bound(bond->context);
}

static void read_setting(struct bond *bond)
{
    bond->is_working = true;
    bond->nowed = 1;
    store_setting_get(bond->store, slice_from_cstr(SETTING), on_setting, bond);
}

bool bond_open(struct bond *bond, const struct settings *settings)
{
    struct buffer *buffers[] = {&bond->host, &bond->user, &bond->named_host, &bond->named_user, &bond->saved_host, &bond->saved_user};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        *buffers[i] = BUFFER(BOND_TEXT_MAX);
    if (set(&bond->host, settings->values.relay_host) != RESULT_OK || set(&bond->user, settings->values.user) != RESULT_OK)
        return false;
    uv_timer_init(bond->loop, &bond->retry); /* never fails */
    bond->retry.data = bond;
    read_setting(bond);
    return true;
}

enum result bond_reload(struct bond *bond, const struct settings *settings)
{
    struct slice host = settings->values.relay_host, user = settings->values.user;
    if (is_of(bond, host, user))
        return RESULT_OK;
    struct buffer new_host = BUFFER(BOND_TEXT_MAX), new_user = BUFFER(BOND_TEXT_MAX);
    if (set(&new_host, host) != RESULT_OK || set(&new_user, user) != RESULT_OK) {
        buffer_free(&new_host);
        buffer_free(&new_user);
        return RESULT_MEMORY;
    }
    move(&bond->host, &new_host);
    move(&bond->user, &new_user);
    bond->is_bound = bond->is_read && !bond->is_saving && is_named(bond);
    return RESULT_OK;
}

bool bond_note_epoch(struct bond *bond, struct slice epoch)
{
    struct slice known = slice_from_cstr(bond->epoch);
    if (epoch.len == 0 || !bond->is_bound || slice_equal(known, epoch))
        return false;
    bool is_another = known.len > 0;
    slice_to_cstr(epoch, bond->epoch, sizeof bond->epoch);
    save(bond, bond->epoch, NULL);
    return is_another;
}

/* ---- giving up on what another relay has ------------------------------------------------------------------------ */

static void look_further(struct bond *bond);

static void on_retry(uv_timer_t *timer)
{
    struct bond *bond = timer->data;
    bond->is_working = false;
    if (bond->is_read)
        bond_make(bond);
    else
        read_setting(bond);
}

static void try_again_later(struct bond *bond)
{
    if (bond->is_stopping) {
        bond->on_bound(bond->context);
        return;
    }
    log_event(bond->log, LOG_ERROR, bond->is_read ? "relay-not-changed" : "relay-not-known", LOG_TEXT("why", "the database can't be used; mail waits"));
    uv_timer_start(&bond->retry, on_retry, BOND_RETRY_MS, 0);
}

/* Whom the setting names now may not be wanted any more: then it is given up on in its turn (it has nothing yet). */
static void on_saved(void *context, enum result result)
{
    struct bond *bond = context;
    bond->is_saving = false;
    move(&bond->named_host, &bond->saved_host);
    move(&bond->named_user, &bond->saved_user);
    bond->epoch[0] = '\0';
    if (result != RESULT_OK) { /* it may name either */
        buffer_clear(&bond->named_host);
        buffer_clear(&bond->named_user);
        try_again_later(bond);
        return;
    }
    bond->is_working = false;
    bond->is_bound = is_named(bond);
    log_event(bond->log, LOG_INFO, "relay-bound", LOG_STR("relay", buffer_slice(&bond->named_host)), LOG_STR("user", buffer_slice(&bond->named_user)));
    bond->on_bound(bond->context);
}

static void name_anew(struct bond *bond)
{
    if (set(&bond->saved_host, buffer_slice(&bond->host)) != RESULT_OK || set(&bond->saved_user, buffer_slice(&bond->user)) != RESULT_OK) {
        try_again_later(bond);
        return;
    }
    bond->is_saving = true;
    save(bond, "", on_saved);
}

static void end_page(struct bond *bond)
{
    if (bond->nowed > 0)
        return;
    if (bond->is_bound) { /* the settings came back to whom it names */
        bond->is_working = false;
        bond->on_bound(bond->context);
    } else if (bond->is_stopping || bond->has_failed) {
        try_again_later(bond);
    } else if (bond->nrows == BOND_PAGE) {
        look_further(bond);
    } else {
        name_anew(bond);
    }
}

static void on_given_up(void *context, enum result result)
{
    struct bond *bond = context;
    bond->nowed--;
    if (result != RESULT_OK && result != RESULT_NOT_FOUND)
        bond->has_failed = true;
    end_page(bond);
}

static void words_of(const struct bond *bond, char *out, size_t size)
{
    struct slice host = buffer_slice(&bond->named_host), user = buffer_slice(&bond->named_user);
    if (host.len > 0)
        snprintf(out, size, "%.*s has it, as %.*s's; this agent uses another relay or account now and asks no more", SLICE_ARG(host), SLICE_ARG(user));
    else
        snprintf(out, size, "an earlier relay has it; this agent asks no more");
}

static void give_up_on(struct bond *bond, const struct store_listing *row)
{
    struct store_outcome *outcomes = calloc(row->nrecipients, sizeof *outcomes);
    char words[BOND_TEXT_MAX];
    size_t n = 0;
    bond->after = row->message.id;
    bond->nrows++;
    if (!outcomes) {
        bond->has_failed = true;
        return;
    }
    words_of(bond, words, sizeof words);
    for (size_t i = 0; i < row->nrecipients; i++) {
        const struct store_recipient *r = &row->recipients[i];
        if (r->state == STORE_RELAYED && r->next_attempt_ms > 0)
            outcomes[n++] = (struct store_outcome){.seq = r->seq, .state = STORE_RELAYED, .transaction = r->transaction, .reply = slice_from_cstr(words), .host = r->host};
    }
    if (n > 0) {
        bond->nowed++;
        store_attempt_finish(bond->store, row->message.id, outcomes, n, wall_now_ms(), NULL, true, on_given_up, bond);
    }
    free(outcomes);
}

static void on_rows(void *context, enum result result, const struct store_listing *rows, size_t n, bool is_last)
{
    struct bond *bond = context;
    if (result != RESULT_OK || bond->is_bound) /* bound meanwhile: the page is not taken, and whoever comes next begins anew */
        bond->has_failed = true;
    for (size_t i = 0; i < n && !bond->is_stopping && !bond->is_bound; i++)
        give_up_on(bond, &rows[i]);
    if (is_last) {
        bond->nowed--;
        end_page(bond);
    }
}

static void look_further(struct bond *bond)
{
    bond->nrows = 0;
    bond->nowed = 1; /* the page itself */
    store_message_list(bond->store, STORE_LIST_AWAITED, bond->after, BOND_PAGE, on_rows, bond);
}

void bond_make(struct bond *bond)
{
    if (!bond->is_read || bond->is_bound || bond->is_working || bond->is_stopping)
        return;
    bond->is_working = true;
    bond->has_failed = false;
    bond->after = 0;
    look_further(bond);
}

/* ---- its end ---------------------------------------------------------------------------------------------------- */

void bond_stop(struct bond *bond, uv_close_cb on_closed)
{
    bond->is_stopping = true;
    uv_close((uv_handle_t *)&bond->retry, on_closed);
}

bool bond_is_owed(const struct bond *bond)
{
    return bond->nowed > 0 || bond->is_saving;
}

void bond_free(struct bond *bond)
{
    buffer_free(&bond->host);
    buffer_free(&bond->user);
    buffer_free(&bond->named_host);
    buffer_free(&bond->named_user);
    buffer_free(&bond->saved_host);
    buffer_free(&bond->saved_user);
}
