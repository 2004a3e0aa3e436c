#include "net/session_id.h"

#include "crypto/crypto.h"

void session_id_make(char side, char out[SESSION_ID_TEXT])
{
    static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz"; /* Crockford's base32 */
    uint32_t random = crypto_random_u32();
    out[0] = side;
    for (int i = 1; i < SESSION_ID_TEXT - 1; i++, random >>= 5)
        out[i] = digits[random & 31];
    out[SESSION_ID_TEXT - 1] = '\0';
}
