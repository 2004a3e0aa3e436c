#include "support/certificates.h"

#include <mbedtls/ecp.h>
#include <mbedtls/pk.h>
#include <mbedtls/x509_crt.h>
#include <dirent.h>
#include <psa/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PEM = 8192 };

static void need(int is_true, const char *what)
{
    if (!is_true) {
        fprintf(stderr, "certificates: %s\n", what);
        abort();
    }
}

static int fresh(void *unused, unsigned char *out, size_t len)
{
    (void)unused;
    return psa_generate_random(out, len) == PSA_SUCCESS ? 0 : -1;
}

void certificates_folder_make(char folder[static 64])
{
    const char *top = getenv("TMPDIR");
    snprintf(folder, 64, "%s/postern-test-XXXXXX", top && strlen(top) < 30 ? top : "/tmp");
    need(mkdtemp(folder) != NULL, "mkdtemp");
}

void certificates_folder_remove(const char *folder)
{
    char path[512];
    DIR *all = opendir(folder);
    struct dirent *entry;
    while (all && (entry = readdir(all)) != NULL) {
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        unlink(path);
    }
    if (all)
        closedir(all);
    rmdir(folder);
}

static void write_text(const char *path, const char *extension, const char *text, mode_t mode, const char *how)
{
    char name[256];
    snprintf(name, sizeof name, "%s%s", path, extension);
    FILE *file = fopen(name, how);
    need(file && fputs(text, file) >= 0 && fclose(file) == 0, name);
    chmod(name, mode);
}

static void load_issuer(const char *path, mbedtls_pk_context *key, mbedtls_x509_crt *certificate)
{
    char name[256];
    snprintf(name, sizeof name, "%s.key", path);
    need(mbedtls_pk_parse_keyfile(key, name, NULL, fresh, NULL) == 0, name);
    snprintf(name, sizeof name, "%s.pem", path);
    need(mbedtls_x509_crt_parse_file(certificate, name) == 0, name);
}

static void set_validity(mbedtls_x509write_cert *writer, const struct certificate_wish *wish)
{
    char from[16], to[16];
    struct tm parts;
    time_t from_s = (time_t)wish->from_s, to_s = (time_t)wish->to_s;
    if (from_s == 0 && to_s == 0) {
        from_s = time(NULL) - 86400;
        to_s = from_s + 365 * 86400;
    }
    need(gmtime_r(&from_s, &parts) && strftime(from, sizeof from, "%Y%m%d%H%M%S", &parts), "time");
    need(gmtime_r(&to_s, &parts) && strftime(to, sizeof to, "%Y%m%d%H%M%S", &parts), "time");
    need(mbedtls_x509write_crt_set_validity(writer, from, to) == 0, "validity");
}

static void set_names(mbedtls_x509write_cert *writer, const struct certificate_wish *wish, const mbedtls_x509_crt *issuer)
{
    char subject[128], issuer_name[256];
    mbedtls_x509_san_list san = {0};
    snprintf(subject, sizeof subject, "CN=%s", wish->name);
    san.node.type = MBEDTLS_X509_SAN_DNS_NAME;
    san.node.san.unstructured_name.p = (unsigned char *)(uintptr_t)wish->name;
    san.node.san.unstructured_name.len = strlen(wish->name);
    if (wish->issuer)
        need(mbedtls_x509_dn_gets(issuer_name, sizeof issuer_name, &issuer->subject) > 0, "issuer");
    need(mbedtls_x509write_crt_set_subject_name(writer, subject) == 0, "subject");
    need(mbedtls_x509write_crt_set_issuer_name(writer, wish->issuer ? issuer_name : subject) == 0, "issuer");
    need(mbedtls_x509write_crt_set_subject_alternative_name(writer, &san) == 0, "san");
}

void certificate_make(const char *path, const struct certificate_wish *wish)
{
    mbedtls_pk_context key, issuer_key;
    mbedtls_x509_crt issuer;
    mbedtls_x509write_cert writer;
    unsigned char text[PEM], serial[8];
    need(psa_crypto_init() == PSA_SUCCESS && fresh(NULL, serial, sizeof serial) == 0, "randomness");
    serial[0] = 1;
    mbedtls_pk_init(&key);
    mbedtls_pk_init(&issuer_key);
    mbedtls_x509_crt_init(&issuer);
    mbedtls_x509write_crt_init(&writer);
    need(mbedtls_pk_setup(&key, mbedtls_pk_info_from_type(MBEDTLS_PK_ECKEY)) == 0 &&
             mbedtls_ecp_gen_key(MBEDTLS_ECP_DP_SECP256R1, mbedtls_pk_ec(key), fresh, NULL) == 0, "key");
    if (wish->issuer)
        load_issuer(wish->issuer, &issuer_key, &issuer);
    set_names(&writer, wish, &issuer);
    set_validity(&writer, wish);
    mbedtls_x509write_crt_set_version(&writer, MBEDTLS_X509_CRT_VERSION_3);
    mbedtls_x509write_crt_set_md_alg(&writer, MBEDTLS_MD_SHA256);
    mbedtls_x509write_crt_set_subject_key(&writer, &key);
    mbedtls_x509write_crt_set_issuer_key(&writer, wish->issuer ? &issuer_key : &key);
    need(mbedtls_x509write_crt_set_serial_raw(&writer, serial, sizeof serial) == 0 &&
             mbedtls_x509write_crt_set_basic_constraints(&writer, wish->is_ca, -1) == 0, "fields");
    need(mbedtls_pk_write_key_pem(&key, text, sizeof text) == 0, "key");
    write_text(path, ".key", (char *)text, 0600, "w");
    need(mbedtls_x509write_crt_pem(&writer, text, sizeof text, fresh, NULL) == 0, "certificate");
    write_text(path, ".pem", (char *)text, 0644, "w");
    mbedtls_x509write_crt_free(&writer);
    mbedtls_x509_crt_free(&issuer);
    mbedtls_pk_free(&issuer_key);
    mbedtls_pk_free(&key);
}

void certificates_contexts(struct tls_context **server, struct tls_context **client)
{
    char folder[64], key[96], certificate[96], why[256] = "";
    struct tls_server_config ours = {.certificate_file = certificate, .key_file = key, .alpn_also = "http/1.1"};
    struct tls_client_config theirs = {.identity = TLS_IDENTITY_PINS, .npins = 1};
    certificates_folder_make(folder);
    snprintf(key, sizeof key, "%s/key", folder);
    snprintf(certificate, sizeof certificate, "%s/pem", folder);
    need(tls_make_identity(key, certificate, "relay.example", why, sizeof why) == RESULT_OK, why);
    need(tls_context_server(server, &ours, why, sizeof why) == RESULT_OK, why);
    tls_context_pin(*server, theirs.pins[0]);
    need(tls_context_client(client, &theirs, why, sizeof why) == RESULT_OK, why);
    certificates_folder_remove(folder);
}
