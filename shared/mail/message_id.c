#include "mail/message_id.h"

enum {
    COUNTER_BITS = 21,
    SIGNS = MESSAGE_ID_TEXT - 1, /* 13 * 5 = 65 bits, of which 63 are used */
};

static const char alphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";

/* Half of the counter's room is left for counting up from where the millisecond began. */
uint64_t message_id_next(struct message_id_source *source, int64_t now_ms, uint32_t random)
{
    uint64_t ms = now_ms < 0 ? 0 : (uint64_t)now_ms & ((UINT64_C(1) << 42) - 1);
    uint64_t id = ms << COUNTER_BITS | (random & ((UINT32_C(1) << (COUNTER_BITS - 1)) - 1));
    if (id <= source->last)
        id = source->last + 1;
    source->last = id;
    return id;
}

void message_id_format(uint64_t id, char out[static MESSAGE_ID_TEXT])
{
    for (int i = SIGNS - 1; i >= 0; i--) {
        out[i] = alphabet[id & 31];
        id >>= 5;
    }
    out[SIGNS] = '\0';
}

/* -1: no sign of Crockford's base32. */
static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        c = (char)(c + ('a' - 'A'));
    if (c == 'o')
        c = '0';
    if (c == 'i' || c == 'l')
        c = '1';
    for (int i = 0; i < 32; i++)
        if (alphabet[i] == c)
            return i;
    return -1;
}

bool message_id_parse(struct slice text, uint64_t *out)
{
    uint64_t id = 0;
    if (text.len != SIGNS)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        int value = value_of(text.ptr[i]);
        if (value < 0 || (i == 0 && value > 7)) /* 63 bits: the first sign has three */
            return false;
        id = id << 5 | (uint64_t)value;
    }
    *out = id;
    return true;
}
