/* One TLS connection as a byte filter; see tls_internal.h.
 *
 * 1 Nothing is written for the owner before the handshake is over and the identity that the context demands is proved.
 * 2 A pin is looked for in the certificate callback, so a stranger's server gets an alert and nothing else, and again at the end.
 * 3 Only sessions with a proved identity are kept for resumption (or such as never demanded one). */
#define MBEDTLS_ALLOW_PRIVATE_ACCESS /* the record buffers (tls_session_rest), the state (resumed or not), the number of an alert */
#include "net/tls_context.h"

#include "crypto/crypto.h"

#include <assert.h>
#include <limits.h>
#include <mbedtls/error.h>
#include <mbedtls/version.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COUNTER = 8 /* octets of a record's sequence number */, WORDS_MAX = 160 };

/* Where the pointers of a resting buffer stood. */
struct rest {
    bool is_resting;
    unsigned char counter[COUNTER];
    ptrdiff_t len, iv, msg;
};

struct tls_session {
    struct tls_context *context;
    mbedtls_ssl_context ssl;
    struct rest in_rest, out_rest;
    struct slice *in;   /* during a call: the peer's octets */
    struct buffer *out; /* during a call: octets for the peer */
    bool has_begun;         /* some octet of the peer was looked at */
    bool has_shown_certificate;
    bool is_secure;
    bool has_pinned_key;
    bool has_strange_key;
    uint8_t strange_pin[TLS_PIN];
    char *server_name;      /* for the cache; NULL: none */
    char *whose;            /* the names in the certificate, until the identity is proved; NULL: none was seen */
    struct tls_info info;
    uint8_t exporter[TLS_EXPORTER];
    uint8_t end_point[TLS_HASH_MAX];
    size_t end_point_len;
    enum tls_failure failure;
    char words[WORDS_MAX];
};

static const struct {
    int id;
    const char *name;
} SUITE_NAMES[] = {
    {MBEDTLS_TLS1_3_AES_128_GCM_SHA256, "TLS_AES_128_GCM_SHA256"},
    {MBEDTLS_TLS1_3_AES_256_GCM_SHA384, "TLS_AES_256_GCM_SHA384"},
    {MBEDTLS_TLS1_3_CHACHA20_POLY1305_SHA256, "TLS_CHACHA20_POLY1305_SHA256"},
    {MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"},
    {MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"},
    {MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"},
    {MBEDTLS_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"},
    {MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"},
    {MBEDTLS_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"},
};

static const struct {
    int number;
    const char *name;
} ALERT_NAMES[] = {
    {MBEDTLS_SSL_ALERT_MSG_HANDSHAKE_FAILURE, "handshake failure"},
    {MBEDTLS_SSL_ALERT_MSG_BAD_CERT, "bad certificate"},
    {MBEDTLS_SSL_ALERT_MSG_CERT_EXPIRED, "certificate expired"},
    {MBEDTLS_SSL_ALERT_MSG_CERT_UNKNOWN, "certificate unknown"},
    {MBEDTLS_SSL_ALERT_MSG_UNKNOWN_CA, "unknown CA"},
    {MBEDTLS_SSL_ALERT_MSG_ACCESS_DENIED, "access denied"},
    {MBEDTLS_SSL_ALERT_MSG_PROTOCOL_VERSION, "protocol version"},
    {MBEDTLS_SSL_ALERT_MSG_INSUFFICIENT_SECURITY, "insufficient security"},
    {MBEDTLS_SSL_ALERT_MSG_UNRECOGNIZED_NAME, "unrecognized name"},
};

static const char NO_ALPN_IN_COMMON[] = "no application protocol (ALPN) in common";

const char *tls_failure_name(enum tls_failure failure)
{
    switch (failure) {
    case TLS_FAIL_NONE: return "none";
    case TLS_FAIL_NOT_TLS: return "not-tls";
    case TLS_FAIL_WRONG_KEY: return "wrong-key";
    case TLS_FAIL_UNTRUSTED: return "untrusted";
    case TLS_FAIL_WRONG_NAME: return "wrong-name";
    case TLS_FAIL_EXPIRED: return "expired";
    case TLS_FAIL_ALERT: return "alert";
    case TLS_FAIL_ALPN: return "alpn";
    case TLS_FAIL_CLOSED: return "closed";
    case TLS_FAIL_PROTOCOL: return "protocol";
    case TLS_FAIL_MEMORY: return "memory";
    }
    return "unknown";
}

/* ---- failures ---- */

static enum tls_step fail(struct tls_session *session, enum tls_failure failure, const char *words)
{
    session->failure = failure;
    snprintf(session->words, sizeof session->words, "%s", words);
    return TLS_STEP_FAILED;
}

static enum tls_step fail_certificate(struct tls_session *session)
{
    uint32_t flags = mbedtls_ssl_get_verify_result(&session->ssl);
    if (flags & (MBEDTLS_X509_BADCERT_NOT_TRUSTED | MBEDTLS_X509_BADCERT_BAD_MD | MBEDTLS_X509_BADCERT_BAD_PK | MBEDTLS_X509_BADCERT_BAD_KEY))
        return fail(session, TLS_FAIL_UNTRUSTED, "the certificate does not lead to a trusted authority");
    if (flags & MBEDTLS_X509_BADCERT_CN_MISMATCH)
        return fail(session, TLS_FAIL_WRONG_NAME, "the certificate is for another name");
    if (flags & MBEDTLS_X509_BADCERT_EXPIRED)
        return fail(session, TLS_FAIL_EXPIRED, "the certificate has expired, or this clock is wrong");
    if (flags & MBEDTLS_X509_BADCERT_FUTURE)
        return fail(session, TLS_FAIL_EXPIRED, "the certificate is not valid yet, or this clock is wrong");
    return fail(session, TLS_FAIL_UNTRUSTED, "the certificate may not be used for this");
}

static enum tls_step fail_strange_key(struct tls_session *session)
{
    char pin[TLS_PIN_TEXT], words[WORDS_MAX];
    tls_pin_format(session->strange_pin, pin);
    snprintf(words, sizeof words, "the certificate has another key: %s", pin);
    return fail(session, TLS_FAIL_WRONG_KEY, words);
}

static enum tls_step fail_alert(struct tls_session *session, int number)
{
    char words[WORDS_MAX];
    const char *name = NULL;
    if (number == MBEDTLS_SSL_ALERT_MSG_NO_APPLICATION_PROTOCOL)
        return fail(session, TLS_FAIL_ALPN, session->context->is_server ? NO_ALPN_IN_COMMON : "the other side does not take the application protocol (ALPN) that we offer");
    for (size_t i = 0; i < sizeof ALERT_NAMES / sizeof ALERT_NAMES[0]; i++)
        if (ALERT_NAMES[i].number == number)
            name = ALERT_NAMES[i].name;
    if (name)
        snprintf(words, sizeof words, "the other side ended TLS with the alert \"%s\"", name);
    else
        snprintf(words, sizeof words, "the other side ended TLS with alert %d", number);
    return fail(session, TLS_FAIL_ALERT, words);
}

/* RFC 7301 3.1: the server's list holds exactly one name, of ours. (No list at all: a server that knows nothing of ALPN, and is welcome.) mbedTLS says no more than that something in the
 * message is wrong; nothing else in it is refused with these errors when it comes from a server that works. */
static bool has_chosen_another(const struct tls_session *session, int error)
{
    if (session->context->is_server || !session->ssl.conf->alpn_list)
        return false;
    if (session->ssl.tls_version == MBEDTLS_SSL_VERSION_TLS1_2) /* the state is counted up before the ServerHello's extensions are read */
        return session->ssl.state <= MBEDTLS_SSL_SERVER_CERTIFICATE && error == MBEDTLS_ERR_SSL_HANDSHAKE_FAILURE;
    return session->ssl.state == MBEDTLS_SSL_ENCRYPTED_EXTENSIONS && error == MBEDTLS_ERR_SSL_BAD_INPUT_DATA;
}

static bool is_out_of_memory(int error)
{
    return error == MBEDTLS_ERR_SSL_ALLOC_FAILED || error == MBEDTLS_ERR_X509_ALLOC_FAILED || error == MBEDTLS_ERR_PK_ALLOC_FAILED ||
           error == MBEDTLS_ERR_MPI_ALLOC_FAILED || error == MBEDTLS_ERR_ECP_ALLOC_FAILED || error == MBEDTLS_ERR_ASN1_ALLOC_FAILED ||
           error == MBEDTLS_ERR_MD_ALLOC_FAILED || error == MBEDTLS_ERR_CIPHER_ALLOC_FAILED;
}

static enum tls_step fail_with(struct tls_session *session, int error)
{
    char words[WORDS_MAX];
    if (session->has_strange_key)
        return fail_strange_key(session);
    if (is_out_of_memory(error))
        return fail(session, TLS_FAIL_MEMORY, "out of memory");
    if (has_chosen_another(session, error))
        return fail(session, TLS_FAIL_ALPN, "the other side chose an application protocol (ALPN) that we did not offer");
    switch (error) {
    case MBEDTLS_ERR_X509_CERT_VERIFY_FAILED:
    case MBEDTLS_ERR_SSL_BAD_CERTIFICATE:
        return fail_certificate(session);
    case MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE:
        return fail_alert(session, session->ssl.in_msg ? session->ssl.in_msg[1] : 0);
    case MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY:
    case MBEDTLS_ERR_SSL_CONN_EOF:
        return fail(session, TLS_FAIL_CLOSED, "the connection ended in the middle of the TLS handshake");
    case MBEDTLS_ERR_SSL_NO_APPLICATION_PROTOCOL:
        return fail(session, TLS_FAIL_ALPN, NO_ALPN_IN_COMMON);
    case MBEDTLS_ERR_SSL_BAD_PROTOCOL_VERSION:
        return fail(session, TLS_FAIL_PROTOCOL, "no version of TLS in common: 1.2 or 1.3 is needed");
    case MBEDTLS_ERR_SSL_INVALID_MAC:
        return fail(session, TLS_FAIL_PROTOCOL, "a record was damaged on its way");
    default:
        snprintf(words, sizeof words, "TLS broke down (mbedTLS -0x%04X)", (unsigned)-error);
        return fail(session, TLS_FAIL_PROTOCOL, words);
    }
}

/* A TLS 1.3 client that refuses our certificate says so in the clear where it has no keys yet (mbedTLS does), and mbedTLS as a server takes that for
 * a damaged record. The handshake has failed either way; this is for the words. The number of a fatal alert at the end of the input, or -1. */
static int clear_alert(struct slice in)
{
    static const unsigned char header[] = {MBEDTLS_SSL_MSG_ALERT, 3, 3, 0, 2, MBEDTLS_SSL_ALERT_LEVEL_FATAL};
    if (in.len < sizeof header + 1 || memcmp(in.ptr + in.len - sizeof header - 1, header, sizeof header) != 0)
        return -1;
    return (unsigned char)in.ptr[in.len - 1];
}

/* ---- the two memory ends ---- */

static int bio_send(void *opaque, const unsigned char *octets, size_t len)
{
    struct tls_session *session = opaque;
    if (buffer_append(session->out, slice_of(octets, len)) != RESULT_OK)
        return MBEDTLS_ERR_SSL_ALLOC_FAILED;
    return (int)len;
}

static int bio_receive(void *opaque, unsigned char *to, size_t room)
{
    struct tls_session *session = opaque;
    size_t n = session->in->len < room ? session->in->len : room;
    if (n == 0)
        return MBEDTLS_ERR_SSL_WANT_READ;
    memcpy(to, session->in->ptr, n);
    *session->in = slice_skip(*session->in, n);
    return (int)n;
}

/* Not mbedtls_ssl_is_handshake_over, which already says so while a session ticket of TLS 1.3 is still to be written or read. */
static bool is_over(const struct tls_session *session)
{
    return session->ssl.state == MBEDTLS_SSL_HANDSHAKE_OVER;
}

/* ---- resting buffers ---- */

/* mbedTLS keeps 2 x 17 KiB per connection for good. Between records nothing in them is needed but the input's sequence number, so an idle
 * connection hands them back. This leans on the inside of mbedTLS 3.6, an LTS whose structures stay; another version keeps its buffers. */
#if MBEDTLS_VERSION_MAJOR == 3 && MBEDTLS_VERSION_MINOR == 6 && MBEDTLS_VERSION_PATCH >= 3 && defined(MBEDTLS_SSL_VARIABLE_BUFFER_LENGTH)
#define CAN_REST 1
#else
#define CAN_REST 0
#endif

#if CAN_REST
static void rest_input(struct tls_session *session)
{
    mbedtls_ssl_context *ssl = &session->ssl;
    struct rest *rest = &session->in_rest;
    bool is_used = ssl->in_left != 0 || ssl->in_offt != NULL || ssl->keep_current_message != 0 || ssl->in_hslen != 0 ||
                   ssl->badmac_seen_or_in_hsfraglen != 0;
    if (rest->is_resting || is_used || ssl->in_ctr != ssl->in_buf || ssl->in_hdr != ssl->in_buf + COUNTER)
        return;
    memcpy(rest->counter, ssl->in_ctr, COUNTER);
    rest->len = ssl->in_len - ssl->in_buf;
    rest->iv = ssl->in_iv - ssl->in_buf;
    rest->msg = ssl->in_msg - ssl->in_buf;
    free(ssl->in_buf); /* mbedTLS has wiped the plaintext in it (ssl_read_application_data) */
    ssl->in_buf = ssl->in_ctr = ssl->in_hdr = ssl->in_len = ssl->in_iv = ssl->in_msg = NULL;
    rest->is_resting = true;
}

static void rest_output(struct tls_session *session)
{
    mbedtls_ssl_context *ssl = &session->ssl;
    struct rest *rest = &session->out_rest;
    if (rest->is_resting || ssl->out_left != 0 || ssl->out_ctr != ssl->out_buf || ssl->out_hdr != ssl->out_buf + COUNTER)
        return;
    rest->len = ssl->out_len - ssl->out_buf;
    rest->iv = ssl->out_iv - ssl->out_buf;
    rest->msg = ssl->out_msg - ssl->out_buf;
    free(ssl->out_buf); /* it holds ciphertext */
    ssl->out_buf = ssl->out_ctr = ssl->out_hdr = ssl->out_len = ssl->out_iv = ssl->out_msg = NULL;
    rest->is_resting = true;
}

static bool wake_input(struct tls_session *session)
{
    mbedtls_ssl_context *ssl = &session->ssl;
    const struct rest *rest = &session->in_rest;
    if (!rest->is_resting)
        return true;
    unsigned char *memory = malloc(ssl->in_buf_len);
    if (!memory)
        return false;
    memcpy(memory, rest->counter, COUNTER);
    ssl->in_buf = ssl->in_ctr = memory;
    ssl->in_hdr = memory + COUNTER;
    ssl->in_len = memory + rest->len;
    ssl->in_iv = memory + rest->iv;
    ssl->in_msg = memory + rest->msg;
#if defined(MBEDTLS_SSL_DTLS_CONNECTION_ID)
    ssl->in_cid = ssl->in_len;
#endif
    session->in_rest.is_resting = false;
    return true;
}

static bool wake_output(struct tls_session *session)
{
    mbedtls_ssl_context *ssl = &session->ssl;
    const struct rest *rest = &session->out_rest;
    if (!rest->is_resting)
        return true;
    unsigned char *memory = malloc(ssl->out_buf_len);
    if (!memory)
        return false;
    memcpy(memory, ssl->cur_out_ctr, COUNTER);
    ssl->out_buf = ssl->out_ctr = memory;
    ssl->out_hdr = memory + COUNTER;
    ssl->out_len = memory + rest->len;
    ssl->out_iv = memory + rest->iv;
    ssl->out_msg = memory + rest->msg;
#if defined(MBEDTLS_SSL_DTLS_CONNECTION_ID)
    ssl->out_cid = ssl->out_len;
#endif
    session->out_rest.is_resting = false;
    return true;
}

void tls_session_rest(struct tls_session *session)
{
    if (!session->is_secure || !is_over(session))
        return;
    rest_input(session);
    rest_output(session);
}
#else
static bool wake_input(struct tls_session *session)
{
    (void)session;
    return true;
}

static bool wake_output(struct tls_session *session)
{
    (void)session;
    return true;
}

void tls_session_rest(struct tls_session *session)
{
    (void)session;
}
#endif

/* ---- identity ---- */

static int on_certificate(void *opaque, mbedtls_x509_crt *certificate, int depth, uint32_t *flags)
{
    struct tls_session *session = opaque;
    uint8_t pin[TLS_PIN];
    if (depth != 0)
        return 0;
    session->end_point_len = tls_certificate_end_point(certificate, session->end_point);
    if (!session->whose)
        session->whose = tls_certificate_whose(certificate);
    if (session->context->identity != TLS_IDENTITY_PINS)
        return 0;
    tls_certificate_pin(certificate, pin);
    if (tls_context_has_pin(session->context, pin)) {
        session->has_pinned_key = true;
        *flags = 0; /* names, dates and chains do not matter */
        return 0;
    }
    memcpy(session->strange_pin, pin, TLS_PIN);
    session->has_strange_key = true;
    return MBEDTLS_ERR_X509_FATAL_ERROR; /* ends the handshake here, also with VERIFY_OPTIONAL */
}

/* ---- resumption ---- */

static void resume_kept(struct tls_session *session)
{
    struct tls_kept_session kept;
    mbedtls_ssl_session saved;
    if (!session->server_name || !tls_cache_take(&session->context->cache, session->server_name, &kept))
        return;
    mbedtls_ssl_session_init(&saved);
    if (mbedtls_ssl_session_load(&saved, kept.blob, kept.blob_len) == 0 && mbedtls_ssl_set_session(&session->ssl, &saved) == 0) {
        memcpy(session->end_point, kept.end_point, kept.end_point_len);
        session->end_point_len = kept.end_point_len;
    }
    mbedtls_ssl_session_free(&saved);
    crypto_wipe(kept.blob, kept.blob_len);
    free(kept.blob);
}

/* A ticket has come. Failing to keep it costs a full handshake next time, nothing else. */
static void keep(struct tls_session *session)
{
    mbedtls_ssl_session fresh;
    size_t len = 0;
    if (session->context->is_server || !session->server_name)
        return;
    mbedtls_ssl_session_init(&fresh);
    if (mbedtls_ssl_get_session(&session->ssl, &fresh) == 0 &&
        mbedtls_ssl_session_save(&fresh, NULL, 0, &len) == MBEDTLS_ERR_SSL_BUFFER_TOO_SMALL && len <= TLS_CACHE_BLOB_MAX) {
        unsigned char *blob = malloc(len);
        if (blob && mbedtls_ssl_session_save(&fresh, blob, len, &len) == 0)
            tls_cache_put(&session->context->cache, session->server_name, blob, len, session->end_point, session->end_point_len);
        else
            free(blob);
    }
    mbedtls_ssl_session_free(&fresh);
}

/* ---- life ---- */

static int set_up(struct tls_session *session, const char *server_name, enum path_alpn alpn)
{
    const mbedtls_ssl_config *config = &session->context->configs[session->context->is_server ? 0 : alpn];
    int failed = mbedtls_ssl_setup(&session->ssl, config);
    if (failed) {
        /* mbedTLS 3.6.6 clears it when memory runs out late in there, and then follows it in mbedtls_ssl_free. */
        session->ssl.conf = config;
        return failed;
    }
    mbedtls_ssl_set_bio(&session->ssl, session, bio_send, bio_receive, NULL);
    if (session->context->is_server)
        return 0;
    mbedtls_ssl_set_verify(&session->ssl, on_certificate, session);
    failed = mbedtls_ssl_set_hostname(&session->ssl, server_name);
    if (failed)
        return failed;
    if (server_name && !(session->server_name = strdup(server_name)))
        return MBEDTLS_ERR_SSL_ALLOC_FAILED;
    resume_kept(session);
    return 0;
}

enum result tls_session_new(struct tls_session **out, struct tls_context *context, const char *server_name, enum path_alpn alpn)
{
    struct tls_session *session = calloc(1, sizeof *session);
    *out = NULL;
    if (!session)
        return RESULT_MEMORY;
    /* A chain without a name proves nothing (RFC 9525); the caller's mistake. */
    assert(context->is_server || context->identity != TLS_IDENTITY_CA || server_name);
    session->context = tls_context_ref(context);
    mbedtls_ssl_init(&session->ssl);
    if (set_up(session, server_name, alpn) != 0) {
        tls_session_free(&session);
        return RESULT_MEMORY;
    }
    *out = session;
    return RESULT_OK;
}

void tls_session_free(struct tls_session **session)
{
    struct tls_session *gone = *session;
    if (!gone)
        return;
    *session = NULL;
    mbedtls_ssl_free(&gone->ssl);
    tls_context_unref(&gone->context);
    free(gone->server_name);
    free(gone->whose);
    crypto_wipe(gone->exporter, sizeof gone->exporter);
    free(gone);
}

/* ---- the handshake ---- */

static void add_binding(struct tls_info *info, struct slice name, const uint8_t *data, size_t len)
{
    if (len > 0)
        info->bindings[info->nbindings++] = (struct sasl_binding){name, slice_of(data, len)};
}

static void learn(struct tls_session *session)
{
    static const char label[] = "EXPORTER-Channel-Binding";
    struct tls_info *info = &session->info;
    int suite = mbedtls_ssl_get_ciphersuite_id_from_ssl(&session->ssl);
    const char *alpn = mbedtls_ssl_get_alpn_protocol(&session->ssl);
    bool is_13 = mbedtls_ssl_get_version_number(&session->ssl) == MBEDTLS_SSL_VERSION_TLS1_3;
    info->version = is_13 ? "TLSv1.3" : "TLSv1.2";
    info->cipher = "unknown";
    for (size_t i = 0; i < sizeof SUITE_NAMES / sizeof SUITE_NAMES[0]; i++)
        if (SUITE_NAMES[i].id == suite)
            info->cipher = SUITE_NAMES[i].name;
    info->alpn = alpn ? alpn : "";
    info->is_resumed = !session->has_shown_certificate;
    info->is_verified = !session->context->is_server && session->context->identity != TLS_IDENTITY_ANY;
    if (is_13 && mbedtls_ssl_export_keying_material(&session->ssl, session->exporter, TLS_EXPORTER, label, sizeof label - 1,
                                                    (const unsigned char *)"", 0, 1) == 0)
        add_binding(info, SLICE("tls-exporter"), session->exporter, TLS_EXPORTER);
    if (session->context->is_server)
        add_binding(info, SLICE("tls-server-end-point"), session->context->end_point, session->context->end_point_len);
    else
        add_binding(info, SLICE("tls-server-end-point"), session->end_point, session->end_point_len);
}

/* mbedTLS has checked what it was told to check; this is the second look, before anything of the owner's is sent. */
static bool has_identity(struct tls_session *session)
{
    if (session->context->is_server || !session->has_shown_certificate)
        return true; /* resumed: the ticket came from a session whose identity was proved under this context */
    const mbedtls_x509_crt *certificate = mbedtls_ssl_get_peer_cert(&session->ssl);
    if (session->context->identity == TLS_IDENTITY_ANY) {
        if (certificate) /* without verification there was no callback */
            session->end_point_len = tls_certificate_end_point(certificate, session->end_point);
        return true;
    }
    if (session->context->identity == TLS_IDENTITY_CA)
        return mbedtls_ssl_get_verify_result(&session->ssl) == 0;
    uint8_t pin[TLS_PIN];
    if (!certificate || !session->has_pinned_key)
        return false;
    tls_certificate_pin(certificate, pin);
    return tls_context_has_pin(session->context, pin);
}

static bool is_tls(struct slice in)
{
    unsigned char first = (unsigned char)in.ptr[0];
    return (first == MBEDTLS_SSL_MSG_HANDSHAKE || first == MBEDTLS_SSL_MSG_ALERT) && (in.len < 2 || in.ptr[1] == 3);
}

static enum tls_step handshake_done(struct tls_session *session)
{
    if (!has_identity(session))
        return fail(session, session->context->identity == TLS_IDENTITY_PINS ? TLS_FAIL_WRONG_KEY : TLS_FAIL_UNTRUSTED,
                    "the server did not prove who it is");
    learn(session);
    session->is_secure = true;
    free(session->whose);
    session->whose = NULL;
    if (mbedtls_ssl_get_version_number(&session->ssl) == MBEDTLS_SSL_VERSION_TLS1_2)
        keep(session); /* 1.2 has brought its ticket by now, 1.3 sends it later */
    return TLS_STEP_OK;
}

enum tls_step tls_session_handshake(struct tls_session *session, struct slice *in, struct buffer *out)
{
    int error = 0;
    if (session->failure != TLS_FAIL_NONE)
        return TLS_STEP_FAILED;
    if (!session->has_begun && in->len > 0) {
        if (!is_tls(*in))
            return fail(session, TLS_FAIL_NOT_TLS, "what answers does not speak TLS");
        session->has_begun = true;
    }
    struct slice whole = *in;
    session->in = in;
    session->out = out;
    while (error == 0 && !is_over(session)) {
        if (session->ssl.state == MBEDTLS_SSL_SERVER_CERTIFICATE)
            session->has_shown_certificate = true;
        error = mbedtls_ssl_handshake_step(&session->ssl);
    }
    if (error == MBEDTLS_ERR_SSL_WANT_READ || error == MBEDTLS_ERR_SSL_WANT_WRITE)
        return TLS_STEP_WANT_INPUT;
    if (error == MBEDTLS_ERR_SSL_INVALID_MAC && session->context->is_server && clear_alert(whole) >= 0)
        return fail_alert(session, clear_alert(whole));
    return error ? fail_with(session, error) : handshake_done(session);
}

/* ---- data ---- */

enum tls_step tls_session_read(struct tls_session *session, struct slice *in, char *to, size_t room, size_t *got, struct buffer *out)
{
    assert(session->is_secure);
    if (session->failure != TLS_FAIL_NONE)
        return TLS_STEP_FAILED;
    if (in->len == 0)
        return TLS_STEP_WANT_INPUT;
    if (!wake_input(session) || !wake_output(session)) /* output: for an alert */
        return fail(session, TLS_FAIL_MEMORY, "out of memory");
    session->in = in;
    session->out = out;
    while (room - *got >= TLS_RECORD_MAX) {
        int n = mbedtls_ssl_read(&session->ssl, (unsigned char *)to + *got, room - *got);
        if (n > 0) {
            *got += (size_t)n;
        } else if (n == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET) {
            keep(session);
        } else if (n == MBEDTLS_ERR_SSL_WANT_READ || n == MBEDTLS_ERR_SSL_WANT_WRITE) {
            /* A ticket is announced by WANT_READ first, and a warning alert, too: only without input is there nothing more. */
            if (in->len == 0 && is_over(session))
                return TLS_STEP_WANT_INPUT;
        } else if (n == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY) {
            return TLS_STEP_EOF;
        } else {
            return n == 0 ? fail_with(session, MBEDTLS_ERR_SSL_CONN_EOF) : fail_with(session, n);
        }
    }
    return TLS_STEP_OK;
}

enum tls_step tls_session_write(struct tls_session *session, struct slice *plain, struct buffer *out)
{
    assert(session->is_secure);
    if (session->failure != TLS_FAIL_NONE)
        return TLS_STEP_FAILED;
    if (plain->len == 0)
        return TLS_STEP_OK;
    if (!wake_output(session))
        return fail(session, TLS_FAIL_MEMORY, "out of memory");
    session->out = out;
    int n = mbedtls_ssl_write(&session->ssl, (const unsigned char *)plain->ptr, plain->len < TLS_RECORD_MAX ? plain->len : TLS_RECORD_MAX);
    if (n <= 0)
        return fail_with(session, n);
    *plain = slice_skip(*plain, (size_t)n);
    return TLS_STEP_OK;
}

void tls_session_close_notify(struct tls_session *session, struct buffer *out)
{
    if (!session->is_secure || session->failure != TLS_FAIL_NONE || !wake_output(session))
        return;
    session->out = out;
    if (mbedtls_ssl_close_notify(&session->ssl) != 0)
        fail(session, TLS_FAIL_MEMORY, "out of memory");
}

const struct tls_info *tls_session_info(const struct tls_session *session)
{
    return session->is_secure ? &session->info : NULL;
}

enum tls_failure tls_session_failure(const struct tls_session *session)
{
    return session->failure;
}

const char *tls_session_failure_words(const struct tls_session *session)
{
    return session->words;
}

const char *tls_session_failure_whose(const struct tls_session *session)
{
    switch (session->failure) {
    case TLS_FAIL_WRONG_KEY:
    case TLS_FAIL_UNTRUSTED:
    case TLS_FAIL_WRONG_NAME:
    case TLS_FAIL_EXPIRED:
        return session->whose ? session->whose : "";
    case TLS_FAIL_NONE:
    case TLS_FAIL_NOT_TLS:
    case TLS_FAIL_ALERT:
    case TLS_FAIL_ALPN:
    case TLS_FAIL_CLOSED:
    case TLS_FAIL_PROTOCOL:
    case TLS_FAIL_MEMORY:
        break;
    }
    return "";
}
