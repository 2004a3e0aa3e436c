/* server/delivery.h: what the store holds comes into the queue, also when the store can't be read at first. The rest is in tests/integration/test_relay_delivery.py. */
#include "delivery_internal.h"

#include "support/fault_vfs.h"
#include "support/store_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct office {
    struct world world;
    struct conf *conf;
    struct tls_context *tls;
    struct dns *dns;
    struct delivery *delivery;
    bool is_stopped;
    struct served served;
};

/* Held, so that nothing is connected to. */
static void put_held(struct world *w, uint64_t id)
{
    struct world_done done = {0};
    assert_int_equal(world_put(w, id, SLICE("x: y\r\n\r\nz\r\n"), 1, 1), RESULT_OK);
    store_message_hold(w->client, id, world_on_done, &done);
    assert_int_equal(world_wait_done(w, &done), RESULT_OK);
}

static void office_open(struct office *office)
{
    const struct dirs dirs = {.config_file = "relay.conf", .keys = "."};
    struct config_error error = {0};
    char why[300];
    *office = (struct office){0};
    world_make(&office->world);
    fault_vfs_register();
    office->world.config.vfs = "fault";
    assert_int_equal(world_open(&office->world), RESULT_OK);
    assert_int_equal(conf_load_text(&office->conf, &dirs, "relay.conf", SLICE("[relay]\nname = relay.example\n"), &error), RESULT_OK);
    assert_int_equal(tls_context_client(&office->tls, &(struct tls_client_config){.identity = TLS_IDENTITY_ANY}, why, sizeof why), RESULT_OK);
    assert_int_equal(dns_open(&office->dns, &office->world.loop, &(struct dns_config){0}, why, sizeof why), RESULT_OK);
}

static void office_start(struct office *office)
{
    const struct delivery_config config = {
        .loop = &office->world.loop,
        .store = office->world.client,
        .dns = office->dns,
        .log = &office->world.log,
        .conf = office->conf,
        .served = &office->served,
        .tls_any = office->tls,
    };
    assert_int_equal(delivery_start(&office->delivery, &config), RESULT_OK);
}

static void on_stopped(void *context)
{
    ((struct office *)context)->is_stopped = true;
}

static void office_close(struct office *office)
{
    delivery_stop(office->delivery, 0, on_stopped, office);
    world_wait(&office->world, &office->is_stopped);
    dns_close(office->dns, NULL, NULL);
    tls_context_unref(&office->tls);
    conf_unref(&office->conf);
    world_close(&office->world);
    uv_run(&office->world.loop, UV_RUN_DEFAULT);
    world_end(&office->world);
}

static void run_until_scanned(struct office *office)
{
    while (office->delivery->nscans > 0)
        uv_run(&office->world.loop, UV_RUN_ONCE);
}

static bool waits_for_a_scan(const struct office *office)
{
    return uv_is_active((const uv_handle_t *)&office->delivery->scan_timer);
}

/* Its time has come. */
static void hurry(struct office *office)
{
    uv_timer_set_repeat(&office->delivery->scan_timer, 1);
    assert_int_equal(uv_timer_again(&office->delivery->scan_timer), 0);
    while (office->delivery->nscans == 0)
        uv_run(&office->world.loop, UV_RUN_ONCE);
    run_until_scanned(office);
}

static void test_a_store_that_cannot_be_read_is_read_later(void **state)
{
    (void)state;
    struct office office;
    office_open(&office);
    for (uint64_t id = 1; id <= 3; id++)
        put_held(&office.world, id);
    fault_vfs_arm(FAULT_IO, 1, true);
    office_start(&office);
    run_until_scanned(&office);
    assert_true(fault_vfs_has_fired());
    assert_int_equal(queue_count(office.delivery->queue), 0);
    assert_true(waits_for_a_scan(&office));
    fault_vfs_disarm();
    hurry(&office);
    assert_int_equal(queue_count(office.delivery->queue), 3);
    assert_false(waits_for_a_scan(&office));
    office_close(&office);
}

static void test_a_later_look_finds_what_is_new(void **state)
{
    (void)state;
    struct office office;
    office_open(&office);
    office_start(&office);
    run_until_scanned(&office);
    assert_int_equal(queue_count(office.delivery->queue), 0);
    assert_false(waits_for_a_scan(&office));
    put_held(&office.world, 7); /* there was no memory to tell the delivery */
    delivery_rescan_later(office.delivery);
    delivery_rescan_later(office.delivery);
    hurry(&office);
    assert_int_equal(queue_count(office.delivery->queue), 1);
    assert_false(waits_for_a_scan(&office));
    office_close(&office);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_store_that_cannot_be_read_is_read_later),
        cmocka_unit_test(test_a_later_look_finds_what_is_new),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
