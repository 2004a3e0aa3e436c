/* Who a server is: pins and names in text, and the making of a key with a certificate of its own. */
#include "net/tls_context.h"

#include "base/utf8.h"
#include "crypto/crypto.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <mbedtls/ecp.h>
#include <mbedtls/oid.h>
#include <mbedtls/pk.h>
#include <mbedtls/x509_crt.h>
#include <psa/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char PIN_PREFIX[] = "sha256//";
enum { PIN_BASE64 = 44, PEM_MAX = 4096, COMMON_NAME_MAX = 64, VALID_YEARS = 10, NAME_TEXT = 72 };

static_assert(2 * NAME_TEXT + sizeof ", issued by " <= TLS_WHOSE, "both names fit");

void tls_pin_format(const uint8_t pin[static TLS_PIN], char out[static TLS_PIN_TEXT])
{
    struct buffer text = BUFFER(2 * PIN_BASE64);
    snprintf(out, TLS_PIN_TEXT, "%s", PIN_PREFIX);
    if (crypto_base64_encode(slice_of(pin, TLS_PIN), &text) == RESULT_OK)
        snprintf(out, TLS_PIN_TEXT, "%s%.*s", PIN_PREFIX, SLICE_ARG(buffer_slice(&text)));
    buffer_free(&text);
}

bool tls_pin_parse(struct slice text, uint8_t pin[static TLS_PIN])
{
    struct buffer octets = BUFFER(2 * TLS_PIN);
    struct slice prefix = slice_from_cstr(PIN_PREFIX);
    bool is_pin = slice_starts_with(text, prefix) && text.len == prefix.len + PIN_BASE64 &&
                  crypto_base64_decode(slice_skip(text, prefix.len), &octets) == RESULT_OK && buffer_len(&octets) == TLS_PIN;
    if (is_pin)
        memcpy(pin, buffer_slice(&octets).ptr, TLS_PIN);
    buffer_free(&octets);
    return is_pin;
}

/* ---- what a certificate calls itself ---- */

/* At most NAME_TEXT octets of UTF-8 as they stand; what is no UTF-8, or could turn or hide the text around it, becomes "?". */
static enum result append_clean(struct buffer *out, struct slice name)
{
    enum result result = RESULT_OK;
    while (name.len > 0 && result == RESULT_OK) {
        uint32_t character = 0;
        size_t len = utf8_next(name, &character);
        bool is_kept = len > 0 && !utf8_is_control(character);
        result = buffer_append(out, is_kept ? slice_take(name, len) : SLICE("?"));
        name = slice_skip(name, len > 0 ? len : 1);
    }
    return result == RESULT_LIMIT ? RESULT_OK : result; /* a long name is cut between characters */
}

static struct slice find_in_name(const mbedtls_x509_name *name, const char *oid, size_t oid_len)
{
    for (; name; name = name->next)
        if (name->oid.len == oid_len && memcmp(name->oid.p, oid, oid_len) == 0)
            return slice_of(name->val.p, name->val.len);
    return (struct slice){0};
}

/* The common name, else the organisation (RFC 5280 A.1). */
static struct slice find_name(const mbedtls_x509_name *name)
{
    struct slice found = find_in_name(name, MBEDTLS_OID_AT_CN, sizeof MBEDTLS_OID_AT_CN - 1);
    return found.len > 0 ? found : find_in_name(name, MBEDTLS_OID_AT_ORGANIZATION, sizeof MBEDTLS_OID_AT_ORGANIZATION - 1);
}

static struct slice find_subject(const mbedtls_x509_crt *certificate)
{
    struct slice name = find_in_name(&certificate->subject, MBEDTLS_OID_AT_CN, sizeof MBEDTLS_OID_AT_CN - 1);
    if (name.len > 0)
        return name;
    /* Many certificates of today have names in the SAN alone. */
    for (const mbedtls_x509_sequence *san = &certificate->subject_alt_names; san; san = san->next)
        if ((san->buf.tag & MBEDTLS_ASN1_TAG_VALUE_MASK) == MBEDTLS_X509_SAN_DNS_NAME && san->buf.len > 0)
            return slice_of(san->buf.p, san->buf.len);
    return find_name(&certificate->subject);
}

static enum result append_name(struct buffer *out, struct slice name)
{
    struct buffer clean = BUFFER(NAME_TEXT);
    enum result result = append_clean(&clean, name.len > 0 ? name : SLICE("nobody"));
    if (result == RESULT_OK)
        result = buffer_append(out, buffer_slice(&clean));
    buffer_free(&clean);
    return result;
}

char *tls_certificate_whose(const mbedtls_x509_crt *certificate)
{
    struct buffer text = BUFFER(TLS_WHOSE);
    bool is_self_signed = certificate->subject_raw.len == certificate->issuer_raw.len &&
                          memcmp(certificate->subject_raw.p, certificate->issuer_raw.p, certificate->subject_raw.len) == 0;
    enum result result = append_name(&text, find_subject(certificate));
    if (result == RESULT_OK)
        result = buffer_append_cstr(&text, is_self_signed ? ", issued by itself" : ", issued by ");
    if (result == RESULT_OK && !is_self_signed)
        result = append_name(&text, find_name(&certificate->issuer));
    if (result == RESULT_OK)
        result = buffer_append(&text, slice_of("", 1));
    char *whose = result == RESULT_OK ? strdup(buffer_slice(&text).ptr) : NULL;
    buffer_free(&text);
    return whose;
}

/* ---- making an identity ---- */

static bool is_host_name(const char *name)
{
    size_t len = strlen(name);
    if (len == 0 || len > 253)
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = name[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_'))
            return false;
    }
    return true;
}

static bool set_names(mbedtls_x509write_cert *certificate, const char *name)
{
    unsigned char address[16];
    char subject[COMMON_NAME_MAX + 4];
    mbedtls_x509_san_list san = {0};
    /* A name too long for a CN (RFC 5280 ub-common-name) stands in the SAN alone, which is what is looked at. */
    snprintf(subject, sizeof subject, "CN=%s", strlen(name) <= COMMON_NAME_MAX ? name : "postern");
    if (inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1) {
        san.node.type = MBEDTLS_X509_SAN_IP_ADDRESS;
        san.node.san.unstructured_name.p = address;
        san.node.san.unstructured_name.len = strchr(name, ':') ? 16 : 4;
    } else {
        san.node.type = MBEDTLS_X509_SAN_DNS_NAME;
        san.node.san.unstructured_name.p = (unsigned char *)(uintptr_t)name;
        san.node.san.unstructured_name.len = strlen(name);
    }
    return mbedtls_x509write_crt_set_subject_name(certificate, subject) == 0 && mbedtls_x509write_crt_set_issuer_name(certificate, subject) == 0 &&
           mbedtls_x509write_crt_set_subject_alternative_name(certificate, &san) == 0;
}

static bool set_validity(mbedtls_x509write_cert *certificate)
{
    char from[16], to[16];
    struct tm parts;
    time_t yesterday = time(NULL) - 86400; /* for clocks that are behind ours */
    if (!gmtime_r(&yesterday, &parts) || strftime(from, sizeof from, "%Y%m%d%H%M%S", &parts) == 0)
        return false;
    parts.tm_year += VALID_YEARS;
    if (parts.tm_mon == 1 && parts.tm_mday == 29)
        parts.tm_mday = 28;
    return strftime(to, sizeof to, "%Y%m%d%H%M%S", &parts) != 0 && mbedtls_x509write_crt_set_validity(certificate, from, to) == 0;
}

static bool write_certificate(mbedtls_pk_context *key, const char *name, char pem[static PEM_MAX])
{
    mbedtls_x509write_cert certificate;
    unsigned char serial[16];
    crypto_random(serial, sizeof serial);
    serial[0] = (unsigned char)((serial[0] & 0x7f) | 0x40); /* positive, and of full length (RFC 5280 4.1.2.2) */
    mbedtls_x509write_crt_init(&certificate);
    mbedtls_x509write_crt_set_version(&certificate, MBEDTLS_X509_CRT_VERSION_3);
    mbedtls_x509write_crt_set_md_alg(&certificate, MBEDTLS_MD_SHA256);
    mbedtls_x509write_crt_set_subject_key(&certificate, key);
    mbedtls_x509write_crt_set_issuer_key(&certificate, key);
    bool is_made = set_names(&certificate, name) && set_validity(&certificate) &&
                   mbedtls_x509write_crt_set_serial_raw(&certificate, serial, sizeof serial) == 0 &&
                   mbedtls_x509write_crt_set_basic_constraints(&certificate, 1, -1) == 0 &&
                   mbedtls_x509write_crt_set_subject_key_identifier(&certificate) == 0 &&
                   mbedtls_x509write_crt_set_key_usage(&certificate, MBEDTLS_X509_KU_DIGITAL_SIGNATURE | MBEDTLS_X509_KU_KEY_CERT_SIGN) == 0 &&
                   mbedtls_x509write_crt_pem(&certificate, (unsigned char *)pem, PEM_MAX, tls_random, NULL) == 0;
    mbedtls_x509write_crt_free(&certificate);
    return is_made;
}

/* A new file that will still be whole after a power cut. */
static enum result write_file(const char *file, const char *text, mode_t mode, char *why, size_t why_size)
{
    int fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    size_t len = strlen(text), done = 0;
    int error = fd < 0 ? errno : 0;
    while (!error && done < len) {
        ssize_t n = write(fd, text + done, len - done);
        if (n < 0 && errno != EINTR)
            error = errno;
        else if (n > 0)
            done += (size_t)n;
    }
    if (!error && fsync(fd) != 0)
        error = errno;
    if (fd >= 0 && close(fd) != 0 && !error)
        error = errno;
    if (!error)
        return RESULT_OK;
    snprintf(why, why_size, "%s: %s", file, strerror(error));
    if (fd >= 0)
        unlink(file);
    return error == EEXIST ? RESULT_EXISTS : error == EACCES || error == EPERM || error == EROFS ? RESULT_DENIED : error == ENOSPC || error == EDQUOT ? RESULT_FULL : RESULT_IO;
}

static enum result write_both(const char *key_file, const char *key_pem, const char *certificate_file, const char *certificate_pem, char *why,
                              size_t why_size)
{
    struct stat info;
    if (stat(certificate_file, &info) == 0) {
        snprintf(why, why_size, "%s: exists already", certificate_file);
        return RESULT_EXISTS;
    }
    enum result result = write_file(key_file, key_pem, 0600, why, why_size);
    if (result != RESULT_OK)
        return result;
    result = write_file(certificate_file, certificate_pem, 0644, why, why_size);
    if (result != RESULT_OK)
        unlink(key_file);
    return result;
}

enum result tls_make_identity(const char *key_file, const char *certificate_file, const char *name, char *why, size_t why_size)
{
    mbedtls_pk_context key;
    char key_pem[PEM_MAX], certificate_pem[PEM_MAX];
    unsigned char address[16];
    enum result result = RESULT_MEMORY;
    if (!is_host_name(name) && inet_pton(AF_INET6, name, address) != 1) {
        snprintf(why, why_size, "\"%s\" is neither a host name nor an address", name);
        return RESULT_SYNTAX;
    }
    snprintf(why, why_size, "out of memory");
    if (crypto_init() != RESULT_OK || psa_crypto_init() != PSA_SUCCESS)
        return RESULT_MEMORY;
    mbedtls_pk_init(&key);
    if (mbedtls_pk_setup(&key, mbedtls_pk_info_from_type(MBEDTLS_PK_ECKEY)) == 0 &&
        mbedtls_ecp_gen_key(MBEDTLS_ECP_DP_SECP256R1, mbedtls_pk_ec(key), tls_random, NULL) == 0 &&
        mbedtls_pk_write_key_pem(&key, (unsigned char *)key_pem, sizeof key_pem) == 0 && write_certificate(&key, name, certificate_pem))
        result = write_both(key_file, key_pem, certificate_file, certificate_pem, why, why_size);
    mbedtls_pk_free(&key);
    crypto_wipe(key_pem, sizeof key_pem);
    return result;
}
