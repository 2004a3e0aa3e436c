/* Argon2id password hashes in libsodium's text form, with bounds on what a stored one may cost. */
#include "crypto/crypto.h"

#include <assert.h>
#include <sodium.h>

static_assert(CRYPTO_PASSWORD_HASH_MAX == crypto_pwhash_STRBYTES, "the text form's size");

static struct crypto_password_cost or_default(struct crypto_password_cost cost)
{
    if (cost.passes == 0)
        cost.passes = crypto_pwhash_OPSLIMIT_INTERACTIVE;
    if (cost.memory_kib == 0)
        cost.memory_kib = crypto_pwhash_MEMLIMIT_INTERACTIVE / 1024;
    return cost;
}

static bool is_bearable(struct crypto_password_cost cost)
{
    return cost.passes >= crypto_pwhash_OPSLIMIT_MIN && cost.passes <= CRYPTO_PASSWORD_PASSES_MAX &&
           cost.memory_kib >= crypto_pwhash_MEMLIMIT_MIN / 1024 && cost.memory_kib <= CRYPTO_PASSWORD_MEMORY_MAX_KIB;
}

enum result crypto_password_hash(struct slice password, struct crypto_password_cost cost, char out[static CRYPTO_PASSWORD_HASH_MAX])
{
    cost = or_default(cost);
    if (password.len > CRYPTO_PASSWORD_MAX || !is_bearable(cost))
        return RESULT_LIMIT;
    int failed = crypto_pwhash_str_alg(out, password.ptr ? password.ptr : "", password.len, cost.passes, (size_t)cost.memory_kib * 1024,
                                       crypto_pwhash_ALG_ARGON2ID13);
    return failed ? RESULT_MEMORY : RESULT_OK;
}

/* What the text form "$argon2id$v=19$m=65536,t=2,p=1$salt$hash" says. */
struct stored_password {
    struct crypto_password_cost cost;
    uint8_t salt[crypto_pwhash_SALTBYTES];
    uint8_t hash[CRYPTO_HASH];
};

static bool take_number(struct slice *rest, struct slice prefix, char end, uint32_t *out)
{
    struct slice number;
    uint64_t value;
    if (!slice_starts_with(*rest, prefix) || !slice_cut(slice_skip(*rest, prefix.len), end, &number, rest))
        return false;
    if (!slice_to_u64(number, UINT32_MAX, &value))
        return false;
    *out = (uint32_t)value;
    return true;
}

static bool decode(struct slice text, uint8_t *out, size_t len)
{
    size_t decoded;
    const char *end;
    return text.len > 0 &&
           sodium_base642bin(out, len, text.ptr, text.len, NULL, &decoded, &end, sodium_base64_VARIANT_ORIGINAL_NO_PADDING) == 0 &&
           decoded == len && end == text.ptr + text.len;
}

static bool parse(struct slice text, struct stored_password *out)
{
    uint32_t version, lanes;
    struct slice salt, hash;
    return take_number(&text, SLICE("$argon2id$v="), '$', &version) && version == 19 &&
           take_number(&text, SLICE("m="), ',', &out->cost.memory_kib) && take_number(&text, SLICE("t="), ',', &out->cost.passes) &&
           take_number(&text, SLICE("p="), '$', &lanes) && lanes == 1 && is_bearable(out->cost) && slice_cut(text, '$', &salt, &hash) &&
           decode(salt, out->salt, sizeof out->salt) && decode(hash, out->hash, sizeof out->hash);
}

/* libsodium's own verify calls a failed allocation and an unreadable text a mismatch, too, or leaves it to errno; so the
 * hash is computed here and compared. With the parameters checked, only memory can be missing. */
enum result crypto_password_verify(struct slice stored, struct slice password)
{
    struct stored_password was;
    uint8_t hash[sizeof was.hash];
    if (!parse(stored, &was))
        return RESULT_CORRUPT;
    if (password.len > CRYPTO_PASSWORD_MAX)
        return RESULT_DENIED;
    if (crypto_pwhash(hash, sizeof hash, password.ptr ? password.ptr : "", password.len, was.salt, was.cost.passes,
                      (size_t)was.cost.memory_kib * 1024, crypto_pwhash_ALG_ARGON2ID13) != 0)
        return RESULT_MEMORY;
    enum result result = sodium_memcmp(hash, was.hash, sizeof hash) == 0 ? RESULT_OK : RESULT_DENIED;
    sodium_memzero(hash, sizeof hash);
    return result;
}

bool crypto_password_is_outdated(struct slice stored, struct crypto_password_cost cost)
{
    struct stored_password was;
    cost = or_default(cost);
    return !parse(stored, &was) || was.cost.passes != cost.passes || was.cost.memory_kib != cost.memory_kib;
}
