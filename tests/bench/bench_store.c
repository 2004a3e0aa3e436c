/* What the store costs: messages in, out and done, with some number of them in flight.
 *
 *     bench_store [seconds a row [pause]]      prints one line a row; POSTERN_BENCH_ROWS=4096x20 runs that one alone;
 *                                              with POSTERN_BENCH_SEALED=1 the store is sealed, as an agent's is
 *
 * With a pause (ms) between two messages of one flight the store is not driven as fast as it goes: what a message costs then shows how well commits
 * gather what comes along.
 *
 * A cycle is what a relay does: the body comes in pieces of 16 KiB, is committed, loaded as a job, its chunks read if it is large, and finished as
 * delivered, which drops the body. CPU is of the whole process: threads of the store, the loop, and this program's own memcpy. */
#include "support/store_world.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { IN_FLIGHT_MAX = 1000, PIECE = 16 * 1024 };

struct bench;
struct cycle {
    struct bench *bench;
    uv_timer_t timer;
    struct store_intake *intake;
    struct store_job *job;
    uint64_t id, began_ns;
    size_t sent;
    uint32_t chunk;
};

struct bench {
    struct world w;
    struct cycle cycles[IN_FLIGHT_MAX];
    char *body;
    size_t size, nrunning;
    uint64_t pause_ms;
    uint64_t next_id, until_ns, ndone, latency_ns;
    bool is_over;
};

static void must(enum result result)
{
    if (result != RESULT_OK) {
        fprintf(stderr, "%s\n", result_name(result));
        abort();
    }
}

static void begin(struct cycle *c);

static void on_timer(uv_timer_t *timer)
{
    begin(timer->data);
}

static void on_finished(void *context, enum result result)
{
    struct cycle *c = context;
    struct bench *b = c->bench;
    must(result);
    b->ndone++;
    if (uv_hrtime() >= b->until_ns)
        b->is_over = --b->nrunning == 0;
    else if (b->pause_ms)
        uv_timer_start(&c->timer, on_timer, b->pause_ms, 0);
    else
        begin(c);
}

static void finish(struct cycle *c)
{
    struct store_outcome outcome = {.seq = c->job->recipients[0].seq,
                                    .state = STORE_DELIVERED,
                                    .reply = SLICE("250 2.0.0 Ok: queued as 4XyzAbc"),
                                    .host = SLICE("mx.example.org")};
    store_attempt_finish(c->bench->w.client, c->id, &outcome, 1, (int64_t)c->id, NULL, false, on_finished, c);
    store_job_free(&c->job);
}

static void on_chunk(void *context, enum result result, struct slice octets)
{
    struct cycle *c = context;
    (void)octets;
    must(result);
    if (c->chunk == c->job->message.nchunks)
        finish(c);
    else
        store_body_read(c->bench->w.client, c->id, c->chunk++, on_chunk, c);
}

static void on_job(void *context, enum result result, struct store_job *job)
{
    struct cycle *c = context;
    must(result);
    c->job = job;
    c->chunk = 0;
    if (job->body.len > 0)
        finish(c);
    else
        store_body_read(c->bench->w.client, c->id, c->chunk++, on_chunk, c);
}

static void on_committed(void *context, enum result result)
{
    struct cycle *c = context;
    must(result);
    c->bench->latency_ns += uv_hrtime() - c->began_ns;
    store_job_load(c->bench->w.client, c->id, SLICE("example.org"), on_job, c);
}

static void on_drain(void *context);

static void push(struct cycle *c)
{
    struct bench *b = c->bench;
    while (c->sent < b->size) {
        size_t len = b->size - c->sent < PIECE ? b->size - c->sent : (size_t)PIECE;
        enum result result = store_intake_append(c->intake, slice_of(b->body + c->sent, len));
        c->sent += len;
        if (result == RESULT_BUSY && c->sent < b->size)
            return;
        if (result != RESULT_BUSY)
            must(result);
    }
    struct envelope_recipient to = {.address = SLICE("somebody@example.org")};
    struct slice hop = SLICE("example.org");
    struct store_message m = {.account = SLICE("alice"),
                              .envelope = {.sender = SLICE("alice@example.net"), .recipients = &to, .nrcpt = 1},
                              .received_at_ms = (int64_t)c->id,
                              .expires_at_ms = (int64_t)c->id,
                              .header_octets = 500};
    store_intake_commit(&c->intake, &m, &hop, 0, on_committed, c);
}

static void on_drain(void *context)
{
    push(context);
}

static void begin(struct cycle *c)
{
    struct bench *b = c->bench;
    c->id = b->next_id++;
    c->sent = 0;
    c->began_ns = uv_hrtime();
    c->intake = store_intake_new(b->w.client, c->id, on_drain, c);
    push(c);
}

static double cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* After the store's threads have become quiet and given their memory back. */
static long resident_at_rest_kib(void)
{
    char line[64] = "";
    struct slice pages, rest;
    uint64_t n = 0;
    usleep(800 * 1000);
    FILE *f = fopen("/proc/self/statm", "r");
    if (f && fgets(line, sizeof line, f)) {
        slice_cut(slice_from_cstr(line), ' ', &rest, &pages);
        slice_cut(pages, ' ', &pages, &rest);
        (void)!slice_to_u64(pages, UINT64_MAX, &n);
    }
    if (f)
        fclose(f);
    return (long)n * sysconf(_SC_PAGESIZE) / 1024;
}

static void run(size_t size, size_t in_flight, double seconds, uint64_t pause_ms)
{
    static struct bench b;
    b = (struct bench){.body = malloc(size), .size = size, .pause_ms = pause_ms, .next_id = 1ull << 60};
    world_fill(1, b.body, size);
    world_make(&b.w);
    if (getenv("POSTERN_BENCH_SEALED"))
        world_seal(&b.w, 1);
    must(world_open(&b.w));
    double cpu = cpu_seconds();
    uint64_t began = uv_hrtime();
    b.until_ns = began + (uint64_t)(seconds * 1e9);
    b.nrunning = in_flight;
    for (size_t i = 0; i < in_flight; i++) {
        b.cycles[i].bench = &b;
        b.cycles[i].timer.data = &b.cycles[i];
        uv_timer_init(&b.w.loop, &b.cycles[i].timer);
        begin(&b.cycles[i]);
    }
    world_wait(&b.w, &b.is_over);
    for (size_t i = 0; i < in_flight; i++)
        uv_close((uv_handle_t *)&b.cycles[i].timer, NULL);
    double took = (double)(uv_hrtime() - began) / 1e9, n = (double)b.ndone;
    cpu = cpu_seconds() - cpu;
    long at_rest = resident_at_rest_kib();
    world_close(&b.w);
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    printf("%7zu octets %4zu in flight: %7.0f messages/s  %6.1f us CPU a message  %6.2f ms to commit  peak %ld KiB, at rest %ld KiB\n", size,
           in_flight, n / took, cpu * 1e6 / n, (double)b.latency_ns / 1e6 / n, u.ru_maxrss, at_rest);
    fflush(stdout);
    world_end(&b.w);
    free(b.body);
}

int main(int argc, char **argv)
{
    static const size_t SIZES[] = {4096, 100 * 1024}, FLIGHTS[] = {1, 20, 100};
    const char *only = getenv("POSTERN_BENCH_ROWS");
    uint64_t seconds = 3, pause_ms = 0;
    if (argc > 1 && !slice_to_u64(slice_from_cstr(argv[1]), 3600, &seconds))
        return 64;
    if (argc > 2 && !slice_to_u64(slice_from_cstr(argv[2]), 10000, &pause_ms))
        return 64;
    for (size_t i = 0; i < sizeof SIZES / sizeof *SIZES; i++)
        for (size_t j = 0; j < sizeof FLIGHTS / sizeof *FLIGHTS; j++) {
            char name[32];
            snprintf(name, sizeof name, "%zux%zu", SIZES[i], FLIGHTS[j]);
            if (!only || strcmp(only, name) == 0)
                run(SIZES[i], FLIGHTS[j], (double)seconds, pause_ms);
        }
    return 0;
}
