#include "store/mark.h"

#include "base/octets.h"

#include <string.h>

static char *write_cursor(char *at, const struct mark_cursor *cursor)
{
    *at++ = (char)cursor->phase;
    at = octets_put(at, cursor->message, 8);
    return octets_put(at, cursor->seq, 4);
}

static struct mark_cursor read_cursor(const char *at)
{
    return (struct mark_cursor){.phase = (uint8_t)at[0], .message = octets_get(at + 1, 8), .seq = (uint32_t)octets_get(at + 9, 4)};
}

void mark_write(const struct mark *mark, char out[static MARK_OCTETS])
{
    char *at = out;
    *at++ = MARK_VERSION;
    *at++ = (char)mark->stage;
    memcpy(at, mark->salt, SEAL_SALT);
    memcpy(at + SEAL_SALT, mark->check, CRYPTO_HASH);
    write_cursor(write_cursor(at + SEAL_SALT + CRYPTO_HASH, &mark->at), &mark->limit);
}

enum result mark_parse(struct slice octets, struct mark *mark)
{
    const char *at = octets.ptr;
    uint8_t version = octets.len > 0 ? (uint8_t)at[0] : 0;
    if (version != MARK_VERSION)
        return version < MARK_VERSION ? RESULT_CORRUPT : RESULT_VERSION;
    if (octets.len != MARK_OCTETS || at[1] < MARK_SEALING || at[1] > MARK_UNSEALING)
        return RESULT_CORRUPT;
    mark->stage = (enum mark_stage)at[1];
    memcpy(mark->salt, at + 2, SEAL_SALT);
    memcpy(mark->check, at + 2 + SEAL_SALT, CRYPTO_HASH);
    at += 2 + SEAL_SALT + CRYPTO_HASH;
    mark->at = read_cursor(at);
    mark->limit = read_cursor(at + MARK_CURSOR_OCTETS);
    return mark->at.phase <= MARK_END && mark->limit.phase <= MARK_END ? RESULT_OK : RESULT_CORRUPT;
}
