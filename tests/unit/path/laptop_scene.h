/* A laptop on its way: the finder, its memory, and a world whose rows say how paths behave. The trip (support/trip.h) checks every invariant of path/finder.h, in every story. */
#ifndef POSTERN_TESTS_UNIT_PATH_LAPTOP_SCENE_H
#define POSTERN_TESTS_UNIT_PATH_LAPTOP_SCENE_H

#include "support/trip.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WALL INT64_C(1700000000000)
#define V4(a, b, c, d) {.family = 4, .octets = {(a), (b), (c), (d)}}

static const struct finder_way WAYS[] = {{.port = 465, .mode = PATH_TLS}, {.port = 443, .mode = PATH_TLS}, {.port = 587, .mode = PATH_STARTTLS}, {.port = 2525, .mode = PATH_STARTTLS}, {.port = 25, .mode = PATH_STARTTLS}};
static const struct path_address RELAY = V4(192, 0, 2, 1), RELAY6 = {.family = 6, .octets = {0x20, 1, 0xd, 0xb8, [15] = 1}}, LIE = V4(10, 0, 0, 99);

/* How paths behave: the first row that fits; 0 fits all. None: dropped. */
struct row {
    uint16_t port;
    enum path_alpn alpn;
    enum path_via via;
    struct path_address address;
    struct trip_behaviour behaviour;
};
struct world {
    struct row rows[8]; /* up to the first that has no time at all */
};

static inline struct trip_behaviour behave(const void *context, const struct path *path)
{
    const struct world *world = context;
    for (const struct row *row = world->rows; row < world->rows + 8 && row->behaviour.connects_ms != 0; row++) {
        bool fits = (!row->port || row->port == path->port) && (!row->alpn || row->alpn == path->alpn) && row->via == path->via;
        if (fits && (!row->address.family || path_address_equal(&row->address, &path->address)))
            return row->behaviour;
    }
    return TRIP_DROPPED;
}

struct laptop {
    struct schedule patience;
    struct memory *memory;
    struct trip *trip;
    struct world world;
    struct trip_place place;
};

static inline struct laptop *start_with(struct finder_config config, int64_t late_ms)
{
    struct laptop *laptop = calloc(1, sizeof *laptop);
    assert_non_null(laptop);
    assert_int_equal(schedule_parse(SLICE("2s, 5s, 15s, 30s, 1m*5, 5m*6, 15m"), &laptop->patience), RESULT_OK);
    laptop->memory = config.is_survey ? NULL : memory_new();
    config.patience = &laptop->patience;
    config.memory = laptop->memory;
    const struct trip_config trip = {.finder = config, .ways = WAYS, .nways = 5, .wall_ms = WALL, .late_ms = late_ms};
    laptop->trip = trip_new(&trip);
    laptop->place = (struct trip_place){.is_up = true, .has_key = true, .key = {{1}}, .resolves_ms = 20, .addresses = {RELAY}, .naddresses = 1, .probe_ms = TRIP_NEVER, .behave = behave, .context = &laptop->world};
    return laptop;
}

static inline struct laptop *start(void)
{
    return start_with((struct finder_config){.can_probe = true}, 0);
}

static inline void stop(struct laptop *laptop)
{
    if (trip_broken(laptop->trip))
        fail_msg("%s\n%s", trip_broken(laptop->trip), trip_log(laptop->trip));
    trip_free(&laptop->trip);
    if (laptop->memory)
        memory_free(&laptop->memory);
    free(laptop);
}

static inline void arrive(struct laptop *laptop, uint8_t key)
{
    laptop->place.key.octets[0] = key;
    trip_clear_log(laptop->trip);
    trip_go(laptop->trip, &laptop->place, false);
}

static inline void expect_log(struct laptop *laptop, const char *log)
{
    if (trip_broken(laptop->trip) || strcmp(trip_log(laptop->trip), log) != 0)
        fail_msg("%s\n%sinstead of\n%s", trip_broken(laptop->trip) ? trip_broken(laptop->trip) : "", trip_log(laptop->trip), log);
}

static inline bool has_logged(const struct laptop *laptop, const char *text)
{
    return strstr(trip_log(laptop->trip), text) != NULL;
}

static inline enum network_state network(const struct laptop *laptop)
{
    bool is_known;
    enum network_state state = finder_network(trip_finder(laptop->trip), &is_known);
    assert_true(is_known);
    return state;
}

/* One message, and the port that carried it. */
static inline uint16_t send_one(struct laptop *laptop, int64_t within_ms)
{
    uint16_t port = 0;
    int64_t until_ms = trip_now_ms(laptop->trip) + within_ms;
    trip_mail(laptop->trip, 1, 1000, FINDER_WISH_NEW_MAIL);
    while (trip_waiting(laptop->trip) > 0 && trip_now_ms(laptop->trip) < until_ms && !trip_broken(laptop->trip)) {
        const struct path *path = finder_path(trip_finder(laptop->trip));
        port = path ? path->port : port;
        trip_run(laptop->trip, 10);
    }
    if (trip_waiting(laptop->trip) > 0 || trip_broken(laptop->trip))
        fail_msg("%s\n%s", trip_broken(laptop->trip) ? trip_broken(laptop->trip) : "not sent", trip_log(laptop->trip));
    return port;
}

#endif
