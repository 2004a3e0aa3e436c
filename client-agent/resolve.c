#include "resolve.h"

#include "net/address.h"

#include <netdb.h>
#include <stdlib.h>
#include <string.h>

enum { HOST_MAX = 255 };

struct resolve {
    uv_getaddrinfo_t request;
    resolve_answer *on_answer; /* NULL: nobody wants to know */
    void *context;
};

bool resolve_address(const struct sockaddr *from, struct path_address *out)
{
    *out = (struct path_address){0};
    out->family = net_address_to_octets(from, out->octets, &out->scope);
    return out->family != 0;
}

bool resolve_literal(struct slice host, struct path_address *out)
{
    struct net_address parsed;
    return net_address_parse_ip(host, 0, &parsed) == RESULT_OK && resolve_address(&parsed.any, out);
}

/* A family that does not work costs one stagger at a time then, and eight addresses of one family don't hide the other. */
static size_t in_turns(const struct addrinfo *list, struct path_address *out)
{
    size_t n = 0;
    int wanted = AF_INET6;
    for (int round = 0; round < 2 * RESOLVE_ADDRESSES_MAX; round++, wanted = wanted == AF_INET6 ? AF_INET : AF_INET6) {
        int skip = round / 2;
        for (const struct addrinfo *at = list; at && n < RESOLVE_ADDRESSES_MAX; at = at->ai_next)
            if (at->ai_family == wanted && skip-- == 0)
                n += resolve_address(at->ai_addr, &out[n]);
    }
    return n;
}

static void on_answer(uv_getaddrinfo_t *request, int status, struct addrinfo *list)
{
    struct resolve *resolve = request->data;
    struct path_address addresses[RESOLVE_ADDRESSES_MAX];
    size_t n = in_turns(list, addresses);
    uv_freeaddrinfo(list);
    if (resolve->on_answer)
        resolve->on_answer(resolve->context, status, addresses, n);
    free(resolve);
}

enum result resolve_start(struct resolve **out, uv_loop_t *loop, struct slice host, resolve_answer *answer, void *context)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    char name[HOST_MAX + 1];
    *out = NULL;
    if (!slice_to_cstr(host, name, sizeof name))
        return RESULT_LIMIT;
    struct resolve *resolve = malloc(sizeof *resolve);
    if (!resolve)
        return RESULT_MEMORY;
    *resolve = (struct resolve){.on_answer = answer, .context = context};
    resolve->request.data = resolve;
    if (uv_getaddrinfo(loop, &resolve->request, on_answer, name, NULL, &hints) < 0) {
        free(resolve);
        return RESULT_IO;
    }
    *out = resolve;
    return RESULT_OK;
}

void resolve_cancel(struct resolve **resolve)
{
    struct resolve *r = *resolve;
    *resolve = NULL;
    if (!r)
        return;
    r->on_answer = NULL;
    uv_cancel((uv_req_t *)&r->request); /* one that waits for its turn; one that is being asked comes back anyhow */
}
