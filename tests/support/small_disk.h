/* A disk that can really be full: a small tmpfs over the folder of a store's world. Needs a mount namespace of its own. */
#ifndef POSTERN_TESTS_SUPPORT_SMALL_DISK_H
#define POSTERN_TESTS_SUPPORT_SMALL_DISK_H

#include "support/store_world.h"

enum { MIB = 1024 * 1024 };

/* Before anything else. False, with words printed: there is no namespace to be had here, and no test. */
bool small_disk_unshare(void);
/* For cmocka: *state is a world on such a disk, of 64 MiB, not opened yet. */
int small_disk_setup(void **state);
int small_disk_teardown(void **state);
/* Another program's file: grows until at most `left` octets are free; 0: until nothing is. And its end. */
void small_disk_fill(const struct world *w, int64_t left);
void small_disk_clear(const struct world *w);
/* Of a file on it; -1: it is not there. */
int64_t small_disk_size(const struct world *w, const char *name);

#endif
