/* Argon2id password hashes in libsodium's text form, with bounds on what a stored one may cost. */
#include "crypto/crypto.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <string.h>

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

/* "$argon2id$v=19$m=65536,t=2,p=1$salt$hash". What it says of salt and hash is left to libsodium. */
static bool parse_cost(struct slice stored, struct crypto_password_cost *cost)
{
    uint32_t version, lanes;
    return take_number(&stored, SLICE("$argon2id$v="), '$', &version) && version == 19 &&
           take_number(&stored, SLICE("m="), ',', &cost->memory_kib) && take_number(&stored, SLICE("t="), ',', &cost->passes) &&
           take_number(&stored, SLICE("p="), '$', &lanes) && lanes == 1;
}

/* libsodium tells a wrong password from a failure by errno alone: EINVAL is a mismatch (argon2id_verify), ENOMEM is the mmap of its
 * working memory; any other is a text it could not read. */
static enum result verify(const char *text, struct slice password)
{
    errno = 0;
    if (crypto_pwhash_str_verify(text, password.ptr ? password.ptr : "", password.len) == 0)
        return RESULT_OK;
    return errno == EINVAL ? RESULT_DENIED : errno == ENOMEM ? RESULT_MEMORY : RESULT_CORRUPT;
}

enum result crypto_password_verify(struct slice stored, struct slice password)
{
    char text[CRYPTO_PASSWORD_HASH_MAX] = {0};
    struct crypto_password_cost cost;
    if (!slice_to_cstr(stored, text, sizeof text) || !parse_cost(stored, &cost) || !is_bearable(cost))
        return RESULT_CORRUPT;
    /* Tells a text that libsodium can't read, which its verify would call a mismatch. */
    if (crypto_pwhash_str_needs_rehash(text, cost.passes, (size_t)cost.memory_kib * 1024) < 0)
        return RESULT_CORRUPT;
    if (password.len > CRYPTO_PASSWORD_MAX)
        return RESULT_DENIED;
    return verify(text, password);
}

bool crypto_password_is_outdated(struct slice stored, struct crypto_password_cost cost)
{
    struct crypto_password_cost was;
    cost = or_default(cost);
    return !parse_cost(stored, &was) || was.passes != cost.passes || was.memory_kib != cost.memory_kib;
}
