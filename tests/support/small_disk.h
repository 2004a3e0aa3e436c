/* A disk that can really be full: a small tmpfs over the folder of a store's world. Needs a mount namespace of its own. */
#ifndef POSTERN_TESTS_SUPPORT_SMALL_DISK_H
#define POSTERN_TESTS_SUPPORT_SMALL_DISK_H

#include "support/store_world.h"

enum { MIB = 1024 * 1024 };

/* Before anything else. False, with words printed: there is no namespace to be had here, and no test. */
bool small_disk_unshare(void);
/* Of 64 MiB. RESULT_OK, or RESULT_IO. */
enum result small_disk_mount(const struct world *w);
void small_disk_unmount(const struct world *w);
/* Another program's file: grows until at most `left` octets are free; 0: until nothing is. And its end. */
void small_disk_fill(const struct world *w, int64_t left);
void small_disk_clear(const struct world *w);
/* Of a file on it; -1: it is not there. */
int64_t small_disk_size(const struct world *w, const char *name);

#endif
