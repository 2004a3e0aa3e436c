/* For cmocka: a store of its own for each test, and what its database says behind its back. */
#ifndef POSTERN_TESTS_SUPPORT_STORE_FIXTURE_H
#define POSTERN_TESTS_SUPPORT_STORE_FIXTURE_H

#include "support/store_world.h"

/* *state is a world: not opened yet; open; open, with the agent's schema. */
int world_setup_closed(void **state);
int world_setup(void **state);
int world_setup_agent(void **state);
int world_teardown(void **state);

void world_reopen(struct world *w);

/* What a query says, on a connection of its own. */
int64_t world_number(const struct world *w, const char *sql);
/* Likewise, but it changes what is there. */
void world_meddle(const struct world *w, const char *sql);

/* How many seeds a test is to try: POSTERN_SEEDS, or as many as usual. */
uint64_t world_seeds(uint64_t usual);

#endif
