/* The table of ways for people: way, result, milliseconds, words. `status` prints it once, `diagnose` draws it anew on a terminal while verdicts come in. */
#ifndef POSTERN_AGENT_WAYS_TABLE_H
#define POSTERN_AGENT_WAYS_TABLE_H

#include <jansson.h>

#include <stdbool.h>
#include <stdio.h>

/* ways: an array as in schema/json.md. The columns are as wide as their cells. columns: a line is cut there, so that none wraps; 0: where it is about 100 long, be the output a terminal or a file.
 * Returns the number of lines. */
size_t ways_table_print(FILE *out, const json_t *ways, unsigned columns);

/* The live form. Zero is a table not begun. */
struct ways_table {
    FILE *out;
    json_t *ways;  /* as far as known; owned */
    size_t nlines; /* on the terminal */
};
/* False: out is no terminal; nothing will be drawn. */
bool ways_table_begin(struct ways_table *table, FILE *out);
/* One way, number index, has this to say now. The reference of way is the table's. */
void ways_table_set(struct ways_table *table, size_t index, json_t *way);
/* Takes the table off the terminal, so that the final one can be printed in its place, and frees it. */
void ways_table_end(struct ways_table *table);

#endif
