/* Netlink messages. The first octet says what they are read as; the rest of the input are messages. Whatever they are, the table is bounded, and the facts are sorted, without doubles, and of
 * running links alone. */
#include "net/monitor_netlink.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool is_true)
{
    if (!is_true)
        abort();
}

static void check_facts(const struct monitor_facts *facts)
{
    static const uint8_t SECRET[CRYPTO_KEY];
    struct monitor_event event;
    require(facts->naddresses <= MONITOR_ADDRESSES_MAX);
    for (size_t i = 0; i < facts->naddresses; i++) {
        const struct monitor_address *address = &facts->addresses[i];
        require(address->family == 4 || address->family == 6);
        require(address->prefix <= (address->family == 4 ? 32 : 128));
        require(monitor_octets_matter(address->family, address->octets));
        require(i == 0 || monitor_address_compare(&facts->addresses[i - 1], address) < 0);
    }
    require(monitor_facts_event(NULL, facts, false, SECRET, &event));
    require(event.is_up == (facts->naddresses > 0));
    require(!monitor_facts_event(facts, facts, false, SECRET, &event));
}

static void read_table(struct slice octets)
{
    static struct monitor_table table;
    struct monitor_facts facts;
    bool has_changed = false;
    table = (struct monitor_table){0};
    monitor_table_read(&table, octets, 0, &has_changed);
    require(table.nlinks <= MONITOR_LINKS_MAX && table.naddresses <= MONITOR_TABLE_ADDRESSES_MAX && table.nroutes <= MONITOR_ROUTES_MAX);
    require(has_changed || (table.nlinks == 0 && table.naddresses == 0 && table.nroutes == 0));
    monitor_table_facts(&table, &facts);
    check_facts(&facts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct monitor_route v4 = {.interface = 2, .family = 4, .gateway = {192, 0, 2, 1}}, v6 = {.interface = 2, .family = 6, .gateway = {0xfe, 0x80, [15] = 1}};
    uint8_t name[MONITOR_MAC_MAX > MONITOR_SSID_MAX ? MONITOR_MAC_MAX : MONITOR_SSID_MAX], len = 0;
    uint16_t family = 0;
    if (size == 0)
        return 0;
    /* In memory of its own: aligned, as the kernel's messages are, and with its end where a sanitizer sees it. */
    char *copy = malloc(size);
    if (!copy)
        return 0;
    memcpy(copy, data + 1, size - 1);
    struct slice octets = slice_of(copy, size - 1);
    switch (data[0] % 5) {
    case 0:
        read_table(octets);
        break;
    case 1:
        monitor_neighbour_read(&v4, octets, 0, name, &len);
        break;
    case 2:
        monitor_neighbour_read(&v6, octets, 0, name, &len);
        break;
    case 3:
        monitor_family_read(octets, 0, &family);
        break;
    default:
        monitor_ssid_read(2, octets, 0, name, &len);
        break;
    }
    require(len <= sizeof name);
    free(copy);
    return 0;
}
