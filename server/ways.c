#include "ways.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

struct writer {
    char *text; /* of WAYS_MAX + 1 octets */
    size_t len;
    bool is_full;
};

/* Is it among those that are written? They are separated by single blanks. */
static bool has_way(const struct writer *writer, struct slice way)
{
    struct slice rest = slice_of(writer->text, writer->len), one;
    while (rest.len > 0) {
        slice_cut(rest, ' ', &one, &rest);
        if (slice_equal(one, way))
            return true;
    }
    return false;
}

static void add_way(struct writer *writer, const char *place, enum service_mode mode)
{
    char way[NET_ADDRESS_TEXT + 16];
    int len = snprintf(way, sizeof way, "%s/%s", place, service_mode_name(mode));
    if (len <= 0 || (size_t)len >= sizeof way || has_way(writer, slice_of(way, (size_t)len)))
        return;
    if (writer->len + (writer->len > 0) + (size_t)len > WAYS_MAX) {
        writer->is_full = true;
        return;
    }
    if (writer->len > 0)
        writer->text[writer->len++] = ' ';
    memcpy(writer->text + writer->len, way, (size_t)len + 1);
    writer->len += (size_t)len;
}

static void add_port(struct writer *writer, uint16_t port, enum service_mode mode)
{
    char place[8];
    snprintf(place, sizeof place, "%u", port);
    add_way(writer, place, mode);
}

static bool is_loopback(const struct net_address *address)
{
    if (address->any.sa_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&address->v6.sin6_addr);
    return ntohl(address->v4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
}

static void add_listener(struct writer *writer, const struct conf_listener *listener)
{
    if (listener->mode != SERVICE_HTTP && !listener->takes_proxy_header && !is_loopback(&listener->address))
        add_port(writer, net_address_port(&listener->address), listener->mode);
}

static void add_advertised(struct writer *writer, const struct conf_way *way)
{
    char place[NET_ADDRESS_TEXT];
    if (way->address.any.sa_family == 0) {
        add_port(writer, way->port, way->mode);
        return;
    }
    net_address_format(&way->address, place);
    add_way(writer, place, way->mode);
}

enum result ways_write(const struct conf *conf, const struct conf_listener *bound, size_t nbound, char out[static WAYS_MAX + 1])
{
    const struct config_list *advertise = &conf->values.advertise;
    struct writer writer = {.text = out};
    out[0] = '\0';
    for (size_t i = 0; i < nbound; i++)
        add_listener(&writer, &bound[i]);
    for (size_t i = 0; i < advertise->count; i++)
        add_advertised(&writer, &((const struct conf_way *)advertise->items)[i]);
    return writer.is_full ? RESULT_LIMIT : RESULT_OK;
}
