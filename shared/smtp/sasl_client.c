/* The client's side of SASL.
 *
 *   PLAIN   first -> done
 *   LOGIN   name -> password -> done
 *   SCRAM   first -> final -> verdict -> done
 *   HT      first -> verdict -> done
 * A challenge that does not fit ends in `broken`, and stays there. What is secret lies in one block of locked memory. */
#include "smtp/sasl_ht.h"
#include "smtp/sasl_scram.h"

#include "crypto/crypto.h"

#include <stdlib.h>
#include <string.h>

enum client_state { CLIENT_FIRST, CLIENT_NAME, CLIENT_PASSWORD, CLIENT_FINAL, CLIENT_VERDICT, CLIENT_DONE, CLIENT_BROKEN };

struct client_secret {
    char user[SASL_NAME_MAX];
    size_t user_len;
    char password[SASL_PASSWORD_MAX]; /* HT: the token */
    size_t password_len;
    uint8_t signature[SCRAM_KEY]; /* what the server must send to prove itself */
};

struct sasl_client {
    enum sasl_mechanism mechanism;
    enum client_state state;
    bool is_satisfied;
    char gs2_header[SCRAM_BINDING_NAME_MAX + sizeof "p=,,"];
    char binding[SCRAM_BINDING_DATA_MAX];
    size_t binding_len;
    struct buffer nonce; /* ours, in base64 */
    struct buffer auth;  /* AuthMessage, as far as it goes */
    struct client_secret *secret;
};

enum sasl_mechanism sasl_client_choose(unsigned offered, bool has_binding, bool allow_plaintext)
{
    if ((offered & SASL_SCRAM_SHA_256_PLUS) && has_binding)
        return SASL_SCRAM_SHA_256_PLUS;
    if (offered & SASL_SCRAM_SHA_256)
        return SASL_SCRAM_SHA_256;
    if ((offered & SASL_PLAIN) && allow_plaintext)
        return SASL_PLAIN;
    if ((offered & SASL_LOGIN) && allow_plaintext)
        return SASL_LOGIN;
    return 0;
}

static bool is_scram(enum sasl_mechanism mechanism)
{
    return mechanism == SASL_SCRAM_SHA_256 || mechanism == SASL_SCRAM_SHA_256_PLUS;
}

static bool is_ht(enum sasl_mechanism mechanism)
{
    return mechanism == SASL_HT_SHA_256_EXPR;
}

static const struct sasl_binding *pick_binding(const struct sasl_client_config *config)
{
    for (size_t i = 0; i < config->nbindings; i++)
        if (slice_equal(config->bindings[i].name, SLICE("tls-exporter")))
            return &config->bindings[i];
    return config->nbindings > 0 ? &config->bindings[0] : NULL;
}

/* RFC 5802 6: "p" binds. "y" says that we could, but saw no offer of PLUS: a server that did offer it then knows of somebody
 * in between who took it away. "n": we can't. */
static bool set_gs2(struct sasl_client *client, unsigned offered, const struct sasl_client_config *config)
{
    const struct sasl_binding *binding = pick_binding(config);
    if (client->mechanism != SASL_SCRAM_SHA_256_PLUS) {
        bool saw_no_plus = binding && !(offered & SASL_SCRAM_SHA_256_PLUS);
        memcpy(client->gs2_header, saw_no_plus ? "y,," : "n,,", sizeof "n,,");
        return true;
    }
    if (!binding || binding->name.len > SCRAM_BINDING_NAME_MAX || binding->data.len > sizeof client->binding)
        return false;
    memcpy(client->gs2_header, "p=", 2);
    memcpy(client->gs2_header + 2, binding->name.ptr, binding->name.len);
    memcpy(client->gs2_header + 2 + binding->name.len, ",,", sizeof ",,");
    memcpy(client->binding, binding->data.ptr, binding->data.len);
    client->binding_len = binding->data.len;
    return true;
}

static bool is_password_valid(const struct sasl_client *client, struct slice password)
{
    return is_ht(client->mechanism) ? password.len == SASL_TOKEN : sasl_text_is_valid(password, SASL_PASSWORD_MAX);
}

/* Without the exporter a proof would be good on any channel. */
static bool set_exporter(struct sasl_client *client, const struct sasl_client_config *config)
{
    const struct sasl_binding *binding = pick_binding(config);
    if (!binding || !slice_equal(binding->name, SLICE("tls-exporter")) || binding->data.len == 0 || binding->data.len > sizeof client->binding)
        return false;
    memcpy(client->binding, binding->data.ptr, binding->data.len);
    client->binding_len = binding->data.len;
    return true;
}

static bool set_up(struct sasl_client *client, unsigned offered, const struct sasl_client_config *config)
{
    struct client_secret *secret = client->secret = crypto_secret_alloc(sizeof *secret);
    if (!secret || !sasl_text_is_valid(config->user, sizeof secret->user) || !is_password_valid(client, config->password))
        return false;
    memcpy(secret->user, config->user.ptr, config->user.len);
    secret->user_len = config->user.len;
    memcpy(secret->password, config->password.ptr, config->password.len);
    secret->password_len = config->password.len;
    if (is_ht(client->mechanism))
        return set_exporter(client, config);
    return !is_scram(client->mechanism) ||
           (set_gs2(client, offered, config) && crypto_base64_encode(slice_of(config->nonce, sizeof config->nonce), &client->nonce) == RESULT_OK);
}

struct sasl_client *sasl_client_new(enum sasl_mechanism mechanism, unsigned offered, const struct sasl_client_config *config)
{
    struct sasl_client *client = calloc(1, sizeof *client);
    if (!client)
        return NULL;
    client->mechanism = mechanism;
    client->state = mechanism == SASL_LOGIN ? CLIENT_NAME : CLIENT_FIRST;
    client->nonce = BUFFER(SCRAM_NONCE);
    client->auth = BUFFER(SCRAM_AUTH_MAX);
    if (!set_up(client, offered, config))
        sasl_client_free(&client);
    return client;
}

void sasl_client_free(struct sasl_client **client)
{
    if (!*client)
        return;
    void *secret = (*client)->secret;
    crypto_secret_free(&secret);
    buffer_free(&(*client)->nonce);
    buffer_free(&(*client)->auth);
    free(*client);
    *client = NULL;
}

bool sasl_client_has_initial(const struct sasl_client *client)
{
    return client->mechanism != SASL_LOGIN;
}

bool sasl_client_is_satisfied(const struct sasl_client *client)
{
    return client->is_satisfied;
}

static struct slice user_of(const struct sasl_client *client)
{
    return slice_of(client->secret->user, client->secret->user_len);
}

static struct slice password_of(const struct sasl_client *client)
{
    return slice_of(client->secret->password, client->secret->password_len);
}

/* ---- PLAIN and LOGIN ---- */

/* What was not appended whole is not appended at all, so that a caller may try again. */
static enum result append_all(struct buffer *out, const struct slice *parts, size_t nparts)
{
    size_t len = buffer_len(out);
    enum result result = RESULT_OK;
    for (size_t i = 0; i < nparts && result == RESULT_OK; i++)
        result = buffer_append(out, parts[i]);
    if (result != RESULT_OK)
        buffer_truncate(out, len);
    return result;
}

static enum result respond(struct sasl_client *client, enum client_state next, struct buffer *out, const struct slice *parts, size_t nparts)
{
    enum result result = append_all(out, parts, nparts);
    if (result != RESULT_OK)
        return result;
    client->state = next;
    client->is_satisfied = next == CLIENT_DONE && !is_scram(client->mechanism);
    return RESULT_OK;
}

static enum result step_plain(struct sasl_client *client, struct buffer *response)
{
    const struct slice parts[] = {SLICE("\0"), user_of(client), SLICE("\0"), password_of(client)};
    return respond(client, CLIENT_DONE, response, parts, 4);
}

/* The challenges of LOGIN are words in any language; only their order counts. */
static enum result step_login(struct sasl_client *client, struct buffer *response)
{
    bool is_name = client->state == CLIENT_NAME;
    const struct slice part = is_name ? user_of(client) : password_of(client);
    return respond(client, is_name ? CLIENT_PASSWORD : CLIENT_DONE, response, &part, 1);
}

/* ---- SCRAM ---- */

static enum result step_scram_first(struct sasl_client *client, struct buffer *response)
{
    buffer_clear(&client->auth);
    enum result result = buffer_append(&client->auth, SLICE("n="));
    if (result == RESULT_OK)
        result = scram_name_escape(user_of(client), &client->auth);
    if (result == RESULT_OK)
        result = buffer_append(&client->auth, SLICE(",r="));
    if (result == RESULT_OK)
        result = buffer_append(&client->auth, buffer_slice(&client->nonce));
    if (result != RESULT_OK)
        return result;
    const struct slice parts[] = {slice_from_cstr(client->gs2_header), buffer_slice(&client->auth)};
    return respond(client, CLIENT_FINAL, response, parts, 2);
}

struct server_first {
    struct slice nonce;
    uint8_t salt[SCRAM_SALT_MAX];
    size_t salt_len;
    uint32_t iterations;
};

static bool parse_server_first(const struct sasl_client *client, struct slice challenge, struct server_first *out)
{
    struct slice salt, iterations;
    uint64_t number;
    if (challenge.len > SCRAM_FIRST_MAX || !scram_take(&challenge, 'r', &out->nonce) || !scram_take(&challenge, 's', &salt) ||
        !scram_take(&challenge, 'i', &iterations) || !scram_extensions_are_valid(challenge))
        return false;
    /* The server's nonce must go on where ours ends: else it is a replay (5.1). */
    if (!scram_nonce_is_valid(out->nonce) || !slice_starts_with(out->nonce, buffer_slice(&client->nonce)) ||
        out->nonce.len == buffer_len(&client->nonce))
        return false;
    if (!slice_to_u64(iterations, SCRAM_ITERATIONS_MAX, &number) || number < SCRAM_ITERATIONS)
        return false;
    out->iterations = (uint32_t)number;
    return crypto_base64_decode_to(salt, out->salt, sizeof out->salt, &out->salt_len);
}

/* ",<server-first>,c=...,r=..." goes behind client-first; *without_proof is where the last part begins. */
static enum result extend_auth(struct sasl_client *client, struct slice challenge, struct slice nonce, size_t *without_proof)
{
    const struct slice first[] = {SLICE(","), challenge, SLICE(",")};
    enum result result = append_all(&client->auth, first, 3);
    *without_proof = buffer_len(&client->auth);
    if (result == RESULT_OK)
        result = buffer_append(&client->auth, SLICE("c="));
    if (result == RESULT_OK)
        result = scram_write_binding(slice_from_cstr(client->gs2_header), slice_of(client->binding, client->binding_len), &client->auth);
    const struct slice last[] = {SLICE(",r="), nonce};
    return result == RESULT_OK ? append_all(&client->auth, last, 2) : result;
}

static enum result write_final(struct sasl_client *client, const struct scram_keys *keys, struct slice without_proof, struct buffer *response)
{
    uint8_t proof[SCRAM_KEY];
    size_t len = buffer_len(response);
    struct slice auth_message = buffer_slice(&client->auth);
    scram_proof(keys, auth_message, proof);
    crypto_hmac_sha256(slice_of(keys->server_key, SCRAM_KEY), auth_message, client->secret->signature);
    const struct slice parts[] = {without_proof, SLICE(",p=")};
    enum result result = append_all(response, parts, 2);
    if (result == RESULT_OK)
        result = crypto_base64_encode(slice_of(proof, sizeof proof), response);
    if (result != RESULT_OK)
        buffer_truncate(response, len);
    return result;
}

static enum result step_scram_final(struct sasl_client *client, struct slice challenge, struct buffer *response)
{
    struct server_first first;
    struct scram_keys keys;
    size_t auth_len = buffer_len(&client->auth), without_proof;
    if (!parse_server_first(client, challenge, &first))
        return RESULT_DENIED;
    enum result result = extend_auth(client, challenge, first.nonce, &without_proof);
    if (result == RESULT_OK) {
        scram_derive(password_of(client), slice_of(first.salt, first.salt_len), first.iterations, &keys);
        result = write_final(client, &keys, slice_skip(buffer_slice(&client->auth), without_proof), response);
        crypto_wipe(&keys, sizeof keys);
    }
    if (result == RESULT_OK)
        client->state = CLIENT_VERDICT;
    else
        buffer_truncate(&client->auth, auth_len);
    return result;
}

static enum result step_scram_verdict(struct sasl_client *client, struct slice challenge)
{
    uint8_t signature[SCRAM_KEY];
    struct slice value;
    size_t len = 0;
    bool has_error = scram_take(&challenge, 'e', &value);
    if (!has_error && (!scram_take(&challenge, 'v', &value) || !crypto_base64_decode_to(value, signature, sizeof signature, &len)))
        return RESULT_DENIED;
    if (!scram_extensions_are_valid(challenge))
        return RESULT_DENIED;
    client->state = CLIENT_DONE;
    client->is_satisfied = !has_error && crypto_equal(slice_of(signature, len), slice_of(client->secret->signature, SCRAM_KEY));
    return has_error || client->is_satisfied ? RESULT_OK : RESULT_DENIED;
}

/* ---- HT ---- */

static void ht_proof(const struct sasl_client *client, struct slice role, uint8_t out[static SCRAM_KEY])
{
    sasl_ht_proof(password_of(client), role, slice_of(client->binding, client->binding_len), out);
}

static enum result step_ht_first(struct sasl_client *client, struct buffer *response)
{
    uint8_t proof[SCRAM_KEY];
    ht_proof(client, SASL_HT_INITIATOR, proof);
    ht_proof(client, SASL_HT_RESPONDER, client->secret->signature);
    const struct slice parts[] = {user_of(client), SLICE("\0"), slice_of(proof, sizeof proof)};
    return respond(client, CLIENT_VERDICT, response, parts, 3);
}

static enum result step_ht_verdict(struct sasl_client *client, struct slice challenge)
{
    client->state = CLIENT_DONE;
    client->is_satisfied = crypto_equal(challenge, slice_of(client->secret->signature, SCRAM_KEY));
    return client->is_satisfied ? RESULT_OK : RESULT_DENIED;
}

static enum result step_first(struct sasl_client *client, struct buffer *response)
{
    if (is_ht(client->mechanism))
        return step_ht_first(client, response);
    return is_scram(client->mechanism) ? step_scram_first(client, response) : step_plain(client, response);
}

enum result sasl_client_step(struct sasl_client *client, struct slice challenge, struct buffer *response)
{
    enum result result = RESULT_DENIED;
    switch (client->state) {
    case CLIENT_FIRST: result = step_first(client, response); break;
    case CLIENT_NAME:
    case CLIENT_PASSWORD: result = step_login(client, response); break;
    case CLIENT_FINAL: result = step_scram_final(client, challenge, response); break;
    case CLIENT_VERDICT: result = is_ht(client->mechanism) ? step_ht_verdict(client, challenge) : step_scram_verdict(client, challenge); break;
    case CLIENT_DONE:
    case CLIENT_BROKEN: break;
    }
    if (result == RESULT_DENIED) {
        client->state = CLIENT_BROKEN;
        client->is_satisfied = false;
    }
    return result;
}
