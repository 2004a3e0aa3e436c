/* Signatures by the key of a certificate, outside of any handshake: for whom "is it you?" is asked in the clear (challenge.h). */
#include "net/tls_context.h"

#include "crypto/crypto.h"

#include <assert.h>
#include <mbedtls/asn1.h>
#include <mbedtls/bignum.h>
#include <mbedtls/ecp.h>
#include <mbedtls/md.h>
#include <mbedtls/oid.h>
#include <mbedtls/pem.h>
#include <mbedtls/pk.h>
#include <mbedtls/x509_crt.h>
#include <stdlib.h>
#include <string.h>

static const char PEM_BEGIN[] = "-----BEGIN CERTIFICATE-----\n", PEM_END[] = "-----END CERTIFICATE-----\n";

_Static_assert(TLS_SIGNATURE_MAX >= MBEDTLS_PK_SIGNATURE_MAX_SIZE, "room for any signature");

/* Its errors are sums: of a module in the upper bits, and of what it rests on in the lower seven. */
static bool is_memory(int error)
{
    int high = -(-error & 0xff80), low = -(-error & 0x7f);
    return high == MBEDTLS_ERR_X509_ALLOC_FAILED || high == MBEDTLS_ERR_PK_ALLOC_FAILED || high == MBEDTLS_ERR_ECP_ALLOC_FAILED || high == MBEDTLS_ERR_PEM_ALLOC_FAILED ||
           high == MBEDTLS_ERR_MD_ALLOC_FAILED || low == MBEDTLS_ERR_MPI_ALLOC_FAILED || low == MBEDTLS_ERR_ASN1_ALLOC_FAILED;
}

/* mbedTLS wants the key writable, for what it keeps inside about RSA; that has a lock of its own. */
enum result tls_context_sign(const struct tls_context *server, struct slice message, uint8_t signature[static TLS_SIGNATURE_MAX], size_t *len)
{
    uint8_t hash[CRYPTO_SHA256];
    mbedtls_pk_context *key = (mbedtls_pk_context *)(uintptr_t)&server->key;
    assert(server->is_server);
    crypto_sha256(message, hash);
    int failed = mbedtls_pk_sign(key, MBEDTLS_MD_SHA256, hash, sizeof hash, signature, TLS_SIGNATURE_MAX, len, tls_random, NULL);
    if (failed == 0)
        return RESULT_OK;
    return is_memory(failed) ? RESULT_MEMORY : RESULT_IO;
}

static enum result append_pem(const mbedtls_x509_crt *certificate, struct buffer *out)
{
    size_t size = 0;
    char *at;
    mbedtls_pem_write_buffer(PEM_BEGIN, PEM_END, certificate->raw.p, certificate->raw.len, NULL, 0, &size);
    enum result result = buffer_reserve(out, size, &at);
    if (result != RESULT_OK)
        return result;
    if (mbedtls_pem_write_buffer(PEM_BEGIN, PEM_END, certificate->raw.p, certificate->raw.len, (unsigned char *)at, size, &size) != 0)
        return RESULT_MEMORY; /* the only way left */
    buffer_commit(out, size - 1); /* without its NUL */
    return RESULT_OK;
}

enum result tls_context_chain_pem(const struct tls_context *server, struct buffer *out)
{
    enum result result = RESULT_OK;
    assert(server->is_server);
    for (const mbedtls_x509_crt *at = &server->certificates; at && at->raw.p && result == RESULT_OK; at = at->next)
        result = append_pem(at, out);
    return result;
}

/* ---- the other side ---- */

/* What a TLS handshake asks of a server's certificate besides its chain (RFC 5280 4.2.1.3, 4.2.1.12). */
static bool is_for_servers(const mbedtls_x509_crt *leaf)
{
    return mbedtls_x509_crt_check_key_usage(leaf, MBEDTLS_X509_KU_DIGITAL_SIGNATURE) == 0 &&
           mbedtls_x509_crt_check_extended_key_usage(leaf, MBEDTLS_OID_SERVER_AUTH, MBEDTLS_OID_SIZE(MBEDTLS_OID_SERVER_AUTH)) == 0;
}

static bool is_trusted(const struct tls_context *client, const char *server_name, mbedtls_x509_crt *chain)
{
    uint8_t pin[TLS_PIN];
    uint32_t flags = 0;
    switch (client->identity) {
    case TLS_IDENTITY_PINS:
        tls_certificate_pin(chain, pin);
        return tls_context_has_pin(client, pin);
    case TLS_IDENTITY_CA:
        return server_name && is_for_servers(chain) &&
               mbedtls_x509_crt_verify(chain, (mbedtls_x509_crt *)(uintptr_t)&client->certificates, NULL, server_name, &flags, NULL, NULL) == 0 && flags == 0;
    case TLS_IDENTITY_ANY:
        break; /* whoever believes anybody can be told by nobody */
    }
    return false;
}

static enum result check_signature(mbedtls_x509_crt *leaf, struct slice message, struct slice signature)
{
    uint8_t hash[CRYPTO_SHA256];
    crypto_sha256(message, hash);
    int failed = mbedtls_pk_verify(&leaf->pk, MBEDTLS_MD_SHA256, hash, sizeof hash, (const unsigned char *)signature.ptr, signature.len);
    return failed == 0 ? RESULT_OK : is_memory(failed) ? RESULT_MEMORY : RESULT_DENIED;
}

enum result tls_check_signed(const struct tls_context *client, const char *server_name, struct slice chain_pem, struct slice message, struct slice signature)
{
    mbedtls_x509_crt chain;
    assert(!client->is_server);
    if (chain_pem.len == 0 || memchr(chain_pem.ptr, '\0', chain_pem.len))
        return RESULT_DENIED;
    char *text = malloc(chain_pem.len + 1); /* mbedTLS wants PEM with its NUL counted */
    if (!text)
        return RESULT_MEMORY;
    memcpy(text, chain_pem.ptr, chain_pem.len);
    text[chain_pem.len] = '\0';
    mbedtls_x509_crt_init(&chain);
    int parsed = mbedtls_x509_crt_parse(&chain, (const unsigned char *)text, chain_pem.len + 1);
    enum result result = is_memory(parsed) ? RESULT_MEMORY : RESULT_DENIED;
    if (parsed == 0 && is_trusted(client, server_name, &chain))
        result = check_signature(&chain, message, signature);
    mbedtls_x509_crt_free(&chain);
    free(text);
    return result;
}
