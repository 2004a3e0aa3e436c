#include "way_json.h"

#include "net/address.h"

static json_t *proxy_json(const struct path *path)
{
    struct net_address address = net_address_from_octets(path->proxy.address.family, path->proxy.address.octets, path->proxy.address.scope, path->proxy.port);
    char text[NET_ADDRESS_TEXT];
    if (path->via == PATH_DIRECT)
        return json_null();
    net_address_format(&address, text);
    return json_string(text);
}

json_t *way_json(const struct path *path, const char *relay_host)
{
    char address[64];
    path_address_format(&path->address, address, sizeof address);
    json_t *alpn = path->alpn == PATH_ALPN_NONE ? json_null() : json_string(path_alpn_name(path->alpn));
    return json_pack("{s:s, s:i, s:s, s:o, s:s, s:o}", "address", path->address.family != 0 ? address : relay_host, "port", (int)path->port, "mode",
                     path_mode_name(path->mode), "alpn", alpn, "via", path_via_name(path->via), "proxy", proxy_json(path));
}

json_t *way_trial_json(const struct finder_trial *trial, const char *relay_host)
{
    json_t *way = way_json(&trial->path, relay_host);
    const char *words = trial->words[0] ? trial->words : path_verdict_words(trial->verdict);
    json_object_set_new(way, "verdict", json_string(path_verdict_name(trial->verdict)));
    json_object_set_new(way, "ms", trial->verdict == PATH_UNTRIED ? json_null() : json_integer(trial->ms));
    json_object_set_new(way, "words", json_string(words));
    return way;
}
