/* Configuration: an INI file becomes a struct, by a table of keys that the program gives.
 *
 * The file. Lines of at most CONFIG_LINE_MAX octets, UTF-8, with LF or CRLF:
 *
 *     # A comment, or ; one like this, has a line of its own.
 *     [section]
 *     key = value
 *     listen = 0.0.0.0:465 tls          a key that is a list is repeated, one value a line
 *     password = "  with ; # and \" "   quotes keep blanks at the ends; within them \" and \\ stand for " and \
 *
 * A value runs to the end of its line, without blanks at its ends: '#' and ';' after the key are part of the value and survive, quoted or not. Only
 * a value that begins with a quote, or begins or ends with a blank, must be quoted. Nothing continues on the next line.
 *
 * Loading fills a struct of the program: every key of the table gets its value from the file, or else its default. Unknown sections and keys, bad
 * values, and a single key given twice are refused; the error names file, line, key, and the accepted form, for up to CONFIG_ERRORS_MAX errors.
 * Everything that the struct points at lives in the arena given, so a reload loads into a fresh struct and arena, and swaps when that went well.
 *
 *     struct relay_config { struct slice name; int64_t timeout_ms; struct config_list listen; };
 *     static const struct config_key keys[] = {
 *         {.section = "relay", .name = "name", .type = CONFIG_TEXT, .at = offsetof(struct relay_config, name), .is_required = true,
 *          .accepted = "the relay's host name"},
 *         {.section = "limits", .name = "timeout", .type = CONFIG_DURATION, .at = offsetof(struct relay_config, timeout_ms), .fallback = "5m",
 *          .min = 1000, .max = 3600000, .accepted = "a duration from 1s to 1h"},
 *     };
 *     static const struct config_schema schema = {.keys = keys, .nkeys = 2, .size = sizeof(struct relay_config), .missing = "run: postern-relay init"};
 *
 * The caller's exit code for anything but RESULT_OK and RESULT_MEMORY is EX_CONFIG (78). */
#ifndef POSTERN_CONFIG_CONFIG_H
#define POSTERN_CONFIG_CONFIG_H

#include "base/arena.h"
#include "base/result.h"
#include "base/slice.h"

enum {
    CONFIG_FILE_MAX = 256 * 1024, /* octets */
    CONFIG_LINE_MAX = 4096,       /* octets, without the line end */
    CONFIG_NAME_MAX = 48,         /* octets of a section's or key's name */
    CONFIG_LIST_MAX = 256,        /* values of one list */
    CONFIG_KEYS_MAX = 128,        /* keys of a table */
    CONFIG_ERRORS_MAX = 8,        /* errors told at once */
    CONFIG_ERROR_MAX = 2048,      /* octets of all their text */
    CONFIG_ARENA_MAX = 1024 * 1024,
};

/* What the field at `at` is; a list has such items. */
enum config_type {
    CONFIG_TEXT,     /* struct slice; a NUL follows it, none is in it; min to max octets, max 0 for no bound */
    CONFIG_PATH,     /* struct slice, as text; a relative path is taken from the configuration file's folder */
    CONFIG_BOOL,     /* bool: yes, no, true, false, on, off */
    CONFIG_INTEGER,  /* int64_t from min to max */
    CONFIG_DURATION, /* int64_t milliseconds from min to max: "90s", "5m" (queue/schedule.h) */
    CONFIG_SIZE,     /* int64_t octets from min to max: "800", "50K", "50M", "2G": powers of 1024 */
    CONFIG_WORD,     /* int: one of words */
    CONFIG_ADDRESS,  /* struct net_address: ADDRESS:PORT (net/address.h) */
    CONFIG_PREFIX,   /* struct net_prefix: ADDRESS/BITS, or ADDRESS */
    CONFIG_SCHEDULE, /* struct schedule: "1m, 5m*2, 1h" (queue/schedule.h) */
    CONFIG_CUSTOM,   /* what parse makes */
};

struct config_word {
    const char *name; /* NULL ends the list */
    int value;
};

/* A value on its way into the struct, for a parse function of the program's own. */
struct config_value {
    struct slice text;   /* quotes taken off; holds no control characters */
    struct arena *arena; /* what the item points at goes here: text does not live on */
    const char *why;     /* may be set on refusal: a constant half-sentence such as "the port is missing" */
};

struct config_key {
    const char *section; /* "": before the first section */
    const char *name;
    enum config_type type;
    bool is_list;         /* the field is a struct config_list; the key may be repeated */
    bool is_required;     /* refused when the file does not give it */
    bool is_secret;       /* no error shows the value; the file must be private (config/private.h); wiped by config_unload */
    size_t at;            /* offsetof the field */
    const char *fallback; /* default, in the file's grammar; a list has a line feed between values; NULL: the field stays zero */
    const char *accepted; /* one line for people: the accepted form */
    int64_t min, max;     /* of INTEGER, DURATION, SIZE: bounds; both 0: zero or more. Of TEXT, PATH: octets */
    const struct config_word *words;
    size_t item_size;     /* octets; needed for lists of CUSTOM only */
    /* RESULT_OK, RESULT_MEMORY, anything else is a refusal. */
    enum result (*parse)(struct config_value *value, void *out);
};

/* Items in the order of the file. struct slice *names = config.names.items. */
struct config_list {
    void *items;
    size_t count;
};

struct config_schema {
    const struct config_key *keys;
    size_t nkeys;
    size_t size;         /* octets of the struct */
    const char *missing; /* what to do when there is no file: "run: postern-relay init" */
};

struct config_error {
    char text[CONFIG_ERROR_MAX]; /* one or several lines without the last line feed; empty when all is well */
    size_t len;
    size_t count; /* errors found, told or not */
};

/* Both fill *out (schema->size octets, zeroed first). RESULT_OK; RESULT_SYNTAX: error says what; RESULT_MEMORY. config_load also RESULT_NOT_FOUND,
 * RESULT_DENIED (not readable, writable by others, or it holds a secret and is not private) and RESULT_IO, with error filled. On any error *out and
 * the arena are to be given to config_unload all the same. file is the name that errors show, and whose folder relative paths are taken from. */
MUST_CHECK enum result config_load(const struct config_schema *schema, const char *file, struct arena *arena, void *out, struct config_error *error);
MUST_CHECK enum result config_load_text(const struct config_schema *schema, const char *file, struct slice text, struct arena *arena, void *out,
                                        struct config_error *error);
/* Zeroes the struct, wipes and frees the arena. */
void config_unload(const struct config_schema *schema, struct arena *arena, void *out);

/* The value of one key, outside of a file: a command-line option that overrides. It is taken as it is, quotes and all; a list gets one more item. RESULT_OK, RESULT_NOT_FOUND (no such
 * key), RESULT_SYNTAX with error filled, RESULT_MEMORY. */
MUST_CHECK enum result config_set(const struct config_schema *schema, const char *section, const char *name, struct slice value, struct arena *arena,
                                  void *out, struct config_error *error);

#endif
