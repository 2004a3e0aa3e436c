/* The one door to libsodium: randomness, hashes, password hashes, encodings, secret memory.
 *
 * No file outside this folder includes <sodium.h>, so that what the programs rely on can be read here. Every function may be called
 * from any thread once crypto_init has returned RESULT_OK. Functions that only our own mistake can make fail return nothing
 * and abort instead. */
#ifndef POSTERN_CRYPTO_CRYPTO_H
#define POSTERN_CRYPTO_CRYPTO_H

#include "base/buffer.h"

enum {
    CRYPTO_SHA256 = 32,            /* octets of a digest */
    CRYPTO_HASH = 32,              /* octets of crypto_keyed_hash */
    CRYPTO_KEY = 32,               /* octets of a key for it */
    CRYPTO_PASSWORD_HASH_MAX = 128, /* octets of a stored password hash, with its NUL */
    CRYPTO_PASSWORD_MAX = 1024,    /* octets; a longer password is refused before any work is done */
    CRYPTO_READABLE_PASSWORD = 25, /* octets of a generated password, with its NUL */
};

/* Once, before anything else; more calls do no harm. RESULT_OK, RESULT_IO: the system has no randomness for us. */
MUST_CHECK enum result crypto_init(void);

/* ---- randomness ---- */
void crypto_random(void *out, size_t len);
uint32_t crypto_random_u32(void);
/* Uniform in 0 .. bound-1; bound is not 0. */
uint32_t crypto_random_below(uint32_t bound);
/* "xxxx-xxxx-xxxx-xxxx-xxxx" of 31 letters and digits that nobody mistakes for each other: 99 bits. Secret: wipe it. */
void crypto_readable_password(char out[static CRYPTO_READABLE_PASSWORD]);

/* ---- secrets ---- */
/* Time depends on the lengths alone; different lengths are unequal at once. */
bool crypto_equal(struct slice a, struct slice b);
void crypto_wipe(void *memory, size_t len);
/* Zeroed memory that is kept out of swap and core dumps where the system allows (RLIMIT_MEMLOCK) and lies between guard pages. It
 * costs at least four pages, so use it for what is secret and short-lived, not per session. NULL: out of memory. */
void *crypto_secret_alloc(size_t len);
/* Wipes, frees and clears *memory; NULL is fine. */
void crypto_secret_free(void **memory);

/* ---- hashes ---- */
void crypto_sha256(struct slice message, uint8_t out[static CRYPTO_SHA256]);
/* The same of what comes in pieces. */
struct crypto_digest {
    uint64_t memory[13];
};
void crypto_digest_begin(struct crypto_digest *digest);
void crypto_digest_add(struct crypto_digest *digest, struct slice octets);
/* Fields of a record: a number as eight octets, a text behind its length as such a number, so that nothing can slide from one field into the next. */
void crypto_digest_add_number(struct crypto_digest *digest, uint64_t number);
void crypto_digest_add_text(struct crypto_digest *digest, struct slice text);
void crypto_digest_end(struct crypto_digest *digest, uint8_t out[static CRYPTO_SHA256]);
void crypto_hmac_sha256(struct slice key, struct slice message, uint8_t out[static CRYPTO_SHA256]);
/* PBKDF2 of one block: Hi() of RFC 5802 2.2. iterations is not 0. */
void crypto_pbkdf2_sha256(struct slice password, struct slice salt, uint32_t iterations, uint8_t out[static CRYPTO_SHA256]);
/* BLAKE2b with a key: look-up keys that tell nobody what was hashed, caches of secrets. */
void crypto_keyed_hash(const uint8_t key[static CRYPTO_KEY], struct slice message, uint8_t out[static CRYPTO_HASH]);

/* ---- encodings ---- */
/* RFC 4648 4 with padding, on one line. RESULT_OK, RESULT_LIMIT, RESULT_MEMORY. */
MUST_CHECK enum result crypto_base64_encode(struct slice in, struct buffer *out);
/* Strict: no white space, right padding, no stray bits, or RESULT_SYNTAX; RESULT_LIMIT, RESULT_MEMORY. On failure nothing is appended. */
MUST_CHECK enum result crypto_base64_decode(struct slice in, struct buffer *out);
/* The same into out[size]; false: not base64, or longer than size. *len says how many octets. */
bool crypto_base64_decode_to(struct slice in, uint8_t *out, size_t size, size_t *len);
/* Octets of base64 for len octets, without a NUL. */
size_t crypto_base64_len(size_t len);
/* Lower-case hex and a NUL: size is at least 2 * in.len + 1. */
void crypto_hex(struct slice in, char *out, size_t size);
/* Exactly 2 * len digits of either case. */
bool crypto_hex_decode(struct slice in, uint8_t *out, size_t len);

/* ---- passwords: Argon2id, in the text form "$argon2id$v=19$m=65536,t=2,p=1$salt$hash" ---- */
struct crypto_password_cost {
    uint32_t passes;     /* 0: 2, libsodium's INTERACTIVE */
    uint32_t memory_kib; /* 0: 65,536 */
};
enum {
    CRYPTO_PASSWORD_PASSES_MAX = 8,            /* beyond these a stored hash is corrupt, so that a poisoned row can't */
    CRYPTO_PASSWORD_MEMORY_MAX_KIB = 256 * 1024, /* eat the memory or the time of everybody else */
};

/* Takes about 65 ms and the memory of the cost: never on a loop thread. RESULT_OK; RESULT_MEMORY; RESULT_LIMIT: the password is
 * longer than CRYPTO_PASSWORD_MAX, or the cost is beyond the caps or below Argon2's least (1 pass, 8 KiB). */
MUST_CHECK enum result crypto_password_hash(struct slice password, struct crypto_password_cost cost, char out[static CRYPTO_PASSWORD_HASH_MAX]);
/* RESULT_OK: it is the password. RESULT_DENIED: it is not. RESULT_MEMORY: could not tell; transient. RESULT_CORRUPT: stored is no
 * Argon2id hash, or its cost is beyond the caps. For an unknown user verify against a hash of the same cost that was made at start,
 * so that it takes the same time. */
MUST_CHECK enum result crypto_password_verify(struct slice stored, struct slice password);
/* Whether stored was made with another cost than this and should be made anew at the next right password. */
bool crypto_password_is_outdated(struct slice stored, struct crypto_password_cost cost);

#endif
