/* What is left of the disk.
 *
 * New mail is refused while less than FLOOR is free or the database has met its maximum, so that what was taken can still be finished: an outcome
 * that cannot be written is a message that may be sent twice. Others may fill the disk too; for that there is the reserve, a file beside the
 * database, PATH.reserve, that is given up when the disk is full and taken back when there is room again. */
#include "store/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

static const uint64_t FLOOR = 16ull << 20; /* octets that must be free for new mail, pages in the database that are free counted in */
static const uint64_t LEAST = 4ull << 20;  /* of them on the disk itself, for the write-ahead log */
static const off_t RESERVE = 4 << 20;      /* octets: some eighty commits of outcomes */

struct room {
    const struct log *log;
    char *reserve_path;
    uint64_t max_octets;
    bool has_reserve;
    bool is_short; /* what was last said about it */
};

uint64_t room_free(const struct room *room)
{
    struct statvfs fs;
    if (statvfs(room->reserve_path, &fs) != 0)
        return UINT64_MAX; /* the commit itself will tell */
    return (uint64_t)fs.f_bavail * fs.f_frsize;
}

static void take_reserve(struct room *room)
{
    int fd = open(room->reserve_path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return;
    room->has_reserve = posix_fallocate(fd, 0, RESERVE) == 0;
    if (!room->has_reserve && ftruncate(fd, 0) != 0)
        log_event(room->log, LOG_WARNING, "store-reserve", LOG_TEXT("words", strerror(errno)));
    close(fd);
}

bool room_give_way(struct room *room)
{
    if (!room->has_reserve)
        return false;
    room->has_reserve = false;
    if (truncate(room->reserve_path, 0) != 0)
        return false;
    log_event(room->log, LOG_WARNING, "store-reserve-used", LOG_TEXT("words", "the disk is full; make room, or outcomes can no longer be recorded"));
    return true;
}

enum result room_open(struct room **out, const char *path, uint64_t max_octets, const struct log *log)
{
    struct room *room = calloc(1, sizeof *room);
    size_t size = strlen(path) + sizeof ".reserve";
    *out = NULL;
    if (!room)
        return RESULT_MEMORY;
    *room = (struct room){.log = log, .max_octets = max_octets, .reserve_path = malloc(size)};
    if (!room->reserve_path) {
        free(room);
        return RESULT_MEMORY;
    }
    snprintf(room->reserve_path, size, "%s.reserve", path);
    take_reserve(room);
    *out = room;
    return RESULT_OK;
}

void room_close(struct room **room)
{
    if (!*room)
        return;
    free((*room)->reserve_path);
    free(*room);
    *room = NULL;
}

/* What cannot be asked is no reason to drop anything. */
static uint64_t over_maximum(const struct room *room, struct database *db)
{
    if (room->max_octets == 0)
        return 0;
    struct query q = query_open(db, SQL_PAGES_USED);
    uint64_t used = query_row(&q) ? (uint64_t)query_get_int(&q, 0) : 0;
    if (query_end(&q) != RESULT_OK)
        return UINT64_MAX;
    return used < room->max_octets ? 0 : used - room->max_octets + 1;
}

/* Pages that finished mail has left behind: the file never shrinks, and new mail goes there first. */
static uint64_t reusable_octets(struct database *db)
{
    struct query q = query_open(db, SQL_PAGES_FREE);
    uint64_t octets = query_row(&q) ? (uint64_t)query_get_int(&q, 0) : 0;
    return query_end(&q) == RESULT_OK ? octets : 0;
}

/* A disk that our own queue has filled has room again when the queue is empty, although the file is as large as before. */
static uint64_t disk_lacking(struct room *room, struct database *db)
{
    uint64_t octets = room_free(room);
    if (!room->has_reserve && octets >= FLOOR + (uint64_t)RESERVE)
        take_reserve(room);
    if (octets >= FLOOR)
        return 0;
    if (octets < LEAST)
        return UINT64_MAX;
    octets += reusable_octets(db);
    return octets < FLOOR ? FLOOR - octets : 0;
}

uint64_t room_lacking(struct room *room, struct database *db)
{
    uint64_t disk = disk_lacking(room, db), database = over_maximum(room, db);
    return disk > database ? disk : database;
}

void room_tell(struct room *room, bool is_short)
{
    if (is_short == room->is_short)
        return;
    room->is_short = is_short;
    log_event(room->log, LOG_WARNING, is_short ? "store-full" : "store-has-room",
              LOG_TEXT("words", is_short ? "new mail is refused until there is room; the queue goes on" : "new mail is taken again"));
}
