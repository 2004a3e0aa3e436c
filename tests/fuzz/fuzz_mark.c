/* The mark of a sealed database as it may lie on a damaged or hostile disk: what is parsed is one of ours, and is written again as the same octets; each that we could write is parsed. */
#include "store/mark.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STAGE_AT = 1, PHASE_AT = 2 + SEAL_SALT + CRYPTO_HASH, LIMIT_AT = PHASE_AT + MARK_CURSOR_OCTETS };

static void check(bool holds)
{
    if (!holds)
        abort();
}

static bool is_ours(struct slice octets)
{
    const uint8_t *at = (const uint8_t *)octets.ptr;
    return octets.len == MARK_OCTETS && at[0] == MARK_VERSION && at[STAGE_AT] >= 1 && at[STAGE_AT] <= 4 && at[PHASE_AT] <= 4 && at[LIMIT_AT] <= 4;
}

static void parse(struct slice octets)
{
    char again[MARK_OCTETS];
    struct mark mark;
    enum result result = mark_parse(octets, &mark);
    bool is_newer = octets.len > 0 && (uint8_t)octets.ptr[0] > MARK_VERSION;
    check(result == (is_ours(octets) ? RESULT_OK : is_newer ? RESULT_VERSION : RESULT_CORRUPT));
    if (result != RESULT_OK)
        return;
    check(mark.stage >= MARK_SEALING && mark.stage <= MARK_UNSEALING && mark.at.phase <= MARK_END && mark.limit.phase <= MARK_END);
    mark_write(&mark, again);
    check(slice_equal(slice_of(again, sizeof again), octets));
}

/* The same octets, made one of ours where they are not. */
static void parse_ours(struct slice octets)
{
    uint8_t *like = calloc(1, MARK_OCTETS); /* alone in its memory: nothing beyond it may be read */
    check(like);
    struct slice some = slice_take(octets, octets.len < MARK_OCTETS ? octets.len : MARK_OCTETS);
    if (some.len > 0)
        memcpy(like, some.ptr, some.len);
    like[0] = MARK_VERSION;
    like[STAGE_AT] = (uint8_t)(1 + like[STAGE_AT] % 4);
    like[PHASE_AT] %= MARK_END + 1;
    like[LIMIT_AT] %= MARK_END + 1;
    check(is_ours(slice_of(like, MARK_OCTETS)));
    parse(slice_of(like, MARK_OCTETS));
    free(like);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    parse(slice_of(data, size));
    parse_ours(slice_of(data, size));
    return 0;
}
