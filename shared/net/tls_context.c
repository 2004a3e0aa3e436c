/* Contexts: what all TLS sessions of one kind share. */
#include "net/tls_context.h"

#include "crypto/crypto.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <psa/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { FILE_MAX = 4 * 1024 * 1024 }; /* octets of a PEM file */

static const char SYSTEM_CAS[] = "/etc/ssl/certs/ca-certificates.crt";

/* RFC 9325 4.2: forward secrecy and AEAD. For TLS 1.3 the server takes the client's first, for 1.2 its own. ChaCha20 is the quickest in mbedTLS, by an
 * eighth even against AES-128 with AES-NI (tests/bench/bench_tls.c), and needs no hardware to be so in constant time. */
static const int SUITES[] = {
    MBEDTLS_TLS1_3_CHACHA20_POLY1305_SHA256,
    MBEDTLS_TLS1_3_AES_128_GCM_SHA256,
    MBEDTLS_TLS1_3_AES_256_GCM_SHA384,
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    MBEDTLS_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    MBEDTLS_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    0,
};

/* X25519 first: half the cost of the next. */
static const uint16_t GROUPS[] = {
    MBEDTLS_SSL_IANA_TLS_GROUP_X25519,
    MBEDTLS_SSL_IANA_TLS_GROUP_SECP256R1,
    MBEDTLS_SSL_IANA_TLS_GROUP_SECP384R1,
    MBEDTLS_SSL_IANA_TLS_GROUP_NONE,
};

int tls_random(void *unused, unsigned char *out, size_t len)
{
    (void)unused;
    crypto_random(out, len);
    return 0;
}

void tls_certificate_pin(const mbedtls_x509_crt *certificate, uint8_t pin[static TLS_PIN])
{
    crypto_sha256(slice_of(certificate->pk_raw.p, certificate->pk_raw.len), pin);
}

size_t tls_certificate_end_point(const mbedtls_x509_crt *certificate, uint8_t out[static TLS_HASH_MAX])
{
    mbedtls_md_type_t type = certificate->MBEDTLS_PRIVATE(sig_md);
    const mbedtls_md_info_t *hash = NULL;
    if (type != MBEDTLS_MD_MD5 && type != MBEDTLS_MD_SHA1)
        hash = mbedtls_md_info_from_type(type);
    if (!hash)
        hash = mbedtls_md_info_from_type(MBEDTLS_MD_SHA256);
    assert(mbedtls_md_get_size(hash) <= TLS_HASH_MAX);
    if (mbedtls_md(hash, certificate->raw.p, certificate->raw.len, out) != 0)
        return 0;
    return mbedtls_md_get_size(hash);
}

bool tls_context_has_pin(const struct tls_context *context, const uint8_t pin[static TLS_PIN])
{
    for (size_t i = 0; i < context->npins; i++)
        if (memcmp(context->pins[i], pin, TLS_PIN) == 0)
            return true;
    return false;
}

/* ---- files ---- */

static enum result tell(char *why, size_t why_size, enum result result, const char *file, const char *what)
{
    snprintf(why, why_size, "%s: %s", file, what);
    return result;
}

static enum result read_open_file(int fd, char **out, size_t *len)
{
    struct stat info;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size > FILE_MAX)
        return RESULT_SYNTAX;
    size_t size = (size_t)info.st_size, got = 0;
    char *text = calloc(1, size + 1);
    if (!text)
        return RESULT_MEMORY;
    while (got < size) {
        ssize_t n = read(fd, text + got, size - got);
        if (n <= 0)
            break;
        got += (size_t)n;
    }
    if (got < size) {
        explicit_bzero(text, size);
        free(text);
        return RESULT_IO;
    }
    *out = text;
    *len = size + 1; /* mbedTLS wants PEM with its NUL counted */
    return RESULT_OK;
}

/* The text of a PEM file with a NUL. A key is refused when anybody but its owner can read it. */
static enum result read_pem(const char *file, bool is_key, char **out, size_t *len, char *why, size_t why_size)
{
    struct stat info;
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return tell(why, why_size, errno == EACCES || errno == EPERM ? RESULT_DENIED : RESULT_NOT_FOUND, file, strerror(errno));
    enum result result;
    if (is_key && fstat(fd, &info) == 0 && (info.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        snprintf(why, why_size, "%s: others can read this private key; run: chmod 600 %s", file, file);
        result = RESULT_DENIED;
    } else {
        result = read_open_file(fd, out, len);
        if (result != RESULT_OK)
            tell(why, why_size, result, file, result == RESULT_MEMORY ? "out of memory" : "not a readable PEM file");
    }
    close(fd);
    return result;
}

static enum result load_certificates(mbedtls_x509_crt *into, const char *file, bool is_tolerant, char *why, size_t why_size)
{
    char *text = NULL;
    size_t len = 0;
    enum result result = read_pem(file, false, &text, &len, why, why_size);
    if (result != RESULT_OK)
        return result;
    /* Positive: so many certificates of the file were not understood. Among the system's CAs there may be algorithms we lack. */
    int failed = mbedtls_x509_crt_parse(into, (const unsigned char *)text, len);
    free(text);
    if (failed == MBEDTLS_ERR_X509_ALLOC_FAILED)
        return tell(why, why_size, RESULT_MEMORY, file, "out of memory");
    if (failed < 0 || (failed > 0 && !is_tolerant))
        return tell(why, why_size, RESULT_SYNTAX, file, "no certificates in PEM form, or broken ones");
    return RESULT_OK;
}

static enum result load_key(mbedtls_pk_context *into, const char *file, char *why, size_t why_size)
{
    char *text = NULL;
    size_t len = 0;
    enum result result = read_pem(file, true, &text, &len, why, why_size);
    if (result != RESULT_OK)
        return result;
    int failed = mbedtls_pk_parse_key(into, (const unsigned char *)text, len, NULL, 0, tls_random, NULL);
    explicit_bzero(text, len);
    free(text);
    if (failed == MBEDTLS_ERR_PK_ALLOC_FAILED)
        return tell(why, why_size, RESULT_MEMORY, file, "out of memory");
    if (failed != 0)
        return tell(why, why_size, RESULT_SYNTAX, file, "no private key in PEM form without a passphrase");
    return RESULT_OK;
}

/* ---- making ---- */

static void context_free(struct tls_context *context)
{
    for (size_t i = 0; i < TLS_CONFIGS; i++)
        mbedtls_ssl_config_free(&context->configs[i]);
    mbedtls_ssl_ticket_free(&context->tickets);
    mbedtls_pk_free(&context->key);
    mbedtls_x509_crt_free(&context->certificates);
    tls_cache_free(&context->cache);
    free(context);
}

static bool config_set_up(mbedtls_ssl_config *config, bool is_server)
{
    if (mbedtls_ssl_config_defaults(config, is_server ? MBEDTLS_SSL_IS_SERVER : MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM,
                                    MBEDTLS_SSL_PRESET_DEFAULT) != 0)
        return false;
    mbedtls_ssl_conf_rng(config, tls_random, NULL);
    mbedtls_ssl_conf_min_tls_version(config, MBEDTLS_SSL_VERSION_TLS1_2);
    mbedtls_ssl_conf_max_tls_version(config, MBEDTLS_SSL_VERSION_TLS1_3);
    mbedtls_ssl_conf_ciphersuites(config, SUITES);
    mbedtls_ssl_conf_groups(config, GROUPS);
    /* Resumption with a fresh key exchange, so that a stolen ticket key opens no recorded session (RFC 9325 4.4). */
    mbedtls_ssl_conf_tls13_key_exchange_modes(config, MBEDTLS_SSL_TLS1_3_KEY_EXCHANGE_MODE_EPHEMERAL |
                                                          MBEDTLS_SSL_TLS1_3_KEY_EXCHANGE_MODE_PSK_EPHEMERAL);
    return true;
}

static struct tls_context *context_new(bool is_server, const struct log *log)
{
    bool is_set_up = true;
    /* Both may be called any number of times; TLS 1.3 needs PSA, we libsodium. */
    if (crypto_init() != RESULT_OK || psa_crypto_init() != PSA_SUCCESS)
        return NULL;
    struct tls_context *context = calloc(1, sizeof *context);
    if (!context)
        return NULL;
    atomic_init(&context->references, 1);
    context->is_server = is_server;
    context->log = log;
    for (size_t i = 0; i < TLS_CONFIGS; i++)
        mbedtls_ssl_config_init(&context->configs[i]);
    mbedtls_ssl_ticket_init(&context->tickets);
    mbedtls_pk_init(&context->key);
    mbedtls_x509_crt_init(&context->certificates);
    tls_cache_init(&context->cache);
    for (size_t i = 0; i < (is_server ? 1 : TLS_CONFIGS); i++)
        is_set_up = is_set_up && config_set_up(&context->configs[i], is_server);
    if (!is_set_up) {
        context_free(context);
        return NULL;
    }
    return context;
}

/* also: a second name, copied; NULL: none. */
static enum result server_accept_alpn(struct tls_context *context, const char *also)
{
    context->alpn[0] = path_alpn_name(PATH_ALPN_SMTP);
    if (also) {
        if (strlen(also) >= sizeof context->alpn_text)
            return RESULT_LIMIT;
        memcpy(context->alpn_text, also, strlen(also) + 1);
        context->alpn[1] = context->alpn_text;
    }
    return mbedtls_ssl_conf_alpn_protocols(&context->configs[0], context->alpn) == 0 ? RESULT_OK : RESULT_SYNTAX;
}

static enum result server_load(struct tls_context *context, const struct tls_server_config *config, char *why, size_t why_size)
{
    enum result result = load_certificates(&context->certificates, config->certificate_file, false, why, why_size);
    if (result == RESULT_OK)
        result = load_key(&context->key, config->key_file, why, why_size);
    if (result != RESULT_OK)
        return result;
    if (mbedtls_pk_check_pair(&context->certificates.pk, &context->key, tls_random, NULL) != 0)
        return tell(why, why_size, RESULT_SYNTAX, config->key_file, "this key does not belong to the certificate");
    if (mbedtls_ssl_conf_own_cert(&context->configs[0], &context->certificates, &context->key) != 0 ||
        mbedtls_ssl_ticket_setup(&context->tickets, tls_random, NULL, MBEDTLS_CIPHER_AES_256_GCM, TLS_TICKET_LIFETIME_S) != 0 ||
        server_accept_alpn(context, config->alpn_also) != RESULT_OK)
        return tell(why, why_size, RESULT_MEMORY, config->certificate_file, "out of memory");
    mbedtls_ssl_conf_session_tickets_cb(&context->configs[0], mbedtls_ssl_ticket_write, mbedtls_ssl_ticket_parse, &context->tickets);
    mbedtls_ssl_conf_new_session_tickets(&context->configs[0], 1);
    mbedtls_ssl_conf_preference_order(&context->configs[0], MBEDTLS_SSL_SRV_CIPHERSUITE_ORDER_SERVER);
    return RESULT_OK;
}

static int64_t seconds_since_1970(const mbedtls_x509_time *at)
{
    struct tm parts = {.tm_year = at->year - 1900, .tm_mon = at->mon - 1, .tm_mday = at->day,
                       .tm_hour = at->hour, .tm_min = at->min, .tm_sec = at->sec};
    return (int64_t)timegm(&parts);
}

enum result tls_context_server(struct tls_context **out, const struct tls_server_config *config, char *why, size_t why_size)
{
    struct tls_context *context = context_new(true, config->log);
    *out = NULL;
    if (!context)
        return tell(why, why_size, RESULT_MEMORY, config->certificate_file, "out of memory");
    enum result result = server_load(context, config, why, why_size);
    if (result != RESULT_OK) {
        context_free(context);
        return result;
    }
    tls_certificate_pin(&context->certificates, context->pin);
    context->end_point_len = tls_certificate_end_point(&context->certificates, context->end_point);
    context->expires_s = seconds_since_1970(&context->certificates.valid_to);
    *out = context;
    return RESULT_OK;
}

static enum result client_identity(struct tls_context *context, const struct tls_client_config *config, char *why, size_t why_size)
{
    enum result result = RESULT_OK;
    context->identity = config->identity;
    switch (config->identity) {
    case TLS_IDENTITY_PINS:
        /* The verify callback of the session looks for the pin; without CAs nothing of the chain is computed. */
        assert(config->npins > 0 && config->npins <= TLS_PINS_MAX);
        memcpy(context->pins, config->pins, sizeof context->pins);
        context->npins = config->npins;
        break;
    case TLS_IDENTITY_CA:
        result = load_certificates(&context->certificates, config->ca_file ? config->ca_file : SYSTEM_CAS, config->ca_file == NULL, why, why_size);
        break;
    case TLS_IDENTITY_ANY:
        break;
    }
    return result;
}

/* The configuration that offers one ALPN, or none. */
static enum result client_config(struct tls_context *context, enum path_alpn alpn)
{
    static const int authmodes[] = {
        [TLS_IDENTITY_PINS] = MBEDTLS_SSL_VERIFY_OPTIONAL, [TLS_IDENTITY_CA] = MBEDTLS_SSL_VERIFY_REQUIRED, [TLS_IDENTITY_ANY] = MBEDTLS_SSL_VERIFY_NONE};
    mbedtls_ssl_config *config = &context->configs[alpn];
    mbedtls_ssl_conf_authmode(config, authmodes[context->identity]);
    if (context->identity == TLS_IDENTITY_CA)
        mbedtls_ssl_conf_ca_chain(config, &context->certificates, NULL);
    mbedtls_ssl_conf_session_tickets(config, MBEDTLS_SSL_SESSION_TICKETS_ENABLED);
    mbedtls_ssl_conf_tls13_enable_signal_new_session_tickets(config, MBEDTLS_SSL_TLS1_3_SIGNAL_NEW_SESSION_TICKETS_ENABLED);
    if (alpn == PATH_ALPN_NONE)
        return RESULT_OK;
    const char **list = &context->alpn[2 * (alpn - PATH_ALPN_SMTP)];
    list[0] = path_alpn_name(alpn);
    return mbedtls_ssl_conf_alpn_protocols(config, list) == 0 ? RESULT_OK : RESULT_MEMORY;
}

enum result tls_context_client(struct tls_context **out, const struct tls_client_config *config, char *why, size_t why_size)
{
    struct tls_context *context = context_new(false, config->log);
    enum result result = RESULT_MEMORY;
    *out = NULL;
    snprintf(why, why_size, "out of memory");
    if (context)
        result = client_identity(context, config, why, why_size);
    for (enum path_alpn alpn = PATH_ALPN_NONE; result == RESULT_OK && alpn <= PATH_ALPN_HTTP; alpn++)
        result = client_config(context, alpn);
    if (result != RESULT_OK) {
        if (context)
            context_free(context);
        return result;
    }
    *out = context;
    return RESULT_OK;
}

struct tls_context *tls_context_ref(struct tls_context *context)
{
    if (context)
        atomic_fetch_add_explicit(&context->references, 1, memory_order_relaxed);
    return context;
}

void tls_context_unref(struct tls_context **context)
{
    struct tls_context *gone = *context;
    *context = NULL;
    if (gone && atomic_fetch_sub_explicit(&gone->references, 1, memory_order_acq_rel) == 1)
        context_free(gone);
}

void tls_context_pin(const struct tls_context *context, uint8_t pin[static TLS_PIN])
{
    assert(context->is_server);
    memcpy(pin, context->pin, TLS_PIN);
}

int64_t tls_context_expires_s(const struct tls_context *context)
{
    return context->expires_s;
}
