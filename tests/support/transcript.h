/* The transcript language: dialogues of a protocol core as text files. tests/transcript/README.md describes it.
 *
 * This is its parser and its way of comparing; what steps mean is the runner's: tests/transcript/run_server.c runs them on the server core
 * without sockets, others may run the same files on a client core or over TCP and TLS. */
#ifndef POSTERN_TESTS_SUPPORT_TRANSCRIPT_H
#define POSTERN_TESTS_SUPPORT_TRANSCRIPT_H

#include "base/arena.h"
#include "base/buffer.h"
#include "base/slice.h"

enum transcript_kind {
    TRANSCRIPT_CLIENT = 'C', /* octets of the client */
    TRANSCRIPT_SERVER = 'S', /* octets of the server */
    TRANSCRIPT_EVENT = 'E',  /* what the core under test must say to its driver */
    TRANSCRIPT_ACT = 'A',    /* what the driver then does */
    TRANSCRIPT_TIME = 'T',   /* the clock goes on */
};

struct transcript_step {
    enum transcript_kind kind;
    unsigned line;        /* in the file */
    bool is_raw;          /* "C~": octets as they stand, no CRLF behind them */
    bool is_whole_reply;  /* "S*": a reply of any number of lines; source is its code */
    struct slice source;  /* as written, for transcript_match, acts and messages */
    struct slice octets;  /* escapes resolved, with the CRLF unless raw */
    int64_t ms;           /* TRANSCRIPT_TIME */
};

struct transcript_dialogue {
    struct slice title;
    unsigned line;
    struct slice options; /* words of the file's and the dialogue's "with:" lines */
    const struct transcript_step *steps;
    size_t nsteps;
};

/* A value that owns all its text; {0} is empty. */
struct transcript {
    struct arena arena;
    const struct transcript_dialogue *dialogues;
    size_t ndialogues;
};

/* Reads a file. False: `why` tells line and reason. */
bool transcript_load(const char *path, struct transcript *out, char *why, size_t why_size);
void transcript_free(struct transcript *transcript);

/* "key=value" or a lone "key" among the options: true, and *value (empty for a lone one). */
bool transcript_option(const struct transcript_dialogue *dialogue, const char *key, struct slice *value);
/* The number that an option gives, or otherwise. A value that is no number aborts. */
uint64_t transcript_number(const struct transcript_dialogue *dialogue, const char *key, uint64_t otherwise);

/* Whether octets are what the pattern says: escapes resolved, "..." standing for any octets or none. */
bool transcript_match(struct slice pattern, struct slice octets);
/* Whether an event is what the pattern says: the first word is its name, and each further word matches some word of the event. Words that the
 * pattern does not mention do not matter. The event is text whose words are escaped as in transcript_escape, spaces as "\s". */
bool transcript_match_event(struct slice pattern, struct slice event);

/* Appends text with its escapes resolved. False: an escape is malformed. */
bool transcript_unescape(struct slice text, struct buffer *out);
/* Appends octets so that they can stand in a transcript: for messages, and to write expectations down. */
void transcript_escape(struct slice octets, struct buffer *out);

#endif
