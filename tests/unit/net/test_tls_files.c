/* What surrounds TLS connections: files of keys and certificates, pins in text, the tickets that a client keeps. */
#include "net/tls_context.h"
#include "support/certificates.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

static char folder[64], why[256];

static const char *in_folder(const char *file)
{
    static char paths[8][128];
    static unsigned turn;
    char *path = paths[turn++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", folder, file);
    return path;
}

static int make_files(void **state)
{
    (void)state;
    certificates_folder_make(folder);
    certificate_make(in_folder("good"), &(struct certificate_wish){.name = "relay.example"});
    certificate_make(in_folder("other"), &(struct certificate_wish){.name = "relay.example"});
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    certificates_folder_remove(folder);
    return 0;
}

static enum result try_server(const char *certificate, const char *key)
{
    struct tls_context *context;
    struct tls_server_config config = {.certificate_file = in_folder(certificate), .key_file = in_folder(key)};
    why[0] = '\0';
    enum result result = tls_context_server(&context, &config, why, sizeof why);
    assert_int_equal(result == RESULT_OK, context != NULL);
    if (result != RESULT_OK)
        assert_non_null(strstr(why, folder));
    tls_context_unref(&context);
    return result;
}

static void test_server_files(void **state)
{
    (void)state;
    assert_int_equal(try_server("good.pem", "good.key"), RESULT_OK);
    assert_int_equal(try_server("absent.pem", "good.key"), RESULT_NOT_FOUND);
    assert_int_equal(try_server("good.pem", "absent.key"), RESULT_NOT_FOUND);
    assert_int_equal(try_server("good.key", "good.key"), RESULT_SYNTAX);
    assert_int_equal(try_server("good.pem", "good.pem"), RESULT_DENIED);
    assert_int_equal(try_server("good.pem", "other.key"), RESULT_SYNTAX);
    assert_non_null(strstr(why, "does not belong"));
    static const mode_t loose[] = {0644, 0640, 0604, 0660, 0602};
    for (size_t i = 0; i < sizeof loose / sizeof loose[0]; i++) {
        chmod(in_folder("good.key"), loose[i]);
        assert_int_equal(try_server("good.pem", "good.key"), RESULT_DENIED);
        assert_non_null(strstr(why, "chmod 600"));
    }
    chmod(in_folder("good.key"), 0600);

    struct tls_context *context;
    struct tls_client_config config = {.identity = TLS_IDENTITY_CA, .ca_file = in_folder("absent.pem")};
    assert_int_equal(tls_context_client(&context, &config, why, sizeof why), RESULT_NOT_FOUND);
    config.ca_file = in_folder("good.key");
    assert_int_equal(tls_context_client(&context, &config, why, sizeof why), RESULT_SYNTAX);
    assert_null(context);
}

static void test_cache_forgets_the_oldest(void **state)
{
    struct tls_cache *cache = calloc(1, sizeof *cache);
    struct tls_kept_session kept;
    char name[16];
    (void)state;
    tls_cache_init(cache);
    for (int i = 0; i <= TLS_CACHE_MAX; i++) {
        snprintf(name, sizeof name, "mx%d", i);
        tls_cache_put(cache, name, calloc(1, 8), 8, (const uint8_t *)"e", 1);
    }
    assert_false(tls_cache_take(cache, "mx0", &kept));
    assert_true(tls_cache_take(cache, "mx1", &kept));
    assert_int_equal(kept.end_point_len, 1);
    free(kept.blob);
    tls_cache_put(cache, "mx2", calloc(1, 9), 9, (const uint8_t *)"e", 1);
    assert_true(tls_cache_take(cache, "mx2", &kept));
    assert_int_equal(kept.blob_len, 9);
    free(kept.blob);
    tls_cache_free(cache);
    free(cache);
}

static void test_pin_text(void **state)
{
    uint8_t pin[TLS_PIN], again[TLS_PIN];
    char text[TLS_PIN_TEXT];
    (void)state;
    for (size_t i = 0; i < sizeof pin; i++)
        pin[i] = (uint8_t)(i * 37);
    tls_pin_format(pin, text);
    assert_int_equal(strlen(text), TLS_PIN_TEXT - 1);
    assert_true(strncmp(text, "sha256//", 8) == 0);
    assert_true(tls_pin_parse(slice_from_cstr(text), again));
    assert_memory_equal(pin, again, sizeof pin);
    static const char *const bad[] = {"", "sha256//", "sha1//ACVKb5S53gMoTXKXvOEGK1B1mr/kCS5TeJ3C5wwxVns=",
                                      "sha256//ACVKb5S53gMoTXKXvOEGK1B1mr/kCS5TeJ3C5wwxVn=", "sha256//ACVKb5S53gMoTXKXvOEGK1B1mr/kCS5TeJ3C5wwxVns==",
                                      "sha256//ACVKb5S53gMoTXKXvOEGK1B1mr_kCS5TeJ3C5wwxVns="};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(tls_pin_parse(slice_from_cstr(bad[i]), again));
}

/* ---- contexts are shared by threads ---- */

enum { THREADS = 3, HANDSHAKES = 12 };

struct worker {
    struct tls_context *server, *client;
    unsigned resumed;
    bool is_well;
};

static enum tls_step advance(struct tls_session *session, struct buffer *from, struct buffer *to)
{
    struct slice in = buffer_slice(from);
    size_t before = in.len;
    enum tls_step step = tls_session_handshake(session, &in, to);
    buffer_consume(from, before - in.len);
    return step;
}

static bool shake_hands(struct worker *worker)
{
    struct tls_session *server = NULL, *client = NULL;
    struct buffer to_server = {0}, to_client = {0};
    enum tls_step ours = TLS_STEP_WANT_INPUT, theirs = TLS_STEP_WANT_INPUT;
    char *room = malloc(2 * TLS_RECORD_MAX);
    size_t got = 0;
    bool is_well = tls_session_new(&server, worker->server, NULL, PATH_ALPN_NONE) == RESULT_OK && tls_session_new(&client, worker->client, "relay.example", PATH_ALPN_NONE) == RESULT_OK;
    while (is_well && (ours != TLS_STEP_OK || theirs != TLS_STEP_OK)) {
        if (ours != TLS_STEP_OK)
            ours = advance(client, &to_client, &to_server);
        if (theirs != TLS_STEP_OK)
            theirs = advance(server, &to_server, &to_client);
        is_well = ours != TLS_STEP_FAILED && theirs != TLS_STEP_FAILED;
    }
    struct slice ticket = buffer_slice(&to_client);
    is_well = is_well && tls_session_read(client, &ticket, room, 2 * TLS_RECORD_MAX, &got, &to_server) == TLS_STEP_WANT_INPUT;
    worker->resumed += is_well && tls_session_info(server)->is_resumed;
    tls_session_free(&client);
    tls_session_free(&server);
    buffer_free(&to_server);
    buffer_free(&to_client);
    free(room);
    return is_well;
}

static void *work(void *context)
{
    struct worker *worker = context;
    worker->is_well = true;
    for (int i = 0; i < HANDSHAKES && worker->is_well; i++)
        worker->is_well = shake_hands(worker);
    return NULL;
}

/* A ticket kept by one thread is used by another, once. */
static void test_threads_share_contexts(void **state)
{
    struct worker workers[THREADS] = {{0}};
    struct tls_context *server, *client;
    pthread_t threads[THREADS];
    unsigned resumed = 0;
    (void)state;
    certificates_contexts(&server, &client);
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.server = server, .client = client};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_true(workers[i].is_well);
        resumed += workers[i].resumed;
    }
    assert_in_range(resumed, 1, THREADS * HANDSHAKES - 1);
    tls_context_unref(&client);
    tls_context_unref(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_server_files),
        cmocka_unit_test(test_cache_forgets_the_oldest),
        cmocka_unit_test(test_pin_text),
        cmocka_unit_test(test_threads_share_contexts),
    };
    return cmocka_run_group_tests_name("net/tls_files", tests, make_files, remove_files);
}
