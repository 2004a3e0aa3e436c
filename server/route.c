#include "delivery_internal.h"

#include "crypto/crypto.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    BLOCK_MAX_MS = 5 * 60 * 1000, /* new mail to a host that was dead must not wait for long to find it alive */
    ROUTES_FEW = 64,              /* not worth a look for those that nobody needs */
};

static void route_open_lanes(struct route *route);
static void route_serve(struct route *route);

/* ---- routes ----------------------------------------------------------------------------------------------------- */

static bool route_is_busy(const struct route *route)
{
    return !list_is_empty(&route->waiting) || !list_is_empty(&route->carriers);
}

/* The count of failures goes with the last of the hop's mail. What was queued for a smarthost that is gone waits under another name: for it the
 * block is remembered until it ends. */
static bool route_is_needed(const struct route *route)
{
    const struct delivery *delivery = route->delivery;
    return route_is_busy(route) || (route->failures > 0 && (queue_hop_count(delivery->queue, route->name) > 0 ||
                                                            delivery_now_ms(delivery) < route->blocked_until_ms));
}

static void route_free(struct route *route)
{
    list_remove(&route->node);
    map_remove(&route->delivery->routes, &route->by_name);
    free(route);
}

static void route_forget_if_idle(struct route *route)
{
    if (!route_is_needed(route))
        route_free(route);
    else if (!route_is_busy(route))
        list_remove(&route->node);
}

/* Mail ends in many ways that no route hears of, so those that it has left behind are looked for whenever the number of routes has doubled. */
static void delivery_sweep_routes(struct delivery *delivery)
{
    struct list unneeded = {0};
    struct map_node *node;
    for (size_t at = 0; (node = map_each(&delivery->routes, &at));) {
        struct route *route = MAP_OWNER(node, struct route, by_name);
        if (route_is_needed(route))
            continue;
        list_remove(&route->node);
        list_append(&unneeded, &route->node);
    }
    while (!list_is_empty(&unneeded))
        route_free(LIST_OWNER(unneeded.first, struct route, node));
    delivery->routes_sweep_at = delivery->routes.count > ROUTES_FEW / 2 ? 2 * delivery->routes.count : ROUTES_FEW;
}

void routes_free(struct delivery *delivery)
{
    struct map_node *node;
    for (size_t at = 0; (node = map_each(&delivery->routes, &at));)
        free(MAP_OWNER(node, struct route, by_name));
    map_free(&delivery->routes);
}

struct route *route_find(struct delivery *delivery, struct slice name)
{
    uint64_t hash = map_hash(name);
    for (struct map_node *node = map_find(&delivery->routes, hash, NULL); node; node = map_find(&delivery->routes, hash, node)) {
        if (slice_equal(MAP_OWNER(node, struct route, by_name)->name, name))
            return MAP_OWNER(node, struct route, by_name);
    }
    if (delivery->routes.count >= delivery->routes_sweep_at)
        delivery_sweep_routes(delivery);
    struct route *route = calloc(1, sizeof *route + name.len);
    if (!route || map_add(&delivery->routes, &route->by_name, hash) != RESULT_OK) {
        free(route);
        return NULL;
    }
    if (name.len)
        memcpy(route->text, name.ptr, name.len);
    route->name = slice_of(route->text, name.len);
    route->delivery = delivery;
    return route;
}

static bool route_is_starving(const struct route *route)
{
    return !list_is_empty(&route->waiting) && list_is_empty(&route->carriers);
}

static bool is_somebody_starving(const struct delivery *delivery)
{
    LIST_EACH(node, &delivery->busy) {
        if (route_is_starving(LIST_OWNER(node, struct route, node)))
            return true;
    }
    return false;
}

static size_t limit_total(const struct delivery *delivery)
{
    return (size_t)delivery->config.conf->values.concurrency;
}

/* A place for a route that has none is made by a lane that rests elsewhere, or by the next that comes to rest (carrier_on_ready). */
static void delivery_make_room(struct delivery *delivery)
{
    LIST_EACH(node, &delivery->busy) {
        struct route *route = LIST_OWNER(node, struct route, node);
        LIST_EACH(at, &route->carriers) {
            struct carrier *carrier = LIST_OWNER(at, struct carrier, node);
            if (lane_is_ready(carrier->lane) && list_is_empty(&route->waiting)) {
                lane_leave(carrier->lane);
                return;
            }
        }
    }
}

/* ---- carriers --------------------------------------------------------------------------------------------------- */

/* The place where a message goes. It may have been loaded long ago, since it waited for the host: what a person has wished meanwhile counts. */
static void carrier_carry(struct carrier *carrier)
{
    struct route *route = carrier->route;
    while (lane_is_ready(carrier->lane) && !list_is_empty(&route->waiting)) {
        struct parcel *parcel = LIST_OWNER(list_take_first(&route->waiting), struct parcel, node);
        if (queue_is_withdrawn(parcel->delivery->queue, parcel->message, parcel->hop)) {
            parcel_return(parcel, delivery_now_ms(parcel->delivery));
            continue;
        }
        struct store_job *job = parcel->job;
        parcel->job = NULL;
        carrier->parcel = parcel;
        if (lane_carry(carrier->lane, job) == RESULT_OK)
            return;
        carrier->parcel = NULL;
        parcel_return(parcel, delivery_now_ms(parcel->delivery) + LOAD_RETRY_MS);
    }
}

static void carrier_on_ready(void *context, struct lane *lane)
{
    struct carrier *carrier = context;
    struct delivery *delivery = carrier->route->delivery;
    bool was_new = carrier->is_new;
    carrier->is_new = false;
    if (carrier->route->failures) {
        carrier->route->failures = 0;
        carrier->route->blocked_until_ms = 0;
        queue_unblock_hop(delivery->queue, carrier->route->name);
    }
    /* It has had its turn: the place goes to a route that has none. */
    if (!was_new && delivery->nlanes >= limit_total(delivery) && is_somebody_starving(delivery)) {
        lane_leave(lane);
        return;
    }
    carrier_carry(carrier);
    if (was_new) {
        route_open_lanes(carrier->route); /* the first that got in shows that the hop lives */
        delivery_pump(delivery);
    }
}

static void carrier_on_carried(void *context, struct lane *lane, struct courier *courier, struct slice host, bool peer_has_dsn)
{
    struct carrier *carrier = context;
    struct parcel *parcel = carrier->parcel;
    (void)lane;
    carrier->parcel = NULL;
    parcel_record(parcel, courier, host, peer_has_dsn);
}

static void route_block(struct route *route, const char *reply)
{
    struct delivery *delivery = route->delivery;
    route->failures++;
    int64_t delay_ms = schedule_delay_ms(&delivery->office.schedule, route->failures, crypto_random_u32());
    route->blocked_until_ms = delivery_now_ms(delivery) + (delay_ms < BLOCK_MAX_MS ? delay_ms : BLOCK_MAX_MS);
    snprintf(route->reply, sizeof route->reply, "%s", reply);
    queue_block_hop(delivery->queue, route->name, route->blocked_until_ms);
}

/* No address of the hop let us in. While other lanes stand, the hop works and merely wants fewer of us. */
static void carrier_on_failed(void *context, struct lane *lane, const struct lane_failure *failure)
{
    struct carrier *carrier = context;
    struct route *route = carrier->route;
    (void)lane;
    carrier->is_new = false;
    LIST_EACH(node, &route->carriers) {
        struct carrier *other = LIST_OWNER(node, struct carrier, node);
        if (other != carrier && !other->is_new && failure->verdict == NEXTHOP_LATER)
            return;
    }
    if (failure->verdict == NEXTHOP_LATER)
        route_block(route, failure->reply);
    struct list waiting = {0};
    for (struct list_node *node = list_take_first(&route->waiting); node; node = list_take_first(&route->waiting))
        list_append(&waiting, node);
    for (struct list_node *node = list_take_first(&waiting); node; node = list_take_first(&waiting))
        parcel_record_failure(LIST_OWNER(node, struct parcel, node), failure);
}

/* A place is free: routes that have none come first. */
static void delivery_feed(struct delivery *delivery)
{
    LIST_EACH_SAFE(node, after, &delivery->busy) {
        struct route *route = LIST_OWNER(node, struct route, node);
        if (delivery->is_stopping || delivery->nlanes >= limit_total(delivery))
            return;
        if (route_is_starving(route))
            route_open_lanes(route);
    }
}

static void carrier_on_gone(void *context, struct lane *lane)
{
    struct carrier *carrier = context;
    struct route *route = carrier->route;
    struct delivery *delivery = route->delivery;
    (void)lane;
    if (carrier->parcel) /* dropped in mid-message: tried again, at the latest after the next start */
        parcel_free(carrier->parcel);
    list_remove(&carrier->node);
    free(carrier);
    delivery->nlanes--;
    delivery_feed(delivery);
    route_serve(route);
    delivery_pump(delivery);
}

static enum result carrier_new(struct route *route)
{
    struct delivery *delivery = route->delivery;
    struct carrier *carrier = calloc(1, sizeof *carrier);
    if (!carrier)
        return RESULT_MEMORY;
    *carrier = (struct carrier){.route = route, .is_new = true};
    const struct lane_config config = {
        .name = route->name,
        .conf = delivery->config.conf,
        .tls_any = delivery->config.tls_any,
        .tls_verified = delivery->config.tls_verified,
        .handler = {carrier_on_ready, carrier_on_failed, carrier_on_carried, carrier_on_gone, carrier},
    };
    enum result result = lane_open(&carrier->lane, &delivery->services, &config);
    if (result != RESULT_OK) {
        free(carrier);
        return result;
    }
    list_append(&route->carriers, &carrier->node);
    delivery->nlanes++;
    return RESULT_OK;
}

static size_t route_new_carriers(const struct route *route)
{
    size_t n = 0;
    LIST_EACH(node, &route->carriers)
        n += LIST_OWNER(node, struct carrier, node)->is_new;
    return n;
}

static void route_open_lanes(struct route *route)
{
    struct delivery *delivery = route->delivery;
    size_t per_hop = (size_t)delivery->config.conf->values.concurrency_per_hop;
    while (route->waiting.count > route_new_carriers(route) && route->carriers.count < per_hop) {
        /* One goes first: a dead host is knocked at once, not ten times. */
        if (!list_is_empty(&route->carriers) && route_new_carriers(route) == route->carriers.count)
            return;
        if (delivery->nlanes >= limit_total(delivery)) {
            if (route_is_starving(route))
                delivery_make_room(delivery);
            return;
        }
        if (carrier_new(route) != RESULT_OK)
            break;
    }
    if (route_is_starving(route)) { /* memory is out */
        const struct lane_failure failure = {NEXTHOP_LATER, "451 4.3.0 out of memory"};
        parcel_record_failure(LIST_OWNER(list_take_first(&route->waiting), struct parcel, node), &failure);
    }
}

/* Gives what waits to lanes that rest, and opens more where there are too few. */
static void route_serve(struct route *route)
{
    LIST_EACH_SAFE(node, after, &route->carriers) {
        struct carrier *carrier = LIST_OWNER(node, struct carrier, node);
        if (lane_is_ready(carrier->lane))
            carrier_carry(carrier);
    }
    if (!route->delivery->is_stopping)
        route_open_lanes(route);
    route_forget_if_idle(route);
}

/* ---- for the delivery -------------------------------------------------------------------------------------------- */

void route_take(struct route *route, struct parcel *parcel)
{
    /* It was being loaded while the hop turned out to be dead. */
    if (delivery_now_ms(route->delivery) < route->blocked_until_ms && list_is_empty(&route->carriers)) {
        const struct lane_failure failure = {NEXTHOP_LATER, route->reply};
        parcel_record_failure(parcel, &failure);
        return;
    }
    list_append(&route->waiting, &parcel->node);
    if (!list_has(&route->delivery->busy, &route->node))
        list_append(&route->delivery->busy, &route->node);
    route_serve(route);
}

void route_forget_failures(struct route *route)
{
    route->failures = 0;
    route->blocked_until_ms = 0;
}

void route_drop_lanes(struct route *route)
{
    LIST_EACH_SAFE(node, after, &route->carriers)
        lane_drop(LIST_OWNER(node, struct carrier, node)->lane);
}

void route_stop(struct route *route)
{
    for (struct list_node *node = list_take_first(&route->waiting); node; node = list_take_first(&route->waiting))
        parcel_free(LIST_OWNER(node, struct parcel, node));
    LIST_EACH_SAFE(node, after, &route->carriers)
        lane_leave(LIST_OWNER(node, struct carrier, node)->lane);
    route_forget_if_idle(route);
}
