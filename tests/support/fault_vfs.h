/* A disk that fails: an SQLite VFS named "fault" around the usual one. One state for the process, under a mutex, because the store's threads share
 * it.
 *
 * It counts the operations that a kind of fault concerns, and fails the n-th, once or from there on. It can also lose power: it remembers what each
 * file held before every write since its last sync; at the n-th operation nothing reaches the disk any more, and fault_vfs_power_cut then gives
 * the files a content that a disk may have after a power cut: of each unsynced write all, nothing, some sectors, or rubbish. */
#ifndef POSTERN_TESTS_SUPPORT_FAULT_VFS_H
#define POSTERN_TESTS_SUPPORT_FAULT_VFS_H

#include <stdbool.h>
#include <stdint.h>

enum fault_kind {
    FAULT_NONE,
    FAULT_IO,    /* reads, writes, truncations, syncs: EIO */
    FAULT_FULL,  /* writes: no space */
    FAULT_SHORT, /* writes: half of it arrives, then no space */
    FAULT_SYNC,  /* syncs: EIO */
    FAULT_POWER, /* writes, truncations, syncs: from the n-th on none happens */
    FAULT_KILL,  /* the same: SIGKILL for the process, before the n-th */
};

/* Before the first database is opened; again does nothing. */
void fault_vfs_register(void);
/* Counts from 1. n 0: counts only. */
void fault_vfs_arm(enum fault_kind kind, uint64_t n, bool for_ever);
/* How many operations of the kind there were since it was armed. */
uint64_t fault_vfs_count(void);
bool fault_vfs_has_fired(void);
void fault_vfs_disarm(void);
/* After FAULT_POWER, when all files are closed: what is left on the disk. Disarms. */
void fault_vfs_power_cut(uint64_t seed);

#endif
