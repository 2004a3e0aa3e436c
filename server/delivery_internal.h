/* What delivery.c and route.c share: the one borrows parcels from the queue and gives them back, the other finds them a session. */
#ifndef POSTERN_SERVER_DELIVERY_INTERNAL_H
#define POSTERN_SERVER_DELIVERY_INTERNAL_H

#include "delivery.h"
#include "lane.h"

#include "base/map.h"
#include "mta/wall.h"
#include "queue/queue.h"

struct delivery {
    struct delivery_config config;
    struct queue *queue;
    struct attempt_office office;
    struct lane_services services;
    struct wall wall;
    struct map routes;      /* all, by name */
    struct list busy;       /* those that something goes or waits to go over */
    size_t routes_sweep_at; /* when there are so many, those are looked for that nobody needs any more */
    size_t nlanes, nparcels, nscans;
    int64_t longest_delay_ms; /* of the schedule */
    int64_t flushed_at_ms;    /* wall time: when a person last wanted everything tried at once */
    int64_t swept_at_ms;      /* wall time: when the store last forgot what is older than the history */
    uv_timer_t timer;
    uv_timer_t scan_timer; /* runs while the store is known to hold what the queue does not */
    uv_timer_t stop_timer;
    bool is_stopping;
    int64_t stop_at_ms;
    int handles_open;
    void (*on_stopped)(void *context);
    void *stop_context;
};

/* A next hop while something goes or waits to go there, or its last failures are remembered: as long as it has mail in the queue, or is blocked. */
struct route {
    struct map_node by_name;
    struct list_node node; /* in delivery.busy */
    struct delivery *delivery;
    struct slice name;
    struct list waiting;  /* struct parcel, loaded */
    struct list carriers; /* struct carrier */
    uint32_t failures;    /* in a row */
    int64_t blocked_until_ms;
    char reply[512];      /* of the last failure */
    char text[];
};

/* One message for one hop, lent out by the queue. */
struct parcel {
    struct list_node node;
    struct delivery *delivery;
    uint64_t message;
    struct slice hop; /* as the queue calls it */
    struct store_job *job;
    int64_t leftover_due_ms; /* wall time: of the earliest recipient that this attempt is not about; INT64_MAX: it is about all */
    char text[];
};

/* A lane and what it carries. */
struct carrier {
    struct list_node node;
    struct route *route;
    struct lane *lane;
    struct parcel *parcel;
    bool is_new; /* not ready yet */
};

/* ---- delivery.c ---- */
/* Borrows from the queue whatever may run. */
void delivery_pump(struct delivery *delivery);
int64_t delivery_now_ms(const struct delivery *delivery);
/* Its job has gone elsewhere: back to the queue. due_at_ms: on our clock; negative: done with. Frees it. */
void parcel_return(struct parcel *parcel, int64_t due_at_ms);
void parcel_free(struct parcel *parcel);
/* A message has been carried; or nobody could be asked. The parcel goes back when that is on the disk. */
void parcel_record(struct parcel *parcel, const struct courier *courier, struct slice host, bool peer_has_dsn);
void parcel_record_failure(struct parcel *parcel, const struct lane_failure *failure);

enum { LOAD_RETRY_MS = 30000, SCAN_RETRY_MS = 30000 }; /* memory or store could not do it */

/* ---- route.c ---- */
/* Makes it, if need be. NULL: out of memory. */
struct route *route_find(struct delivery *delivery, struct slice name);
/* Takes a loaded parcel. */
void route_take(struct route *route, struct parcel *parcel);
/* Lets go of what waits and asks lanes to end; the route may be gone afterwards. */
void route_stop(struct route *route);
void route_drop_lanes(struct route *route);
void route_forget_failures(struct route *route);
/* All that are left, when nothing goes or waits. */
void routes_free(struct delivery *delivery);

#endif
