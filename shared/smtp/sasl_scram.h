/* The parts of SCRAM (RFC 5802) that client and server share: its little grammar and its keys. Internal to shared/smtp. */
#ifndef POSTERN_SMTP_SASL_SCRAM_H
#define POSTERN_SMTP_SASL_SCRAM_H

#include "smtp/sasl.h"

enum {
    SCRAM_FIRST_MAX = 2048,   /* octets of a first message: a name of 255 octets is at most 765 when escaped */
    SCRAM_FINAL_MAX = 4096,
    SCRAM_BINDING_NAME_MAX = 64,
    SCRAM_BINDING_DATA_MAX = 256,
    SCRAM_AUTH_MAX = 2 * SCRAM_FIRST_MAX + SCRAM_FINAL_MAX + 2, /* AuthMessage: both first messages, the final one, commas */
};

struct scram_keys {
    uint8_t client_key[SCRAM_KEY];
    uint8_t stored_key[SCRAM_KEY];
    uint8_t server_key[SCRAM_KEY];
};

/* "x=value" at the front, and the comma behind it. False: it is not there, the value is empty, or the comma is the last. */
bool scram_take(struct slice *rest, char name, struct slice *value);
/* What may follow the known attributes: ALPHA "=" value, comma-separated; nothing is fine. False also for "m=", which demands an
 * understanding that we lack (5.1). */
bool scram_extensions_are_valid(struct slice rest);
/* Printable ASCII without commas. */
bool scram_nonce_is_valid(struct slice nonce);

/* "=" and "," in names are written "=3D" and "=2C". */
MUST_CHECK enum result scram_name_escape(struct slice name, struct buffer *out);
/* *len octets into out[SASL_NAME_MAX]; false: some other "=", too long, or not sasl_text_is_valid. */
bool scram_name_unescape(struct slice escaped, char *out, size_t *len);

/* iterations is not 0. The caller wipes *out. */
void scram_derive(struct slice password, struct slice salt, uint32_t iterations, struct scram_keys *out);
/* ClientProof: ClientKey XOR HMAC(StoredKey, AuthMessage). */
void scram_proof(const struct scram_keys *keys, struct slice auth_message, uint8_t out[static SCRAM_KEY]);
/* Whether a proof was made by somebody who has the ClientKey behind stored_key. */
bool scram_proof_is_right(struct slice proof, const uint8_t stored_key[static SCRAM_KEY], struct slice auth_message);

/* The octets that "c=" holds before base64: gs2 header, then channel binding data. */
MUST_CHECK enum result scram_write_binding(struct slice gs2_header, struct slice data, struct buffer *out);

#endif
