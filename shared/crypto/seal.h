/* Records at rest: each is sealed by itself, so that whoever has the disk can neither read it nor put another in its place.
 *
 * A sealed record is
 *
 *     version (1 octet) | nonce (24, random for each record) | ciphertext | tag (16)
 *
 * XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha). The tag also covers the place of the record: the domain, which field of which table, the message, the number of the record in it,
 * and what stands beside it in the clear and must not change. A record that was moved, swapped with another, cut or altered does not open. What can't be told is that an older
 * record of the same place was put back: nothing on the same disk could.
 *
 * Why a record each and not one stream (libsodium's secretstream) over a whole body: a body is read from its middle, when a hand-over is resumed at an octet, and it grows by chunks each of
 * which is committed by itself. A stream opens from its beginning only, and its state would be one more secret to keep. Numbers of chunks in the place, and their count and the body's size in
 * the message's record, give what a stream gives: order, and a known end. 24 octets of nonce are drawn at random without a thought of repeating: no counter could go back with a restored backup.
 *
 * From the key that is given others are made, one for each use, with a salt that names the database: two databases under one key share nothing. Any thread may use a seal. */
#ifndef POSTERN_CRYPTO_SEAL_H
#define POSTERN_CRYPTO_SEAL_H

#include "crypto/crypto.h"

enum {
    SEAL_VERSION = 1,
    SEAL_SALT = 16,                     /* octets */
    SEAL_OVERHEAD = 1 + 24 + 16,        /* octets that a record is longer than what it holds */
    SEAL_DOMAIN_MAX = 64,               /* octets */
    SEAL_OCTETS_MAX = 16 * 1024 * 1024, /* of what a record holds */
};

/* Where a record belongs. What does not matter for a field is 0, always. */
struct seal_place {
    uint8_t field; /* the caller's numbers of tables and their fields */
    uint64_t message;
    uint32_t seq;
    uint64_t size_octets; /* what is in the clear beside it: of the whole body */
    uint32_t nchunks;
};

struct seal;

/* The domain is what the records are for, in words; at most SEAL_DOMAIN_MAX octets. The key is not kept. NULL: out of memory. */
struct seal *seal_new(const uint8_t key[static CRYPTO_KEY], const uint8_t salt[static SEAL_SALT], struct slice domain);
/* Wipes the keys. NULL is fine. */
void seal_free(struct seal **seal);
/* A value by which the right key is known again, and nothing else. */
void seal_check_value(const struct seal *seal, uint8_t out[static CRYPTO_HASH]);
/* In the place of a digest: equal for equal digests, and no guess can be tried on it without the key. */
void seal_digest(const struct seal *seal, struct slice digest, uint8_t out[static CRYPTO_HASH]);

/* octets.len + SEAL_OVERHEAD octets to out, which does not overlap octets. RESULT_OK; RESULT_LIMIT: more than SEAL_OCTETS_MAX. */
MUST_CHECK enum result seal_put(const struct seal *seal, const struct seal_place *place, struct slice octets, uint8_t *out);
/* What a record of this length holds, in octets: 0 for one that is too short. */
size_t seal_held(size_t record_len);
/* seal_held(record.len) octets to out, which does not overlap the record. RESULT_OK; RESULT_CORRUPT: not sealed with this key for this place, and out is wiped; RESULT_VERSION: by a newer program. */
MUST_CHECK enum result seal_take(const struct seal *seal, const struct seal_place *place, struct slice record, uint8_t *out);

#endif
