/* postern-agent secret get|put NAME: the key of an encrypted spool, out of and into the desktop's secret service, as text on standard output and input.
 *
 * A command of its own, which the agent runs as a child (secret_child.c): libsecret brings glib, D-Bus and prompts, and none of that belongs into the process that holds the mail. It is loaded when it is there
 * (package libsecret-1-0), so a machine without a desktop needs none of it. Exit codes: 0; 66 the service has none of that name; 75 it is locked, or the person said no; 69 there is no secret service;
 * 68 none has answered in time; 73 it has no place for new secrets. */
#include "commands.h"
#include "spool_key.h"

#include "crypto/crypto.h"

#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum { ANSWER_S = 10 /* of the service itself, which the bus may start for it */, CHILD_S = 35 /* of the person, too */, NAME_MAX_OCTETS = 64 };
/* Of libsecret's enums (secret-service.h, secret-types.h). */
enum { OPEN_SESSION = 1 << 1, SEARCH_ALL = 1 << 1, SEARCH_UNLOCK = 1 << 2, SEARCH_LOAD_SECRETS = 1 << 3 };

/* glib's and libsecret's own shapes, which are part of their interface. */
struct glist {
    void *data;
    struct glist *next, *previous;
};
struct schema {
    const char *name;
    int flags;
    struct {
        const char *name;
        int type;
    } attributes[32];
    int reserved;
    void *more_reserved[7];
};

static const struct schema schema = {.name = "org.postern.SpoolKey", .attributes = {{"spool", 0}, {0}}};

/* Functions by name, for the library is not linked. */
struct libsecret {
    void *(*service_get)(int flags, void *cancellable, void **error);
    struct glist *(*search)(void *service, const struct schema *schema, void *attributes, int flags, void *cancellable, void **error);
    int (*store)(void *service, const struct schema *schema, void *attributes, const char *collection, const char *label, void *value, void *cancellable, void **error);
    void *(*collection_for_alias)(void *service, const char *alias, int flags, void *cancellable, void **error);
    int (*collection_is_locked)(void *collection);
    int (*item_is_locked)(void *item);
    void *(*item_secret)(void *item);
    const char *(*value_text)(void *value);
    void *(*value_new)(const char *secret, ssize_t len, const char *content_type);
    void (*value_free)(void *value); /* which wipes it */
    void *(*table_new)(unsigned (*hash)(const void *), int (*equal)(const void *, const void *));
    int (*table_insert)(void *table, void *key, void *value);
    unsigned (*hash)(const void *);
    int (*equal)(const void *, const void *);
};

/* POSIX gives functions out of dlsym as object pointers. glib's are found through libsecret, which needs it. */
static bool find_function(void *library, const char *name, void *function, size_t size)
{
    void *found = dlsym(library, name);
    memcpy(function, &found, size);
    return found != NULL;
}

#define FIND(member, symbol) find_function(library, symbol, &secret->member, sizeof secret->member)

static bool load(struct libsecret *secret)
{
    void *library = dlopen("libsecret-1.so.0", RTLD_NOW | RTLD_LOCAL);
    return library && FIND(service_get, "secret_service_get_sync") && FIND(search, "secret_service_search_sync") && FIND(store, "secret_service_store_sync") &&
           FIND(collection_for_alias, "secret_collection_for_alias_sync") && FIND(collection_is_locked, "secret_collection_get_locked") && FIND(item_is_locked, "secret_item_get_locked") &&
           FIND(item_secret, "secret_item_get_secret") && FIND(value_text, "secret_value_get_text") && FIND(value_new, "secret_value_new") &&
           FIND(value_free, "secret_value_unref") && FIND(table_new, "g_hash_table_new") &&
           FIND(table_insert, "g_hash_table_insert") && FIND(hash, "g_str_hash") && FIND(equal, "g_str_equal");
}

static void *attributes_of(const struct libsecret *secret, char *name)
{
    static char key[] = "spool";
    void *table = secret->table_new(secret->hash, secret->equal);
    secret->table_insert(table, key, name);
    return table;
}

/* ---- the two ---------------------------------------------------------------------------------------------------- */

static bool is_default_locked(const struct libsecret *secret, void *service)
{
    void *collection = secret->collection_for_alias(service, "default", 0, NULL, NULL);
    return collection && secret->collection_is_locked(collection);
}

/* Not by way of stdio, whose buffers nobody wipes. */
static bool write_all(const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = write(STDOUT_FILENO, text, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        text += n;
        len -= (size_t)n;
    }
    return true;
}

static size_t read_all(char *text, size_t size)
{
    size_t len = 0;
    while (len < size) {
        ssize_t n = read(STDIN_FILENO, text + len, size - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    return len;
}

/* An item that is locked is unlocked, which may ask the person at the desktop. Some services don't show what is in a locked collection: where it is locked, "there is none" is no answer. */
static int get(const struct libsecret *secret, void *service, char *name)
{
    void *error = NULL;
    struct glist *items = secret->search(service, &schema, attributes_of(secret, name), SEARCH_ALL, NULL, &error);
    bool is_there = items || is_default_locked(secret, service);
    if (!error && is_there)
        items = secret->search(service, &schema, attributes_of(secret, name), SEARCH_ALL | SEARCH_UNLOCK | SEARCH_LOAD_SECRETS, NULL, &error);
    if (error)
        return agent_fail(EX_TEMPFAIL, "the secret service is locked, or broke off");
    if (!items && (!is_there || !is_default_locked(secret, service)))
        return agent_fail(EX_NOINPUT, "the secret service has no key of this name");
    void *value = !items || secret->item_is_locked(items->data) ? NULL : secret->item_secret(items->data);
    const char *text = value ? secret->value_text(value) : NULL;
    if (!text)
        return agent_fail(EX_TEMPFAIL, "the secret service is locked");
    bool is_written = write_all(text, strlen(text));
    secret->value_free(value);
    return is_written ? EX_OK : agent_fail(EX_IOERR, "the key can't be written");
}

static int put_text(const struct libsecret *secret, void *service, char *name, const char *text, size_t len)
{
    void *error = NULL;
    void *collection = secret->collection_for_alias(service, "default", 0, NULL, NULL);
    if (!collection)
        return agent_fail(EX_CANTCREAT, "the secret service has no collection for new secrets");
    bool is_locked = secret->collection_is_locked(collection) != 0;
    void *value = secret->value_new(text, (ssize_t)len, "text/plain");
    bool is_stored = secret->store(service, &schema, attributes_of(secret, name), "default", "Key of the Postern agent's mail spool", value, NULL, &error) != 0;
    secret->value_free(value);
    if (is_stored)
        return EX_OK;
    return is_locked ? agent_fail(EX_TEMPFAIL, "the secret service is locked") : agent_fail(EX_CANTCREAT, "the secret service takes no key");
}

static int put(const struct libsecret *secret, void *service, char *name)
{
    char *text = crypto_secret_alloc(SPOOL_KEY_TEXT + 1);
    if (!text)
        return agent_fail(EX_OSERR, "out of memory");
    int exit_code = put_text(secret, service, name, text, read_all(text, SPOOL_KEY_TEXT));
    crypto_secret_free((void **)&text);
    return exit_code;
}

static bool is_name(const char *text)
{
    size_t len = strlen(text);
    return len > 0 && len <= NAME_MAX_OCTETS && strspn(text, "0123456789abcdefghijklmnopqrstuvwxyz") == len;
}

static void on_silence(int number)
{
    (void)number;
    _exit(EX_NOHOST);
}

/* Who does not even answer that he is there has asked nobody anything yet. */
static void *find_service(const struct libsecret *secret)
{
    void *error = NULL;
    signal(SIGALRM, on_silence);
    alarm(ANSWER_S);
    void *service = secret->service_get(OPEN_SESSION, NULL, &error);
    alarm(CHILD_S); /* whoever asked may be gone, and nobody may be there to answer a prompt */
    signal(SIGALRM, SIG_DFL);
    return service;
}

int command_secret(const struct command_line *line, int argc, char **argv)
{
    struct libsecret secret;
    (void)line;
    bool is_put = argc == 3 && strcmp(argv[1], "put") == 0;
    if (argc != 3 || (!is_put && strcmp(argv[1], "get") != 0) || !is_name(argv[2]))
        return agent_fail(EX_USAGE, "usage: postern-agent secret get|put NAME");
    if (!load(&secret))
        return agent_fail(EX_UNAVAILABLE, "libsecret is not here (package libsecret-1-0)");
    void *service = find_service(&secret);
    if (!service)
        return agent_fail(EX_UNAVAILABLE, "no secret service answers");
    return is_put ? put(&secret, service, argv[2]) : get(&secret, service, argv[2]);
}
