#include "support/store_names.h"

#include "store/engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void on_claimed(void *context, enum result result, const struct store_checkpoint *c)
{
    struct names_claimed *out = context;
    *out = (struct names_claimed){.is_done = true, .result = result};
    if (!c)
        return;
    out->message = c->message;
    out->came_octets = c->came_octets;
    out->generation = c->generation;
    out->nrcpt = c->nrcpt;
    out->half = c->half;
    snprintf(out->reply, sizeof out->reply, "%.*s", SLICE_ARG(c->reply));
    if (c->nrcpt)
        snprintf(out->first, sizeof out->first, "%.*s", SLICE_ARG(c->recipients[0].address));
}

struct store_claim names_claim_by(const char *device, const char *helo, const char *transid)
{
    return (struct store_claim){.account = SLICE("bob"),
                                .device = slice_from_cstr(device),
                                .helo = slice_from_cstr(helo),
                                .transid = slice_from_cstr(transid),
                                .digest = {1},
                                .served_ms = 1000};
}

struct store_claim names_plain(const char *transid)
{
    return names_claim_by("", "laptop", transid);
}

struct names_claimed names_claim(struct world *w, struct store_claim c)
{
    struct names_claimed got = {0};
    store_checkpoint_claim(w->client, &c, on_claimed, &got);
    world_wait(w, &got.is_done);
    return got;
}

static const struct envelope_recipient TO[] = {{.address = SLICE("carl@example.net"), .notify = DSN_NOTIFY_FAILURE, .orcpt = SLICE("rfc822;c@example.net")},
                                               {.address = SLICE("dora@example.net")}};

struct store_naming names_naming(struct store_claim c, uint32_t generation)
{
    return (struct store_naming){.claim = c, .generation = generation, .reply = SLICE("250 2.0.0 Ok: queued as X"), .recipients = TO, .nrcpt = 2};
}

struct store_intake *names_begin(struct world *w, uint64_t id, struct store_naming naming)
{
    world_add_account(w, naming.claim.account.ptr);
    struct store_intake *intake = store_intake_new(w->client, id, NULL, NULL);
    assert_int_equal(store_intake_name(intake, &naming), RESULT_OK);
    return intake;
}

void names_note(struct store_intake *intake, bool has_lines)
{
    store_intake_note(intake, &(struct store_half){.header_came = NAMES_HEADER,
                                                   .header_stored = NAMES_HEADER + NAMES_ADDED,
                                                   .has_8bit_header = true,
                                                   .has_8bit_body = true,
                                                   .has_lines = has_lines,
                                                   .received_at_ms = 77});
}

const char *names_octets(void)
{
    static char all[NAMES_BODY];
    memset(all, 'x', sizeof all);
    for (size_t i = NAMES_HEADER + NAMES_ADDED - 2; i + 1 < sizeof all; i += 50)
        memcpy(all + i, "\r\n", 2);
    return all;
}

void names_append(struct store_intake *intake, size_t from, size_t to)
{
    enum result result = store_intake_append(intake, slice_of(names_octets() + from, to - from));
    assert_true(result == RESULT_OK || result == RESULT_BUSY);
}

void names_open_small(struct world *w)
{
    w->config.max_octets = NAMES_SMALL;
    assert_int_equal(world_open(w), RESULT_OK);
}

bool names_is_full(struct world *w)
{
    return room_lacking(w->store->room, &w->store->writer_db) > 0;
}

void names_send_commit(struct store_intake *intake, struct world_done *d)
{
    struct envelope_recipient to[] = {TO[0], TO[1]};
    struct store_message message = {.account = SLICE("bob"), .envelope = {.sender = SLICE("bob@example.org"), .recipients = to, .nrcpt = 2}};
    store_intake_commit(&intake, &message, NULL, 0, world_on_done, d);
}

enum result names_commit(struct world *w, struct store_intake *intake)
{
    struct world_done d = {0};
    names_send_commit(intake, &d);
    return world_wait_done(w, &d);
}

static void on_resumed(void *context, enum result result, struct store_intake *intake)
{
    *(struct names_resumed *)context = (struct names_resumed){true, result, intake};
}

struct names_resumed names_resume(struct world *w, const struct names_claimed *c, struct store_claim by)
{
    struct names_resumed got = {0};
    struct store_checkpoint checkpoint = {.message = c->message, .generation = c->generation, .came_octets = c->came_octets, .half = c->half};
    struct store_naming naming = names_naming(by, c->generation);
    store_intake_resume(w->client, &checkpoint, &naming, NULL, NULL, on_resumed, &got);
    world_wait(w, &got.is_done);
    return got;
}

struct store_intake *names_go_on(struct world *w, const char *transid)
{
    struct names_claimed c = names_claim(w, names_plain(transid));
    assert_int_equal(c.result, RESULT_OK);
    struct names_resumed r = names_resume(w, &c, names_plain(transid));
    assert_int_equal(r.result, RESULT_OK);
    return r.intake;
}

void names_assert_body(struct world *w, uint64_t id, size_t len)
{
    struct slice got = world_body(w, id);
    assert_int_equal(got.len, len);
    assert_memory_equal(got.ptr, names_octets(), len);
    free((char *)got.ptr);
}

void names_settle(struct world *w)
{
    struct world_done d = {0};
    store_setting_put(w->client, SLICE("x"), SLICE("x"), world_on_done, &d);
    assert_int_equal(world_wait_done(w, &d), RESULT_OK);
}

void names_leave_half(struct world *w, uint64_t id, struct store_naming naming, size_t size, bool has_lines)
{
    struct store_intake *intake = names_begin(w, id, naming);
    names_note(intake, has_lines);
    names_append(intake, 0, size);
    store_intake_suspend(&intake);
    assert_null(intake);
    names_settle(w);
}

uint64_t names_came(uint64_t stored)
{
    return stored - NAMES_ADDED;
}

void names_add_account(struct world *w, const char *name)
{
    struct world_done d = {0};
    struct store_account account = {.name = slice_from_cstr(name), .password_hash = SLICE("$x"), .scram = {.salt = {1}, .salt_len = 1, .iterations = 4096}};
    store_account_put(w->client, &account, true, world_on_done, &d);
    assert_int_equal(world_wait_done(w, &d), RESULT_OK);
}

struct added {
    bool is_done;
    enum result result;
};

static void on_added(void *context, enum result result, struct slice gone)
{
    (void)gone;
    *(struct added *)context = (struct added){true, result};
}

void names_add_device(struct world *w, const char *id, uint32_t most)
{
    names_enrol_device(w, id, most, 0);
}

void names_enrol_device(struct world *w, const char *id, uint32_t most, int64_t served_ms)
{
    struct added added = {0};
    static int64_t seen;
    struct store_device device = {.id = slice_from_cstr(id), .account = SLICE("bob"), .label = SLICE("laptop"), .seen_at_ms = ++seen, .enrolled_served_ms = served_ms};
    store_device_add(w->client, &device, 0, most, on_added, &added);
    world_wait(w, &added.is_done);
    assert_int_equal(added.result, RESULT_OK);
}

void names_put_small(struct world *w, uint64_t id, struct store_claim by)
{
    struct store_intake *intake = names_begin(w, id, names_naming(by, 0));
    names_append(intake, 0, 100);
    assert_int_equal(names_commit(w, intake), RESULT_OK);
}

void names_remove_device(struct world *w, const char *id)
{
    struct world_done d = {0};
    store_device_remove(w->client, slice_from_cstr(id), world_on_done, &d);
    assert_int_equal(world_wait_done(w, &d), RESULT_OK);
}
