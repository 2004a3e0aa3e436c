/* SASL for both ends: PLAIN (RFC 4616), LOGIN (draft-murchison-sasl-login), SCRAM-SHA-256 and -PLUS (RFC 5802, 7677), and HT-SHA-256-EXPR (draft-ietf-kitten-sasl-ht)
 * for devices that hold a token: one message each way, mutual, bound to the TLS channel by tls-exporter.
 *
 * Names and passwords are ASCII, or UTF-8 without controls, and are taken octet for octet. SASLprep (RFC 4013) would also normalise
 * (NFKC), for which the libraries at hand are either heavy or no longer tended; its successor (RFC 8265) asks for less, and the
 * two agree with us on ASCII. The cost: a non-ASCII password must be typed on systems that compose letters the same way.
 * Passwords that we generate are ASCII.
 *
 * Both machines are sans-I/O: octets (already out of base64) and decisions in, octets and questions out. Passwords and
 * proofs live in the machine's own memory and are wiped by sasl_*_free. The client never sends PLAIN or LOGIN
 * when SCRAM is offered. What was learnt of a mechanism list before TLS is not used (RFC 4954 4). */
#ifndef POSTERN_SMTP_SASL_H
#define POSTERN_SMTP_SASL_H

#include "base/buffer.h"

/* A set, as offered in EHLO. */
enum sasl_mechanism {
    SASL_PLAIN = 1,
    SASL_LOGIN = 2,
    SASL_SCRAM_SHA_256 = 4,
    SASL_SCRAM_SHA_256_PLUS = 8,
    SASL_HT_SHA_256_EXPR = 16, /* offered and used only where the channel has "tls-exporter" */
};

enum {
    SASL_NAME_MAX = 255,      /* octets of an authentication or authorization identity */
    SASL_PASSWORD_MAX = 1024, /* octets */
    SASL_MESSAGE_MAX = 9216,  /* octets of one message before base64: 12288 of RFC 4954 4 after it */
    SASL_TOKEN = 32,          /* octets of a device's token: fresh randomness of the relay's */
    SCRAM_SALT = 16,          /* octets of the salts that we make */
    SCRAM_SALT_MAX = 64,
    SCRAM_KEY = 32,           /* octets of SHA-256 */
    SCRAM_NONCE = 24,         /* octets of our part in base64 */
    SCRAM_ITERATIONS = 4096,  /* RFC 7677 4; a server that asks a client for fewer is not trusted with a proof */
    SCRAM_ITERATIONS_MAX = 1000000, /* what a server may ask of a client: beyond it lies denial of service */
};

const char *sasl_mechanism_name(enum sasl_mechanism mechanism);
/* 0: none of ours. */
enum sasl_mechanism sasl_mechanism_parse(struct slice name);

/* Channel binding: "tls-exporter" (RFC 9266) or "tls-server-end-point" (RFC 5929). No name: none on this channel. A channel
 * may have several; the client picks exporter first. */
struct sasl_binding {
    struct slice name;
    struct slice data;
};

/* What the server keeps of a password (RFC 5802 3): enough to check, not enough to impersonate. */
struct scram_verifier {
    uint8_t salt[SCRAM_SALT_MAX];
    size_t salt_len;
    uint32_t iterations;
    uint8_t stored_key[SCRAM_KEY];
    uint8_t server_key[SCRAM_KEY];
};

/* Whether text may be a name or a password: not empty, UTF-8, no controls. The machines refuse what is not. */
bool sasl_text_is_valid(struct slice text, size_t max);

/* Computes a verifier; salt is fresh randomness of salt_len octets (SCRAM_SALT is right). Takes some milliseconds.
 * RESULT_OK, RESULT_SYNTAX (sasl_text_is_valid says no), RESULT_LIMIT (password, salt or iterations are out of bounds). */
MUST_CHECK enum result scram_verifier_make(struct slice password, const uint8_t *salt, size_t salt_len, uint32_t iterations,
                                           struct scram_verifier *out);
/* A made-up verifier for an unknown user, always the same for one name and key (32 secret octets), of the shape that real ones have. */
void scram_verifier_make_up(const uint8_t key[static 32], struct slice user, struct scram_verifier *out);

/* ---- client ---- */
struct sasl_client;
struct sasl_client_config {
    struct slice user, password; /* copied. HT: user is the device's id, password its token of SASL_TOKEN octets */
    const struct sasl_binding *bindings;
    size_t nbindings;
    uint8_t nonce[18]; /* fresh randomness */
};

/* The best of `offered` that we can do with a name and a password, or 0: PLUS (with a binding), SCRAM, PLAIN, LOGIN. Without
 * TLS (allow_plaintext false) only SCRAM. Never HT, which wants a device and its token: who has these asks for it by name. */
enum sasl_mechanism sasl_client_choose(unsigned offered, bool has_binding, bool allow_plaintext);
/* NULL: out of memory, or user or password break their bounds, or PLUS or HT lack their binding (HT: "tls-exporter"). offered is needed too, because SCRAM tells the server whether its offer of
 * PLUS was seen (gs2 flag y). */
struct sasl_client *sasl_client_new(enum sasl_mechanism mechanism, unsigned offered, const struct sasl_client_config *config);
/* The initial response is the step with an empty challenge; all mechanisms but LOGIN have one. HT has one more step: the octets that came with the server's 235,
 * out of base64.
 * RESULT_OK: append-ed to *response is what to send, perhaps nothing (an empty line then); RESULT_DENIED: the server could not prove that
 * it knows the password, or a challenge broke the protocol: give up, send "*"; RESULT_LIMIT, RESULT_MEMORY: of the buffer.
 * A server that reports an error inside SCRAM ("e=invalid-proof") gets its empty line, and the reply that follows tells the rest. */
MUST_CHECK enum result sasl_client_step(struct sasl_client *client, struct slice challenge, struct buffer *response);
bool sasl_client_has_initial(const struct sasl_client *client);
/* After the server's success: true only if a mutual mechanism has seen the server's proof. PLAIN and LOGIN: true. */
bool sasl_client_is_satisfied(const struct sasl_client *client);
void sasl_client_free(struct sasl_client **client);

/* ---- server ---- */
struct sasl_server;
enum sasl_server_need {
    SASL_NEED_RESPONSE, /* send the challenge (it may be empty), come back with the client's response */
    SASL_NEED_PASSWORD, /* check user and password: sasl_server_password_checked */
    SASL_NEED_VERIFIER, /* look up the user's verifier: sasl_server_verifier_found; for an unknown user give a made-up one with is_known false, so
                           that nobody learns which names exist */
    SASL_NEED_TOKEN,    /* look up the token of the device that `user` names: sasl_server_token_found */
    SASL_SUCCEEDED,     /* user is authenticated. If `challenge` is not empty, send it as one more challenge before 235 (RFC 4954 4) and bring the
                           response, which must be empty: SASL_SUCCEEDED again with an empty challenge, or SASL_MALFORMED */
    SASL_FAILED,        /* 535 5.7.8: wrong password, somebody else's authorization identity, a channel binding that is not this channel's */
    SASL_MALFORMED,     /* 501 5.5.2 */
};

struct sasl_server_step {
    enum sasl_server_need need;
    struct slice challenge; /* valid until the next call */
    bool goes_with_success; /* SASL_SUCCEEDED: `challenge`, base64 already, is the text of the 235 itself, and no response follows (HT; ours: schema/link.md) */
    struct slice user;      /* valid until the next call */
    struct slice password;  /* SASL_NEED_PASSWORD only; valid until the next call */
};

/* nonce is fresh randomness. bindings are copied: at most two, names of up to 64 octets, data of up to 256. NULL: out
 * of memory; after that nothing allocates. After SASL_FAILED and SASL_MALFORMED every call gives the same again. */
struct sasl_server *sasl_server_new(enum sasl_mechanism mechanism, bool offered_plus, const struct sasl_binding *bindings, size_t nbindings,
                                    const uint8_t nonce[static 18]);
/* The client's initial response (has_initial false: none was given), and then each response. */
void sasl_server_start(struct sasl_server *server, bool has_initial, struct slice initial, struct sasl_server_step *step);
void sasl_server_response(struct sasl_server *server, struct slice response, struct sasl_server_step *step);
void sasl_server_password_checked(struct sasl_server *server, bool is_right, struct sasl_server_step *step);
void sasl_server_verifier_found(struct sasl_server *server, const struct scram_verifier *verifier, bool is_known, struct sasl_server_step *step);
/* token: SASL_TOKEN octets; for an unknown device any, with is_known false. */
void sasl_server_token_found(struct sasl_server *server, const uint8_t *token, bool is_known, struct sasl_server_step *step);
void sasl_server_free(struct sasl_server **server);

#endif
