/* Randomness, secrets and hashes. Encodings are in encoding.c, passwords in password.c. */
#include "crypto/crypto.h"

#include "base/octets.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

static_assert(CRYPTO_SHA256 == crypto_hash_sha256_BYTES, "a digest is a digest");
static_assert(CRYPTO_HASH == crypto_generichash_BYTES, "libsodium's default length");
static_assert(CRYPTO_KEY == crypto_generichash_KEYBYTES, "libsodium's default length");

enum result crypto_init(void)
{
    return sodium_init() < 0 ? RESULT_IO : RESULT_OK;
}

void crypto_random(void *out, size_t len)
{
    randombytes_buf(out, len);
}

uint32_t crypto_random_u32(void)
{
    return randombytes_random();
}

uint32_t crypto_random_below(uint32_t bound)
{
    assert(bound > 0);
    return randombytes_uniform(bound);
}

/* Without 0, 1, i, l and o, which people mistake for each other: 31 signs, so twenty of them carry 99 bits. */
void crypto_readable_password(char out[static CRYPTO_READABLE_PASSWORD])
{
    static const char signs[] = "23456789abcdefghjkmnpqrstuvwxyz";
    for (size_t i = 0; i + 1 < CRYPTO_READABLE_PASSWORD; i++)
        out[i] = i % 5 == 4 ? '-' : signs[randombytes_uniform(sizeof signs - 1)];
    out[CRYPTO_READABLE_PASSWORD - 1] = '\0';
}

bool crypto_equal(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || sodium_memcmp(a.ptr, b.ptr, a.len) == 0);
}

void crypto_wipe(void *memory, size_t len)
{
    if (len > 0)
        sodium_memzero(memory, len);
}

void *crypto_secret_alloc(size_t len)
{
    void *memory = sodium_malloc(len);
    return memory ? memset(memory, 0, len) : NULL;
}

void crypto_secret_free(void **memory)
{
    sodium_free(*memory);
    *memory = NULL;
}

static const unsigned char *octets(struct slice s)
{
    return s.ptr ? (const unsigned char *)s.ptr : (const unsigned char *)"";
}

void crypto_sha256(struct slice message, uint8_t out[static CRYPTO_SHA256])
{
    crypto_hash_sha256(out, octets(message), message.len);
}

static crypto_hash_sha256_state *state_of(struct crypto_digest *digest)
{
    static_assert(sizeof(crypto_hash_sha256_state) <= sizeof digest->memory && _Alignof(crypto_hash_sha256_state) <= _Alignof(uint64_t), "room for it");
    return (crypto_hash_sha256_state *)(void *)digest->memory;
}

void crypto_digest_begin(struct crypto_digest *digest)
{
    crypto_hash_sha256_init(state_of(digest));
}

void crypto_digest_add(struct crypto_digest *digest, struct slice piece)
{
    crypto_hash_sha256_update(state_of(digest), octets(piece), piece.len);
}

void crypto_digest_add_number(struct crypto_digest *digest, uint64_t number)
{
    uint8_t octets[8];
    octets_put(octets, number, sizeof octets);
    crypto_digest_add(digest, slice_of(octets, sizeof octets));
}

void crypto_digest_add_text(struct crypto_digest *digest, struct slice text)
{
    crypto_digest_add_number(digest, text.len);
    crypto_digest_add(digest, text);
}

void crypto_digest_end(struct crypto_digest *digest, uint8_t out[static CRYPTO_SHA256])
{
    crypto_hash_sha256_final(state_of(digest), out);
    sodium_memzero(digest, sizeof *digest);
}

void crypto_hmac_sha256(struct slice key, struct slice message, uint8_t out[static CRYPTO_SHA256])
{
    crypto_auth_hmacsha256_state state;
    crypto_auth_hmacsha256_init(&state, octets(key), key.len);
    crypto_auth_hmacsha256_update(&state, octets(message), message.len);
    crypto_auth_hmacsha256_final(&state, out);
    sodium_memzero(&state, sizeof state);
}

/* The keyed state is made once and copied for each round: that halves the work of 4,096 rounds. */
void crypto_pbkdf2_sha256(struct slice password, struct slice salt, uint32_t iterations, uint8_t out[static CRYPTO_SHA256])
{
    static const unsigned char first_block[4] = {0, 0, 0, 1};
    crypto_auth_hmacsha256_state keyed, state;
    uint8_t round[CRYPTO_SHA256];

    assert(iterations > 0);
    crypto_auth_hmacsha256_init(&keyed, octets(password), password.len);
    state = keyed;
    crypto_auth_hmacsha256_update(&state, octets(salt), salt.len);
    crypto_auth_hmacsha256_update(&state, first_block, sizeof first_block);
    crypto_auth_hmacsha256_final(&state, round);
    memcpy(out, round, sizeof round);
    for (uint32_t i = 1; i < iterations; i++) {
        state = keyed;
        crypto_auth_hmacsha256_update(&state, round, sizeof round);
        crypto_auth_hmacsha256_final(&state, round);
        for (size_t j = 0; j < sizeof round; j++)
            out[j] ^= round[j];
    }
    sodium_memzero(&keyed, sizeof keyed);
    sodium_memzero(&state, sizeof state);
    sodium_memzero(round, sizeof round);
}

void crypto_keyed_hash(const uint8_t key[static CRYPTO_KEY], struct slice message, uint8_t out[static CRYPTO_HASH])
{
    int failed = crypto_generichash(out, CRYPTO_HASH, octets(message), message.len, key, CRYPTO_KEY);
    assert(failed == 0);
    (void)failed;
}
