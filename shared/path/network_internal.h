/* What the two files of the verdict on a network share: network.c (the state, the sentence), network_summary.c (what to do). Nobody else includes this. */
#ifndef POSTERN_PATH_NETWORK_INTERNAL_H
#define POSTERN_PATH_NETWORK_INTERNAL_H

#include "path/network.h"

/* A text under construction; after a failure nothing is added any more. */
struct sentence {
    struct buffer *out;
    enum result result;
    size_t nclauses;
};

void sentence_say(struct sentence *sentence, const char *text);
void sentence_say_number(struct sentence *sentence, unsigned number);
/* "port 443 through the proxy 10.0.0.1:3128" */
void sentence_say_way(struct sentence *sentence, const struct path *path);

/* The open one that was found; NULL: none. */
const struct path *network_open_way(const struct network_facts *facts);
/* Whoever answers has another key than the relay is known by, on every way that is answered: the network may intercept, but the relay may have a new key as well. */
bool network_is_key_strange(const struct network_facts *facts);

#endif
