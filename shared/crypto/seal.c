#include "crypto/seal.h"

#include "base/octets.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

enum {
    NONCE = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES,
    TAG = crypto_aead_xchacha20poly1305_ietf_ABYTES,
    PLACE_MAX = 2 + SEAL_DOMAIN_MAX + 1 + 8 + 4 + 8 + 4,
};

static_assert(SEAL_OVERHEAD == 1 + NONCE + TAG, "as in the picture");
static_assert(CRYPTO_KEY == crypto_aead_xchacha20poly1305_ietf_KEYBYTES, "a key is a key");

/* Lies in secret memory. */
struct seal {
    uint8_t record_key[CRYPTO_KEY], digest_key[CRYPTO_KEY], check[CRYPTO_HASH];
    char domain[SEAL_DOMAIN_MAX];
    uint8_t domain_len;
};

/* One key for each use: BLAKE2b under the given one, of the use's name and the salt. */
static void derive(const uint8_t key[static CRYPTO_KEY], const char *use, const uint8_t salt[static SEAL_SALT], uint8_t out[static CRYPTO_HASH])
{
    char label[32 + SEAL_SALT];
    size_t len = strlen(use);
    assert(len <= 32);
    memcpy(label, use, len);
    memcpy(label + len, salt, SEAL_SALT);
    crypto_keyed_hash(key, slice_of(label, len + SEAL_SALT), out);
}

struct seal *seal_new(const uint8_t key[static CRYPTO_KEY], const uint8_t salt[static SEAL_SALT], struct slice domain)
{
    assert(domain.len <= SEAL_DOMAIN_MAX);
    struct seal *seal = crypto_secret_alloc(sizeof *seal);
    if (!seal)
        return NULL;
    derive(key, "postern seal record", salt, seal->record_key);
    derive(key, "postern seal digest", salt, seal->digest_key);
    derive(key, "postern seal check", salt, seal->check);
    memcpy(seal->domain, domain.ptr, domain.len);
    seal->domain_len = (uint8_t)domain.len;
    return seal;
}

void seal_free(struct seal **seal)
{
    if (*seal)
        crypto_secret_free((void **)seal);
}

void seal_check_value(const struct seal *seal, uint8_t out[static CRYPTO_HASH])
{
    memcpy(out, seal->check, CRYPTO_HASH);
}

void seal_digest(const struct seal *seal, struct slice digest, uint8_t out[static CRYPTO_HASH])
{
    crypto_keyed_hash(seal->digest_key, digest, out);
}

/* Every part has a fixed length but the domain, whose length stands before it: no two places are written alike. */
static size_t write_place(const struct seal *seal, const struct seal_place *place, uint8_t out[static PLACE_MAX])
{
    uint8_t *at = out;
    *at++ = SEAL_VERSION;
    *at++ = seal->domain_len;
    memcpy(at, seal->domain, seal->domain_len);
    at += seal->domain_len;
    *at++ = place->field;
    at = octets_put(at, place->message, 8);
    at = octets_put(at, place->seq, 4);
    at = octets_put(at, place->size_octets, 8);
    at = octets_put(at, place->nchunks, 4);
    return (size_t)(at - out);
}

enum result seal_put(const struct seal *seal, const struct seal_place *place, struct slice octets, uint8_t *out)
{
    uint8_t beside[PLACE_MAX];
    size_t nbeside = write_place(seal, place, beside);
    if (octets.len > SEAL_OCTETS_MAX)
        return RESULT_LIMIT;
    out[0] = SEAL_VERSION;
    randombytes_buf(out + 1, NONCE);
    crypto_aead_xchacha20poly1305_ietf_encrypt(out + 1 + NONCE, NULL, octets.len ? (const uint8_t *)octets.ptr : beside, octets.len, beside, nbeside, NULL, out + 1, seal->record_key);
    return RESULT_OK;
}

size_t seal_held(size_t record_len)
{
    return record_len > SEAL_OVERHEAD ? record_len - SEAL_OVERHEAD : 0;
}

enum result seal_take(const struct seal *seal, const struct seal_place *place, struct slice record, uint8_t *out)
{
    uint8_t beside[PLACE_MAX];
    size_t nbeside = write_place(seal, place, beside);
    const uint8_t *at = (const uint8_t *)record.ptr;
    if (record.len < SEAL_OVERHEAD || record.len > SEAL_OCTETS_MAX + SEAL_OVERHEAD || at[0] == 0)
        return RESULT_CORRUPT;
    if (at[0] > SEAL_VERSION)
        return RESULT_VERSION;
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(out, NULL, NULL, at + 1 + NONCE, record.len - 1 - NONCE, beside, nbeside, at + 1, seal->record_key) == 0)
        return RESULT_OK;
    crypto_wipe(out, seal_held(record.len)); /* libsodium leaves zeros where the tag does not fit; we do not lean on that */
    return RESULT_CORRUPT;
}
