/* The server's side of SASL.
 *
 *   PLAIN   message -> checking -> succeeded | failed
 *   LOGIN   name -> password -> checking -> succeeded | failed
 *   HT      message -> token -> succeeded | failed
 *   SCRAM   first -> verifier -> final -> verdict -> succeeded | failed
 *   any -> failed | malformed, and they stay
 *
 * All memory is taken when the machine is made, so that no step can fail for want of it: there would be no honest
 * answer (535 would blame the password). */
#include "smtp/sasl_ht.h"
#include "smtp/sasl_scram.h"

#include "crypto/crypto.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum server_state {
    SERVER_MESSAGE,
    SERVER_NAME,
    SERVER_PASSWORD,
    SERVER_CHECKING,
    SERVER_FIRST,
    SERVER_VERIFIER,
    SERVER_TOKEN,
    SERVER_FINAL,
    SERVER_VERDICT,
    SERVER_SUCCEEDED,
    SERVER_FAILED,
    SERVER_MALFORMED,
};

enum {
    BINDINGS_MAX = 2,
    CHALLENGE_MAX = SCRAM_FIRST_MAX + 256, /* the client's nonce comes back in it */
};

struct server_binding {
    char name[SCRAM_BINDING_NAME_MAX];
    size_t name_len;
    char data[SCRAM_BINDING_DATA_MAX];
    size_t data_len;
};

struct server_secret {
    char password[SASL_PASSWORD_MAX];
    size_t password_len;
    struct scram_verifier verifier;
    uint8_t proof[SCRAM_KEY]; /* HT: what the client sent */
};

struct sasl_server {
    enum sasl_mechanism mechanism;
    enum server_state state;
    bool offered_plus;
    bool is_known;
    struct server_binding bindings[BINDINGS_MAX];
    size_t nbindings;
    const struct server_binding *binding; /* the one the client named */
    uint8_t random[18];
    char user[SASL_NAME_MAX];
    size_t user_len;
    struct buffer gs2_header; /* as it came, for "c=" */
    struct buffer nonce;      /* the client's and ours */
    struct buffer auth;       /* AuthMessage, as far as it goes */
    struct buffer challenge;
    struct server_secret *secret;
};

static bool is_scram(const struct sasl_server *server)
{
    return server->mechanism == SASL_SCRAM_SHA_256 || server->mechanism == SASL_SCRAM_SHA_256_PLUS;
}

static bool is_ht(const struct sasl_server *server)
{
    return server->mechanism == SASL_HT_SHA_256_EXPR;
}

static void copy_bindings(struct sasl_server *server, const struct sasl_binding *bindings, size_t nbindings)
{
    assert(nbindings <= BINDINGS_MAX);
    for (size_t i = 0; i < nbindings; i++) {
        struct server_binding *to = &server->bindings[server->nbindings++];
        assert(bindings[i].name.len <= sizeof to->name && bindings[i].data.len <= sizeof to->data);
        memcpy(to->name, bindings[i].name.ptr, bindings[i].name.len);
        memcpy(to->data, bindings[i].data.ptr, bindings[i].data.len);
        to->name_len = bindings[i].name.len;
        to->data_len = bindings[i].data.len;
    }
}

static bool reserve(struct buffer *b, size_t max)
{
    char *at;
    *b = BUFFER(max);
    return buffer_reserve(b, max, &at) == RESULT_OK;
}

static bool take_memory(struct sasl_server *server)
{
    server->secret = crypto_secret_alloc(sizeof *server->secret);
    return server->secret && reserve(&server->challenge, CHALLENGE_MAX) &&
           (!is_scram(server) || (reserve(&server->auth, SCRAM_AUTH_MAX) && reserve(&server->nonce, SCRAM_FIRST_MAX + SCRAM_NONCE) &&
                                  reserve(&server->gs2_header, SCRAM_FIRST_MAX)));
}

struct sasl_server *sasl_server_new(enum sasl_mechanism mechanism, bool offered_plus, const struct sasl_binding *bindings, size_t nbindings,
                                    const uint8_t nonce[static 18])
{
    struct sasl_server *server = calloc(1, sizeof *server);
    if (!server)
        return NULL;
    server->mechanism = mechanism;
    server->offered_plus = offered_plus;
    server->state = is_scram(server) ? SERVER_FIRST : mechanism == SASL_LOGIN ? SERVER_NAME : SERVER_MESSAGE;
    memcpy(server->random, nonce, sizeof server->random);
    copy_bindings(server, bindings, nbindings);
    if (!take_memory(server))
        sasl_server_free(&server);
    return server;
}

void sasl_server_free(struct sasl_server **server)
{
    if (!*server)
        return;
    void *secret = (*server)->secret;
    crypto_secret_free(&secret);
    buffer_free(&(*server)->gs2_header);
    buffer_free(&(*server)->nonce);
    buffer_free(&(*server)->auth);
    buffer_free(&(*server)->challenge);
    free(*server);
    *server = NULL;
}

/* ---- what the caller is told ---- */

static struct slice user_of(const struct sasl_server *server)
{
    return slice_of(server->user, server->user_len);
}

static void tell(const struct sasl_server *server, struct sasl_server_step *step)
{
    *step = (struct sasl_server_step){.challenge = buffer_slice(&server->challenge), .user = user_of(server)};
    switch (server->state) {
    case SERVER_MESSAGE:
    case SERVER_NAME:
    case SERVER_PASSWORD:
    case SERVER_FIRST:
    case SERVER_FINAL: step->need = SASL_NEED_RESPONSE; break;
    case SERVER_CHECKING:
        step->need = SASL_NEED_PASSWORD;
        step->password = slice_of(server->secret->password, server->secret->password_len);
        break;
    case SERVER_VERIFIER: step->need = SASL_NEED_VERIFIER; break;
    case SERVER_TOKEN: step->need = SASL_NEED_TOKEN; break;
    case SERVER_VERDICT: step->need = SASL_SUCCEEDED; break;
    case SERVER_SUCCEEDED:
        step->need = SASL_SUCCEEDED;
        step->goes_with_success = is_ht(server);
        break;
    case SERVER_FAILED: step->need = SASL_FAILED; break;
    case SERVER_MALFORMED: step->need = SASL_MALFORMED; break;
    }
}

/* The one place where the state changes. Where nothing more is to be checked, nothing secret is kept. */
static void go(struct sasl_server *server, enum server_state next)
{
    server->state = next;
    if (next == SERVER_FAILED || next == SERVER_MALFORMED) {
        buffer_clear(&server->challenge);
        crypto_wipe(server->secret, sizeof *server->secret);
    }
    if (next == SERVER_SUCCEEDED || next == SERVER_VERDICT)
        crypto_wipe(server->secret, sizeof *server->secret);
}

static void challenge_with(struct sasl_server *server, const char *text)
{
    buffer_clear(&server->challenge);
    enum result result = buffer_append_cstr(&server->challenge, text);
    assert(result == RESULT_OK);
}

/* ---- PLAIN and LOGIN ---- */

static bool set_user(struct sasl_server *server, struct slice user)
{
    if (!sasl_text_is_valid(user, sizeof server->user))
        return false;
    memcpy(server->user, user.ptr, user.len);
    server->user_len = user.len;
    return true;
}

/* A password that could not have been set is wrong rather than malformed: an old client may send Latin-1. */
static enum server_state take_password(struct sasl_server *server, struct slice password)
{
    if (!sasl_text_is_valid(password, sizeof server->secret->password))
        return SERVER_FAILED;
    memcpy(server->secret->password, password.ptr, password.len);
    server->secret->password_len = password.len;
    return SERVER_CHECKING;
}

/* RFC 4616 2: [authzid] NUL authcid NUL passwd. Nobody acts for somebody else here. */
static enum server_state take_plain(struct sasl_server *server, struct slice message)
{
    struct slice authzid, rest, user, password;
    if (!slice_cut(message, '\0', &authzid, &rest) || !slice_cut(rest, '\0', &user, &password) || slice_find(password, '\0') >= 0)
        return SERVER_MALFORMED;
    if (user.len == 0 || password.len == 0)
        return SERVER_MALFORMED;
    if (!set_user(server, user) || (authzid.len > 0 && !slice_equal(authzid, user)))
        return SERVER_FAILED;
    return take_password(server, password);
}

static enum server_state take_login_name(struct sasl_server *server, struct slice name)
{
    if (name.len == 0)
        return SERVER_MALFORMED;
    if (!set_user(server, name))
        return SERVER_FAILED;
    challenge_with(server, "Password:");
    return SERVER_PASSWORD;
}

static enum server_state take_login_password(struct sasl_server *server, struct slice password)
{
    buffer_clear(&server->challenge);
    return password.len == 0 ? SERVER_MALFORMED : take_password(server, password);
}

/* ---- SCRAM ---- */

static const struct server_binding *find_binding(const struct sasl_server *server, struct slice name)
{
    for (size_t i = 0; i < server->nbindings; i++)
        if (slice_equal(name, slice_of(server->bindings[i].name, server->bindings[i].name_len)))
            return &server->bindings[i];
    return NULL;
}

/* gs2-cbind-flag. RFC 5802 6: "y" from a client that was offered PLUS means that somebody took the offer away in between. */
static enum server_state judge_flag(struct sasl_server *server, struct slice flag)
{
    bool is_plus = server->mechanism == SASL_SCRAM_SHA_256_PLUS;
    if (slice_equal(flag, SLICE("n")))
        return is_plus ? SERVER_FAILED : SERVER_VERIFIER;
    if (slice_equal(flag, SLICE("y")))
        return is_plus || server->offered_plus ? SERVER_FAILED : SERVER_VERIFIER;
    if (flag.len < 3 || !slice_starts_with(flag, SLICE("p=")))
        return SERVER_MALFORMED;
    server->binding = find_binding(server, slice_skip(flag, 2));
    return is_plus && server->binding ? SERVER_VERIFIER : SERVER_FAILED;
}

/* Empty, or "a=" and the user's own name. */
static enum server_state judge_authzid(const struct sasl_server *server, struct slice authzid)
{
    char name[SASL_NAME_MAX];
    size_t len;
    if (authzid.len == 0)
        return SERVER_VERIFIER;
    if (!slice_starts_with(authzid, SLICE("a=")) || !scram_name_unescape(slice_skip(authzid, 2), name, &len))
        return SERVER_MALFORMED;
    return slice_equal(slice_of(name, len), user_of(server)) ? SERVER_VERIFIER : SERVER_FAILED;
}

static bool keep(struct buffer *b, struct slice s)
{
    return buffer_append(b, s) == RESULT_OK;
}

static bool keep_nonce(struct sasl_server *server, struct slice client_nonce)
{
    return scram_nonce_is_valid(client_nonce) && keep(&server->nonce, client_nonce) &&
           crypto_base64_encode(slice_of(server->random, sizeof server->random), &server->nonce) == RESULT_OK;
}

static enum server_state take_first(struct sasl_server *server, struct slice message)
{
    struct slice flag, authzid, bare, rest, name, nonce;
    buffer_clear(&server->challenge);
    if (message.len > SCRAM_FIRST_MAX || !slice_cut(message, ',', &flag, &rest) || !slice_cut(rest, ',', &authzid, &bare))
        return SERVER_MALFORMED;
    rest = bare;
    if (!scram_take(&rest, 'n', &name) || !scram_take(&rest, 'r', &nonce) || !scram_extensions_are_valid(rest) ||
        !scram_name_unescape(name, server->user, &server->user_len) || !keep_nonce(server, nonce))
        return SERVER_MALFORMED;
    if (!keep(&server->gs2_header, slice_take(message, message.len - bare.len)) || !keep(&server->auth, bare))
        return SERVER_MALFORMED;
    enum server_state judged = judge_flag(server, flag);
    return judged == SERVER_VERIFIER ? judge_authzid(server, authzid) : judged;
}

static enum server_state write_server_first(struct sasl_server *server)
{
    const struct scram_verifier *verifier = &server->secret->verifier;
    buffer_clear(&server->challenge);
    bool is_written = keep(&server->challenge, SLICE("r=")) && keep(&server->challenge, buffer_slice(&server->nonce)) &&
                      keep(&server->challenge, SLICE(",s=")) &&
                      crypto_base64_encode(slice_of(verifier->salt, verifier->salt_len), &server->challenge) == RESULT_OK &&
                      buffer_printf(&server->challenge, ",i=%lu", (unsigned long)verifier->iterations) == RESULT_OK &&
                      keep(&server->auth, SLICE(",")) && keep(&server->auth, buffer_slice(&server->challenge));
    assert(is_written);
    return SERVER_FINAL;
}

/* "c=" must be the header as it came, and this channel's binding: else somebody changed the one or sits in the other. */
static bool binding_is_right(const struct sasl_server *server, struct slice c)
{
    uint8_t octets[SCRAM_FIRST_MAX + SCRAM_BINDING_DATA_MAX];
    struct slice header = buffer_slice(&server->gs2_header), data = {0};
    size_t len;
    if (server->binding)
        data = slice_of(server->binding->data, server->binding->data_len);
    if (!crypto_base64_decode_to(c, octets, sizeof octets, &len))
        return false;
    struct slice sent = slice_of(octets, len);
    return slice_starts_with(sent, header) && crypto_equal(slice_skip(sent, header.len), data);
}

static enum server_state write_verdict(struct sasl_server *server)
{
    uint8_t signature[SCRAM_KEY];
    crypto_hmac_sha256(slice_of(server->secret->verifier.server_key, SCRAM_KEY), buffer_slice(&server->auth), signature);
    challenge_with(server, "v=");
    enum result result = crypto_base64_encode(slice_of(signature, sizeof signature), &server->challenge);
    assert(result == RESULT_OK);
    return SERVER_VERDICT;
}

static enum server_state take_final(struct sasl_server *server, struct slice message)
{
    struct slice rest = message, c, nonce, proof;
    uint8_t octets[SCRAM_KEY];
    size_t len;
    ptrdiff_t last_comma = slice_find_last(message, ',');
    if (message.len > SCRAM_FINAL_MAX || last_comma < 0)
        return SERVER_MALFORMED;
    struct slice without_proof = slice_take(message, (size_t)last_comma), last = slice_skip(message, (size_t)last_comma + 1);
    rest = without_proof;
    if (!scram_take(&rest, 'c', &c) || !scram_take(&rest, 'r', &nonce) || !scram_extensions_are_valid(rest) ||
        !scram_take(&last, 'p', &proof) || !crypto_base64_decode_to(proof, octets, sizeof octets, &len) || len != sizeof octets)
        return SERVER_MALFORMED;
    if (!keep(&server->auth, SLICE(",")) || !keep(&server->auth, without_proof))
        return SERVER_MALFORMED;
    bool is_right = scram_proof_is_right(slice_of(octets, len), server->secret->verifier.stored_key, buffer_slice(&server->auth));
    is_right &= slice_equal(nonce, buffer_slice(&server->nonce));
    is_right &= binding_is_right(server, c);
    return is_right && server->is_known ? write_verdict(server) : SERVER_FAILED;
}

/* ---- HT ---- */

/* authcid NUL initiator-hashed-token. What the proof is worth shows when the token is there. */
static enum server_state take_ht(struct sasl_server *server, struct slice message)
{
    struct slice user, proof;
    buffer_clear(&server->challenge);
    if (!slice_cut(message, '\0', &user, &proof) || user.len == 0 || proof.len != SCRAM_KEY)
        return SERVER_MALFORMED;
    server->binding = find_binding(server, SLICE("tls-exporter"));
    if (!server->binding || server->binding->data_len == 0 || !set_user(server, user))
        return SERVER_FAILED;
    memcpy(server->secret->proof, proof.ptr, proof.len);
    return SERVER_TOKEN;
}

static enum server_state judge_ht(struct sasl_server *server, struct slice token, bool is_known)
{
    uint8_t expected[SCRAM_KEY], own[SCRAM_KEY];
    struct slice binding = slice_of(server->binding->data, server->binding->data_len);
    sasl_ht_proof(token, SASL_HT_INITIATOR, binding, expected);
    sasl_ht_proof(token, SASL_HT_RESPONDER, binding, own);
    /* Both proofs are made and compared for an unknown device too: it costs what a wrong token costs. */
    bool is_right = crypto_equal(slice_of(expected, sizeof expected), slice_of(server->secret->proof, SCRAM_KEY));
    crypto_wipe(expected, sizeof expected);
    is_right &= is_known;
    buffer_clear(&server->challenge);
    enum result result = is_right ? crypto_base64_encode(slice_of(own, sizeof own), &server->challenge) : RESULT_OK;
    assert(result == RESULT_OK);
    crypto_wipe(own, sizeof own);
    return is_right ? SERVER_SUCCEEDED : SERVER_FAILED;
}

/* ---- steps ---- */

void sasl_server_response(struct sasl_server *server, struct slice response, struct sasl_server_step *step)
{
    enum server_state next = server->state;
    switch (server->state) {
    case SERVER_MESSAGE: next = is_ht(server) ? take_ht(server, response) : take_plain(server, response); break;
    case SERVER_NAME: next = take_login_name(server, response); break;
    case SERVER_PASSWORD: next = take_login_password(server, response); break;
    case SERVER_FIRST: next = take_first(server, response); break;
    case SERVER_FINAL: next = take_final(server, response); break;
    case SERVER_VERDICT:
        buffer_clear(&server->challenge);
        next = response.len == 0 ? SERVER_SUCCEEDED : SERVER_MALFORMED;
        break;
    case SERVER_CHECKING:
    case SERVER_VERIFIER:
    case SERVER_TOKEN:
    case SERVER_SUCCEEDED:
    case SERVER_FAILED:
    case SERVER_MALFORMED: break;
    }
    go(server, next);
    tell(server, step);
}

void sasl_server_start(struct sasl_server *server, bool has_initial, struct slice initial, struct sasl_server_step *step)
{
    if (has_initial) {
        sasl_server_response(server, initial, step);
        return;
    }
    if (server->state == SERVER_NAME)
        challenge_with(server, "Username:");
    tell(server, step);
}

void sasl_server_password_checked(struct sasl_server *server, bool is_right, struct sasl_server_step *step)
{
    assert(server->state == SERVER_CHECKING);
    go(server, is_right ? SERVER_SUCCEEDED : SERVER_FAILED);
    tell(server, step);
}

void sasl_server_verifier_found(struct sasl_server *server, const struct scram_verifier *verifier, bool is_known, struct sasl_server_step *step)
{
    assert(server->state == SERVER_VERIFIER && verifier->salt_len <= SCRAM_SALT_MAX);
    server->secret->verifier = *verifier;
    server->is_known = is_known;
    go(server, write_server_first(server));
    tell(server, step);
}

void sasl_server_token_found(struct sasl_server *server, const uint8_t *token, bool is_known, struct sasl_server_step *step)
{
    assert(server->state == SERVER_TOKEN);
    go(server, judge_ht(server, slice_of(token, SASL_TOKEN), is_known));
    tell(server, step);
}
