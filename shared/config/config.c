/* Invariants: 1 every key of the table gets a value exactly once: from the file, or its default; 2 nothing of the file is passed over in silence;
 * 3 a value marked secret is in no error, and nowhere in memory but in the arena once loading ends.
 *
 * libinih keeps track of sections and splits lines, but Debian's builds of it differ in what else they do: 55 cuts values at " ;" and lines at 200
 * octets, takes an indented line as a continuation, and none of these tells the line number. So it is given, line by line, the section headers and
 * the names of the keys, already checked, through its reader callback; the value stays with us, taken from the line itself. */
#include "config/config.h"

#include "base/buffer.h"
#include "config/private.h"
#include "config/value.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct loader {
    const struct config_schema *schema;
    const char *file;
    struct arena *arena;
    char *out;
    struct config_error *error;
    struct slice rest; /* lines not yet read */
    struct slice value; /* of the line that libinih holds now */
    size_t line;        /* number of that line; 0: not in the file */
    bool is_known_section;
    bool is_out_of_memory;
    bool is_seen[CONFIG_KEYS_MAX];
    char section[CONFIG_NAME_MAX + 1];
};

/* ---- errors ------------------------------------------------------------------------------------------------------- */

/* Overlong text is cut at the buffer's end: an error is for reading. */
static void error_add(struct config_error *error, const char *format, ...) PRINTF_LIKE(2, 3);
static void error_add(struct config_error *error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(error->text + error->len, sizeof error->text - error->len, format, args);
    va_end(args);
    size_t room = sizeof error->text - 1 - error->len;
    if (n > 0)
        error->len += (size_t)n < room ? (size_t)n : room;
}

/* Begins an error: "FILE:LINE: ". False: enough are told already. */
static bool error_begin(struct loader *loader)
{
    struct config_error *error = loader->error;
    if (error->count++ >= CONFIG_ERRORS_MAX)
        return false;
    error_add(error, "%s%s:", error->len > 0 ? "\n" : "", loader->file);
    if (loader->line > 0)
        error_add(error, "%zu:", loader->line);
    error_add(error, " ");
    return true;
}

static void refuse_line(struct loader *loader, const char *why)
{
    if (error_begin(loader))
        error_add(loader->error, "%s", why);
}

/* Quotes what came from the file: bounded, control characters (which may sit in a name) as '?'. */
static void error_add_quoted(struct config_error *error, struct slice text)
{
    error_add(error, "\"");
    for (size_t i = 0; i < text.len && i < 80; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        error_add(error, "%c", c < ' ' || c == 0x7f ? '?' : c);
    }
    error_add(error, text.len > 80 ? "...\"" : "\"");
}

static void refuse_value(struct loader *loader, const struct config_key *key, struct slice value, const char *why)
{
    if (!error_begin(loader))
        return;
    error_add(loader->error, "key \"%s\": ", key->name);
    if (key->is_secret)
        error_add(loader->error, "the value (not shown)");
    else
        error_add_quoted(loader->error, value);
    error_add(loader->error, " is not accepted");
    if (why)
        error_add(loader->error, ": %s", why);
    error_add(loader->error, "; accepted: %s", key->accepted);
}

static bool is_first_of_section(const struct config_schema *schema, size_t at)
{
    for (size_t i = 0; i < at; i++)
        if (strcmp(schema->keys[i].section, schema->keys[at].section) == 0)
            return false;
    return true;
}

static void refuse_section(struct loader *loader, struct slice name)
{
    if (!error_begin(loader))
        return;
    error_add(loader->error, "section ");
    error_add_quoted(loader->error, name);
    error_add(loader->error, " is not known; accepted:");
    for (size_t i = 0; i < loader->schema->nkeys; i++)
        if (loader->schema->keys[i].section[0] && is_first_of_section(loader->schema, i))
            error_add(loader->error, " [%s]", loader->schema->keys[i].section);
}

static void refuse_key(struct loader *loader, const char *section, struct slice name)
{
    if (!error_begin(loader))
        return;
    error_add(loader->error, "key ");
    error_add_quoted(loader->error, name);
    if (section[0])
        error_add(loader->error, " is not known in section [%s]; accepted:", section);
    else
        error_add(loader->error, " is not known before the first section; accepted:");
    const struct config_key *keys = loader->schema->keys;
    size_t n = 0;
    for (size_t i = 0; i < loader->schema->nkeys; i++)
        if (strcmp(keys[i].section, section) == 0)
            error_add(loader->error, "%s %s", n++ > 0 ? "," : "", keys[i].name);
    if (n == 0)
        error_add(loader->error, " a section first");
}

/* ---- values into the struct --------------------------------------------------------------------------------------- */

static void *list_add(struct loader *loader, struct config_list *list, size_t item_size)
{
    bool is_power_of_two = (list->count & (list->count - 1)) == 0;
    if (is_power_of_two) {
        size_t capacity = list->count > 0 ? 2 * list->count : 1;
        char *items = arena_alloc(loader->arena, capacity * item_size);
        if (!items) {
            loader->is_out_of_memory = true;
            return NULL;
        }
        if (list->count > 0)
            memcpy(items, list->items, list->count * item_size);
        list->items = items;
    }
    return (char *)list->items + list->count * item_size;
}

/* text: without quotes. False: refused, or out of memory. */
static bool set_text(struct loader *loader, const struct config_key *key, struct slice text)
{
    struct config_list *list = key->is_list ? (struct config_list *)(void *)(loader->out + key->at) : NULL;
    if (list && list->count == CONFIG_LIST_MAX) {
        refuse_value(loader, key, text, "too many of them");
        return false;
    }
    void *at = list ? list_add(loader, list, config_value_size(key)) : loader->out + key->at;
    if (!at)
        return false;
    struct config_value value = {.text = text, .arena = loader->arena};
    enum result result = config_value_parse(key, loader->file, &value, at);
    if (result == RESULT_MEMORY)
        loader->is_out_of_memory = true;
    else if (result != RESULT_OK)
        refuse_value(loader, key, text, value.why);
    else if (list)
        list->count++;
    return result == RESULT_OK;
}

/* written: as in the file. */
static bool set_written(struct loader *loader, const struct config_key *key, struct slice written)
{
    char unquoted[CONFIG_LINE_MAX];
    struct slice text = {0};
    const char *why = NULL;
    bool is_set = false;
    if (config_value_unquote(written, unquoted, &text, &why) == RESULT_OK)
        is_set = set_text(loader, key, text);
    else
        refuse_value(loader, key, written, why);
    if (key->is_secret)
        explicit_bzero(unquoted, sizeof unquoted);
    return is_set;
}

static const struct config_key *find_key(const struct config_schema *schema, const char *section, const char *name)
{
    for (size_t i = 0; i < schema->nkeys; i++)
        if (strcmp(schema->keys[i].section, section) == 0 && strcmp(schema->keys[i].name, name) == 0)
            return &schema->keys[i];
    return NULL;
}

/* libinih has found a key. Its own idea of the value is empty: see the top of this file. */
static int take_key(void *user, const char *section, const char *name, const char *ignored)
{
    (void)ignored;
    struct loader *loader = user;
    if (!loader->is_known_section || !name) /* some builds announce sections with no name */
        return 1;
    const struct config_key *key = find_key(loader->schema, section, name);
    if (!key) {
        refuse_key(loader, section, slice_from_cstr(name));
        return 1;
    }
    bool *is_seen = &loader->is_seen[key - loader->schema->keys];
    if (*is_seen && !key->is_list)
        refuse_value(loader, key, loader->value, "it is given for the second time");
    else
        set_written(loader, key, loader->value);
    *is_seen = true;
    return 1;
}

/* ---- lines -------------------------------------------------------------------------------------------------------- */

static bool next_line(struct loader *loader, struct slice *line)
{
    if (loader->rest.len == 0)
        return false;
    slice_cut(loader->rest, '\n', line, &loader->rest);
    if (line->len > 0 && line->ptr[line->len - 1] == '\r')
        line->len--;
    loader->line++;
    return true;
}

static bool has_control(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return true;
    }
    return false;
}

/* Letters, digits, '-', '_', '.': nothing that libinih would take for anything else. */
static bool is_name(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i], folded = (char)(c | 0x20);
        if (!(folded >= 'a' && folded <= 'z') && !(c >= '0' && c <= '9') && c != '-' && c != '_' && c != '.')
            return false;
    }
    return text.len > 0 && text.len <= CONFIG_NAME_MAX;
}

static bool has_section(const struct config_schema *schema, struct slice name)
{
    for (size_t i = 0; i < schema->nkeys; i++)
        if (slice_equal(name, slice_from_cstr(schema->keys[i].section)))
            return true;
    return false;
}

/* "[name]": what libinih is to see of it, or false and an error. */
static bool take_section(struct loader *loader, struct slice line, char *seen, size_t size)
{
    struct slice name = slice_take(slice_skip(line, 1), line.len - 2);
    loader->is_known_section = false;
    if (line.ptr[line.len - 1] != ']') {
        refuse_line(loader, "the line begins with [ and does not end with ]; accepted: [section]");
        return false;
    }
    if (!is_name(name) || !has_section(loader->schema, name)) {
        refuse_section(loader, name);
        return false;
    }
    loader->is_known_section = slice_to_cstr(name, loader->section, sizeof loader->section);
    snprintf(seen, size, "[%s]\n", loader->section);
    return true;
}

static bool take_pair(struct loader *loader, struct slice line, char *seen, size_t size)
{
    struct slice name, value;
    bool has_value = slice_cut(line, '=', &name, &value);
    name = slice_trim(name);
    if (!has_value || name.len == 0) {
        refuse_line(loader, "the line is neither a section, nor a key, nor a comment; accepted: [section], key = value, # comment");
        return false;
    }
    if (!is_name(name)) {
        if (loader->is_known_section)
            refuse_key(loader, loader->section, name);
        return false;
    }
    loader->value = slice_trim(value);
    snprintf(seen, size, "%.*s=\n", SLICE_ARG(name));
    return true;
}

/* fgets for libinih: the next line that means something. */
static char *read_line(char *seen, int size, void *user)
{
    struct loader *loader = user;
    struct slice line;
    assert(size > CONFIG_NAME_MAX + 4); /* brackets, line feed, NUL */
    while (!loader->is_out_of_memory && next_line(loader, &line)) {
        line = slice_trim(line);
        if (line.len == 0 || line.ptr[0] == '#' || line.ptr[0] == ';')
            continue;
        if (line.len > CONFIG_LINE_MAX)
            refuse_line(loader, "the line is too long; accepted: 4096 octets");
        else if (has_control(line))
            refuse_line(loader, "the line holds a control character; accepted: text");
        else if (line.ptr[0] == '[' ? take_section(loader, line, seen, (size_t)size) : take_pair(loader, line, seen, (size_t)size))
            return seen;
    }
    return NULL;
}

/* ---- the whole ---------------------------------------------------------------------------------------------------- */

/* fallback: one value, or for a list one a line. What a program gives as default must be of its own accepted form. */
static void set_default(struct loader *loader, const struct config_key *key)
{
    struct slice rest = slice_from_cstr(key->fallback), value;
    while (rest.len > 0) {
        if (key->is_list)
            slice_cut(rest, '\n', &value, &rest);
        else
            value = rest, rest = (struct slice){0};
        bool is_set = set_written(loader, key, value);
        assert(is_set || loader->is_out_of_memory);
        (void)is_set;
    }
}

static void set_defaults(struct loader *loader)
{
    loader->line = 0;
    for (size_t i = 0; i < loader->schema->nkeys; i++) {
        const struct config_key *key = &loader->schema->keys[i];
        if (loader->is_seen[i])
            continue;
        if (key->fallback)
            set_default(loader, key);
        else if (key->is_required && error_begin(loader))
            error_add(loader->error, "key \"%s\" in section [%s] is missing; accepted: %s", key->name, key->section, key->accepted);
    }
}

static void loader_init(struct loader *loader, const struct config_schema *schema, const char *file, struct arena *arena, void *out,
                        struct config_error *error)
{
    assert(schema->nkeys <= CONFIG_KEYS_MAX);
    memset(error, 0, sizeof *error);
    *loader = (struct loader){.schema = schema, .file = file, .arena = arena, .out = out, .error = error, .is_known_section = true};
}

static enum result loader_run(struct loader *loader, struct slice text)
{
    static const struct slice bom = {"\xef\xbb\xbf", 3};
    memset(loader->out, 0, loader->schema->size);
    loader->rest = slice_starts_with(text, bom) ? slice_skip(text, bom.len) : text;
    int refused = ini_parse_stream(read_line, loader, take_key, loader);
    if (refused < 0)
        loader->is_out_of_memory = true;
    if (!loader->is_out_of_memory)
        set_defaults(loader);
    if (loader->is_out_of_memory)
        return RESULT_MEMORY;
    /* A line that libinih refuses although it passed read_line would be lost: invariant 2. */
    if (refused > 0 && loader->error->count == 0)
        refuse_line(loader, "the file cannot be understood; accepted: INI lines");
    if (loader->error->count > CONFIG_ERRORS_MAX)
        error_add(loader->error, "\n%s: and %zu more errors", loader->file, loader->error->count - CONFIG_ERRORS_MAX);
    return loader->error->count > 0 ? RESULT_SYNTAX : RESULT_OK;
}

enum result config_load_text(const struct config_schema *schema, const char *file, struct slice text, struct arena *arena, void *out,
                             struct config_error *error)
{
    struct loader loader;
    loader_init(&loader, schema, file, arena, out, error);
    return loader_run(&loader, text);
}

static enum result refuse_file(struct loader *loader, enum result result, const char *why)
{
    refuse_line(loader, why);
    if (result == RESULT_NOT_FOUND && loader->schema->missing)
        error_add(loader->error, "; %s", loader->schema->missing);
    return result;
}

static enum result open_file(struct loader *loader, int *fd)
{
    *fd = open(loader->file, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (*fd >= 0)
        return RESULT_OK;
    enum result result = errno == ENOENT || errno == ENOTDIR ? RESULT_NOT_FOUND : errno == EACCES || errno == EPERM ? RESULT_DENIED : RESULT_IO;
    return refuse_file(loader, result, strerror(errno));
}

static enum result read_file(struct loader *loader, int fd, struct buffer *content)
{
    char *at = NULL;
    if (buffer_reserve(content, CONFIG_FILE_MAX, &at) != RESULT_OK)
        return RESULT_MEMORY;
    for (;;) {
        ssize_t n = read(fd, at + buffer_len(content), CONFIG_FILE_MAX - buffer_len(content));
        if (n == 0)
            return RESULT_OK;
        if (n < 0 && errno != EINTR)
            return refuse_file(loader, RESULT_IO, strerror(errno));
        if (n > 0)
            buffer_commit(content, (size_t)n);
        if (buffer_len(content) == CONFIG_FILE_MAX)
            return refuse_file(loader, RESULT_SYNTAX, "the file is too large; accepted: under 256K");
    }
}

/* Who can write to the file says whom the program trusts, and sends its mail to. */
static enum result check_unwritable(struct loader *loader, int fd)
{
    struct private_error error = {0};
    enum result result = private_check_unwritable(fd, loader->file, &error);
    if (result != RESULT_OK) {
        error_add(loader->error, "%s", error.text);
        loader->error->count++;
    }
    return result;
}

static enum result check_private(struct loader *loader, int fd)
{
    struct private_error error = {0};
    for (size_t i = 0; i < loader->schema->nkeys; i++) {
        if (!loader->schema->keys[i].is_secret || !loader->is_seen[i] || private_check_fd(fd, loader->file, &error) == RESULT_OK)
            continue;
        if (loader->error->len == 0)
            error_add(loader->error, "%s (key \"%s\" is a secret)", error.text, loader->schema->keys[i].name);
        loader->error->count++;
        return RESULT_DENIED;
    }
    return RESULT_OK;
}

enum result config_load(const struct config_schema *schema, const char *file, struct arena *arena, void *out, struct config_error *error)
{
    struct loader loader;
    struct buffer content = BUFFER(CONFIG_FILE_MAX);
    int fd = -1;
    loader_init(&loader, schema, file, arena, out, error);
    memset(out, 0, schema->size);
    enum result result = open_file(&loader, &fd);
    if (result == RESULT_OK)
        result = check_unwritable(&loader, fd);
    if (result == RESULT_OK)
        result = read_file(&loader, fd, &content);
    if (result == RESULT_OK)
        result = loader_run(&loader, buffer_slice(&content));
    if (result == RESULT_OK)
        result = check_private(&loader, fd);
    buffer_wipe_free(&content);
    if (fd >= 0)
        close(fd);
    return result;
}

void config_unload(const struct config_schema *schema, struct arena *arena, void *out)
{
    memset(out, 0, schema->size);
    arena_wipe_free(arena);
}

enum result config_set(const struct config_schema *schema, const char *section, const char *name, struct slice value, struct arena *arena, void *out,
                       struct config_error *error)
{
    struct loader loader;
    loader_init(&loader, schema, name, arena, out, error);
    const struct config_key *key = find_key(schema, section, name);
    if (!key) {
        refuse_key(&loader, section, slice_from_cstr(name));
        return RESULT_NOT_FOUND;
    }
    if (has_control(value)) {
        refuse_value(&loader, key, value, "it holds a control character");
        return RESULT_SYNTAX;
    }
    if (set_text(&loader, key, value))
        return RESULT_OK;
    return loader.is_out_of_memory ? RESULT_MEMORY : RESULT_SYNTAX;
}
