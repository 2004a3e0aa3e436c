/* Weeks of travel: a laptop goes from network to network, and whatever they do, the numbered invariants of path/finder.h hold, which support/trip.h watches; and what the finder is for. */
#include "support/track.h"
#include "support/trip.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define WALL INT64_C(1700000000000)

enum { VENUES = 10, EVENTS_OF_A_WEEK = 150 };

static const struct finder_way WAYS[] = {{.port = 465, .mode = PATH_TLS}, {.port = 443, .mode = PATH_TLS}, {.port = 587, .mode = PATH_STARTTLS}, {.port = 2525, .mode = PATH_STARTTLS}, {.port = 25, .mode = PATH_STARTTLS}};

/* ---- the world ---------------------------------------------------------------------------------------------------- */

struct venue {
    struct trip_place place;
    uint64_t seed;
    bool is_portal, is_logged_in, allows_nothing;
};

struct travel {
    uint64_t seed;
    struct schedule patience;
    struct memory *memory;
    struct trip *trip;
    struct venue venues[VENUES];
    struct venue *here;
};

static struct path_address address_of(uint8_t family, uint8_t last)
{
    struct path_address address = {.family = family, .octets = {192, 0, 2}};
    address.octets[family == 4 ? 3 : 15] = last;
    return address;
}

/* The same path on the same day behaves the same. 1 and 2 are the relay's addresses, others a liar's. */
static struct trip_behaviour behave(const void *context, const struct path *path)
{
    const struct venue *venue = context;
    uint64_t seed = venue->seed ^ ((uint64_t)path->port << 32 | (uint64_t)path->mode << 24 | (uint64_t)path->alpn << 16 | (uint64_t)path->via << 8 | path->address.family);
    track_random(&seed, 2);
    int64_t connect_ms = 1 + (int64_t)track_random(&seed, 1 + track_random(&seed, 900)), shake_ms = 1 + (int64_t)track_random(&seed, 1 + track_random(&seed, 1500));
    uint8_t last = path->address.octets[path->address.family == 4 ? 3 : 15];
    uint64_t kind = track_random(&seed, 14);
    bool kind_keeps = track_random(&seed, 2), is_mute = track_random(&seed, 2);
    bool may_die = path->via == PATH_DIRECT && (path->port == 465 || path->port == 587);
    if (venue->is_portal && !venue->is_logged_in)
        return TRIP_STRANGER(connect_ms, shake_ms, kind % 2 ? PATH_HTTP : PATH_WRONG_CERTIFICATE);
    if (last > 2)
        return kind % 2 ? TRIP_STRANGER(connect_ms, shake_ms, PATH_WRONG_CERTIFICATE) : TRIP_DROPPED;
    if (venue->allows_nothing && kind < 4)
        kind = 13;
    switch (kind) {
    case 0: return TRIP_OPEN(connect_ms, shake_ms);
    case 1: return TRIP_OPEN(connect_ms * 5, shake_ms * 4);
    case 2: return (struct trip_behaviour){.connects_ms = connect_ms, .shakes_ms = shake_ms, .dies_after = may_die ? 1 + track_random(&seed, 5000) : 0, .keeps = kind_keeps, .is_mute = is_mute};
    case 3: return (struct trip_behaviour){.connects_ms = connect_ms, .shakes_ms = shake_ms, .refuses = true};
    case 4: return TRIP_SILENT(connect_ms);
    case 5: return TRIP_FAILS(connect_ms, PATH_REFUSED);
    case 6: return TRIP_FAILS(connect_ms, PATH_UNREACHABLE);
    case 7: return TRIP_STRANGER(connect_ms, shake_ms, PATH_STARTTLS_MISSING);
    case 8: return TRIP_STRANGER(connect_ms, shake_ms, path->via == PATH_DIRECT ? PATH_TLS_FAILED : PATH_PROXY_REFUSED);
    default: return TRIP_DROPPED;
    }
}

static void add_address(struct trip_place *place, uint8_t family, uint8_t last)
{
    place->addresses[place->naddresses++] = address_of(family, last);
}

static void make_venue(struct travel *travel, size_t i)
{
    uint64_t *seed = &travel->seed;
    struct venue *venue = &travel->venues[i];
    *venue = (struct venue){.seed = track_random(seed, UINT32_MAX), .is_portal = track_random(seed, 4) == 0, .allows_nothing = track_random(seed, 4) == 0};
    struct trip_place *place = &venue->place;
    *place = (struct trip_place){
        .is_up = track_random(seed, 10) > 0,
        .has_key = track_random(seed, 6) > 0,
        .key = {{(uint8_t)(i + 1)}},
        .resolves_ms = track_random(seed, 5) == 0 ? TRIP_NEVER : (int64_t)track_random(seed, 400),
        .proxies_ms = track_random(seed, 8) == 0 ? TRIP_NEVER : (int64_t)track_random(seed, 100),
        .probe_ms = track_random(seed, 4) == 0 ? TRIP_NEVER : (int64_t)track_random(seed, 4000),
        .probe = venue->is_portal ? FINDER_PROBE_CAPTIVE : track_random(seed, 2) ? FINDER_PROBE_CLEAR : FINDER_PROBE_SILENT,
        .behave = behave,
        .context = venue,
    };
    uint64_t resolver = track_random(seed, 6);
    if (resolver > 1)
        add_address(place, 4, 1);
    if (resolver > 3)
        add_address(place, 6, 2);
    if (resolver == 1) /* it lies */
        add_address(place, 4, (uint8_t)(50 + i));
    for (uint64_t n = track_random(seed, 8); n >= 6; n--)
        place->proxies[place->nproxies++] = (struct finder_proxy){n == 6 ? PATH_SOCKS5 : PATH_HTTP_CONNECT, {address_of(4, (uint8_t)(100 + i)), 1080}};
}

/* ---- travelling --------------------------------------------------------------------------------------------------- */

/* The agent starts, with what is remembered as text. */
static void start_agent(struct travel *travel, int64_t wall_ms, int64_t late_ms)
{
    struct buffer text = BUFFER(MEMORY_TEXT_MAX);
    if (travel->trip)
        trip_free(&travel->trip);
    assert_int_equal(memory_write(travel->memory, SLICE("relay.example"), &text), RESULT_OK);
    memory_free(&travel->memory);
    travel->memory = memory_new();
    assert_int_equal(memory_read(travel->memory, buffer_slice(&text), SLICE("relay.example"), wall_ms), RESULT_OK);
    buffer_free(&text);
    const struct trip_config config = {
        .finder = {.patience = &travel->patience, .memory = travel->memory, .seed = (uint32_t)travel->seed, .can_probe = track_random(&travel->seed, 4) > 0},
        .ways = WAYS,
        .nways = 5,
        .wall_ms = wall_ms,
        .late_ms = late_ms,
        .seed = travel->seed,
    };
    travel->trip = trip_new(&config);
    travel->here = NULL;
}

static int64_t a_while(uint64_t *seed)
{
    int64_t scale[] = {100, 3000, 60 * 1000, 3600 * 1000, 8 * 3600 * 1000};
    return (int64_t)track_random(seed, (uint64_t)scale[track_random(seed, 5)]);
}

static void go(struct travel *travel)
{
    travel->here = &travel->venues[track_random(&travel->seed, VENUES)];
    trip_go(travel->trip, &travel->here->place, track_random(&travel->seed, 5) == 0);
}

/* Somebody logs in, or a new day: the same place, and all is different. */
static void change(struct travel *travel)
{
    struct venue *venue = travel->here;
    if (!venue)
        return;
    if (venue->is_portal && !venue->is_logged_in) {
        venue->is_logged_in = true;
        venue->place.probe = FINDER_PROBE_CLEAR;
    } else {
        venue->seed = track_random(&travel->seed, UINT32_MAX);
    }
    trip_change(travel->trip, &venue->place);
}

static void one_event(struct travel *travel, int64_t late_ms)
{
    uint64_t *seed = &travel->seed;
    switch (track_random(seed, 12)) {
    case 0:
    case 1:
    case 2: go(travel); break;
    case 3: change(travel); break;
    case 4: trip_set_wall(travel->trip, WALL + (int64_t)track_random(seed, INT64_C(90) * 86400 * 1000)); break;
    case 5: trip_mail(travel->trip, 0, 1000, FINDER_WISH_NOW); break;
    case 6:
        if (travel->here)
            trip_go(travel->trip, &travel->here->place, true);
        break;
    case 7:
        if (track_random(seed, 8) == 0)
            start_agent(travel, WALL + trip_now_ms(travel->trip), late_ms);
        break;
    default: trip_mail(travel->trip, 1 + (uint32_t)track_random(seed, 3), 1 + track_random(seed, 8000), track_random(seed, 2) ? FINDER_WISH_NEW_MAIL : FINDER_WISH_DUE); break;
    }
    if (!trip_broken(travel->trip))
        trip_run(travel->trip, a_while(seed));
}

static uint64_t hash(const char *text)
{
    uint64_t value = 14695981039346656037u;
    for (; *text; text++)
        value = (value ^ (uint8_t)*text) * 1099511628211u;
    return value;
}

/* A week; what its log comes to. */
static uint64_t travel_a_week(uint64_t run, uint32_t *nsearches)
{
    struct travel *travel = calloc(1, sizeof *travel);
    assert_non_null(travel);
    travel->seed = run;
    int64_t late_ms = track_random(&travel->seed, 3) == 0 ? (int64_t)track_random(&travel->seed, 4000) : 0;
    assert_int_equal(schedule_parse(SLICE("2s, 5s, 15s, 30s, 1m*5, 5m*6, 15m"), &travel->patience), RESULT_OK);
    travel->memory = memory_new();
    for (size_t i = 0; i < VENUES; i++)
        make_venue(travel, i);
    start_agent(travel, WALL, late_ms);
    for (size_t i = 0; i < EVENTS_OF_A_WEEK && !trip_broken(travel->trip); i++)
        one_event(travel, late_ms);
    if (trip_broken(travel->trip)) {
        const char *log = trip_log(travel->trip);
        size_t len = strlen(log);
        print_message("%s\n", len > 6000 ? log + len - 6000 : log);
        fail_msg("week %llu: %s", (unsigned long long)run, trip_broken(travel->trip));
    }
    uint64_t result = hash(trip_log(travel->trip));
    *nsearches += trip_searches(travel->trip);
    trip_free(&travel->trip);
    memory_free(&travel->memory);
    free(travel);
    return result;
}

/* Invariants 1 to 8 and 10. */
static void test_weeks_of_travel(void **state)
{
    (void)state;
    uint32_t nsearches = 0;
    for (uint64_t run = 0; run < 150; run++)
        travel_a_week(run, &nsearches);
    assert_true(nsearches > 6000); /* it was travel, not rest */
}

/* Invariant 9. */
static void test_same_inputs_same_actions(void **state)
{
    (void)state;
    uint32_t nsearches = 0;
    for (uint64_t run = 0; run < 15; run++)
        assert_true(travel_a_week(run ^ 0x5eed, &nsearches) == travel_a_week(run ^ 0x5eed, &nsearches));
}

/* ---- in bounded time ---------------------------------------------------------------------------------------------- */

/* One path is open, and what the others do is up to `kind`. */
struct maze {
    struct path open;
    int64_t connect_ms, shake_ms;
    unsigned kind;
};

static struct trip_behaviour behave_maze(const void *context, const struct path *path)
{
    const struct maze *maze = context;
    if (path_equal(path, &maze->open))
        return TRIP_OPEN(maze->connect_ms, maze->shake_ms);
    switch (maze->kind) {
    case 0: return TRIP_DROPPED;
    case 1: return TRIP_FAILS(20, PATH_REFUSED);
    case 2: return TRIP_STRANGER(20, 60, PATH_WRONG_CERTIFICATE);
    default: return TRIP_SILENT(20);
    }
}

/* How long from arrival to USE; the search that follows a loss counts too. -1: not within ten minutes. */
static int64_t time_to_find(struct maze *maze, bool has_proxy)
{
    struct schedule patience;
    assert_int_equal(schedule_parse(SLICE("2s, 5s"), &patience), RESULT_OK);
    struct memory *memory = memory_new();
    const struct trip_config config = {.finder = {.patience = &patience, .memory = memory}, .ways = WAYS, .nways = 5, .wall_ms = WALL};
    struct trip *trip = trip_new(&config);
    struct trip_place place = {.is_up = true, .has_key = true, .key = {{1}}, .behave = behave_maze, .context = maze};
    add_address(&place, 4, 1);
    add_address(&place, 6, 2);
    if (has_proxy)
        place.proxies[place.nproxies++] = (struct finder_proxy){PATH_SOCKS5, {address_of(4, 100), 1080}};
    trip_go(trip, &place, false);
    trip_mail(trip, 1, 1, FINDER_WISH_DUE);
    while (finder_state(trip_finder(trip)) != FINDER_USING && trip_now_ms(trip) < 600 * 1000 && !trip_broken(trip))
        trip_run(trip, 10);
    int64_t found_ms = finder_state(trip_finder(trip)) == FINDER_USING ? trip_now_ms(trip) : -1;
    if (trip_broken(trip) || found_ms < 0)
        fail_msg("%s\n%s", trip_broken(trip) ? trip_broken(trip) : "not found", trip_log(trip));
    trip_free(&trip);
    memory_free(&memory);
    return found_ms;
}

/* Each of the paths in turn is the only one that is open. With ten sockets for 18 paths the first round of attempts takes some 0.6 s; strangers answer one after the other; and whoever connects and is
 * silent holds up the next for at most 4.5 s a pair. */
static void test_the_only_open_path(void **state)
{
    (void)state;
    static const int64_t bounds_ms[] = {1200, 400, 1500, 45000};
    for (unsigned kind = 0; kind < 4; kind++)
        for (size_t w = 0; w < 5; w++)
            for (int where = 0; where < 3; where++)
                for (int alpn = PATH_ALPN_SMTP; alpn <= (w == 1 ? PATH_ALPN_HTTP : PATH_ALPN_SMTP); alpn++) {
                    struct maze maze = {.connect_ms = 50, .shake_ms = 200, .kind = kind};
                    maze.open = (struct path){.address = where == 2 ? (struct path_address){0} : address_of(where ? 6 : 4, where ? 2 : 1), .port = WAYS[w].port, .mode = WAYS[w].mode};
                    maze.open.alpn = w == 1 ? (enum path_alpn)alpn : PATH_ALPN_NONE;
                    if (where == 2) {
                        maze.open.via = PATH_SOCKS5;
                        maze.open.proxy = (struct path_proxy){address_of(4, 100), 1080};
                    }
                    int64_t found_ms = time_to_find(&maze, true);
                    if (found_ms > bounds_ms[kind] + maze.shake_ms)
                        fail_msg("kind %u, port %u, where %d: %lld ms", kind, WAYS[w].port, where, (long long)found_ms);
                }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weeks_of_travel),
        cmocka_unit_test(test_same_inputs_same_actions),
        cmocka_unit_test(test_the_only_open_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
