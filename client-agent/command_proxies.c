/* postern-agent proxies HOST: what the system's settings say of the way to that host, a URL a line, in their order.
 *
 * A command of its own, which the running agent asks in a child (system_proxies.h): the settings may name a script that the network itself serves (PAC, WPAD), and neither such a script nor a
 * library that fetches it and waits for it belongs into the process that holds the mail and the password. libproxy knows the desktops' settings and the scripts; it is loaded when it is there
 * (package libproxy1v5), because few machines need it. The variables that curl and others heed count without it, and no_proxy excepts a host from all of them. */
#include "commands.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum { CHILD_S = 15, URLS_MAX = 16, HOST_MAX = 253, URL_MAX = 1024 };

static const char *const variables[] = {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"};

struct urls {
    char *items[URLS_MAX];
    size_t n;
};

static bool is_printable(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text <= ' ' || *text == 0x7f)
            return false;
    return true;
}

/* "direct://" and other forms that we can't use are passed over; so are doubles. */
static void add_url(struct urls *urls, const char *url)
{
    bool is_ours = strncmp(url, "http://", 7) == 0 || strncmp(url, "socks5://", 9) == 0 || strncmp(url, "socks5h://", 10) == 0 || strncmp(url, "socks://", 8) == 0;
    if (!is_ours || strlen(url) > URL_MAX || !is_printable(url) || urls->n == URLS_MAX)
        return;
    for (size_t i = 0; i < urls->n; i++)
        if (strcmp(urls->items[i], url) == 0)
            return;
    char *copy = strdup(url);
    if (copy)
        urls->items[urls->n++] = copy;
}

/* ---- libproxy --------------------------------------------------------------------------------------------------- */

/* Its functions by name, for it is not linked: the interface of libproxy 0.4 and 0.5 (proxy.h). */
struct libproxy {
    void *(*new)(void);
    char **(*get)(void *factory, const char *url);
    void (*free)(void *factory);
};

/* POSIX gives functions out of dlsym as object pointers. */
static bool find_function(void *library, const char *name, void *function, size_t size)
{
    void *found = dlsym(library, name);
    memcpy(function, &found, size);
    return found != NULL;
}

static void ask_libproxy(struct urls *urls, const char *host)
{
    struct libproxy libproxy;
    char url[HOST_MAX + 16];
    void *library = dlopen("libproxy.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library || !find_function(library, "px_proxy_factory_new", &libproxy.new, sizeof libproxy.new) ||
        !find_function(library, "px_proxy_factory_get_proxies", &libproxy.get, sizeof libproxy.get) ||
        !find_function(library, "px_proxy_factory_free", &libproxy.free, sizeof libproxy.free))
        return;
    void *factory = libproxy.new();
    if (!factory)
        return;
    snprintf(url, sizeof url, "https://%s/", host);
    char **found = libproxy.get(factory, url);
    for (char **at = found; at && *at; at++) {
        add_url(urls, *at);
        free(*at);
    }
    free(found);
    libproxy.free(factory);
}

/* ---- the environment -------------------------------------------------------------------------------------------- */

/* As curl does it: "*", or names whose end the host is, with or without a dot before them. */
static bool is_excepted(struct slice list, struct slice host)
{
    struct slice item;
    while (list.len > 0) {
        slice_cut(list, ',', &item, &list);
        item = slice_trim(item);
        if (slice_starts_with(item, SLICE(".")))
            item = slice_skip(item, 1);
        if (slice_equal(item, SLICE("*")) || slice_equal_nocase(item, host))
            return true;
        bool is_suffix = item.len > 0 && host.len > item.len && slice_ends_with_nocase(host, item) && host.ptr[host.len - item.len - 1] == '.';
        if (is_suffix)
            return true;
    }
    return false;
}

/* libproxy, which may or may not be there, reads no_proxy in a way of its own: what the variable says must not depend on that. */
static bool is_excepted_host(const char *host)
{
    const char *none = getenv("no_proxy") ? getenv("no_proxy") : getenv("NO_PROXY");
    return none && is_excepted(slice_from_cstr(none), slice_from_cstr(host));
}

static void ask_environment(struct urls *urls)
{
    char url[URL_MAX + 16];
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
        const char *value = getenv(variables[i]);
        if (!value || !*value)
            continue;
        /* "proxy.example:3128" without a scheme is usual, and means HTTP. */
        snprintf(url, sizeof url, "%s%s", strstr(value, "://") ? "" : "http://", value);
        add_url(urls, url);
    }
}

int command_proxies(const struct command_line *line, int argc, char **argv)
{
    struct urls urls = {0};
    (void)line;
    if (argc != 2 || argv[1][0] == '-')
        return agent_fail(EX_USAGE, "usage: postern-agent proxies HOST");
    if (strlen(argv[1]) > HOST_MAX || !is_printable(argv[1]) || strpbrk(argv[1], "/@?#%"))
        return agent_fail(EX_USAGE, "\"%.64s\" is no host", argv[1]);
    if (is_excepted_host(argv[1]))
        return EX_OK;
    alarm(CHILD_S); /* the one who asked may be gone, and a script of the network's need not end */
    ask_libproxy(&urls, argv[1]);
    ask_environment(&urls);
    for (size_t i = 0; i < urls.n; i++) {
        fprintf(stdout, "%s\n", urls.items[i]);
        free(urls.items[i]);
    }
    return fflush(stdout) == 0 ? EX_OK : agent_fail(EX_IOERR, "the output can't be written");
}
