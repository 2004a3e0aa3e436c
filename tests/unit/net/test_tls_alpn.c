/* ALPN (RFC 7301): one client context, several offers. */
#include "net/tls_context.h"
#include "support/certificates.h"
#include "support/netloop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static const char NAME[] = "relay.example";
static char folder[64], key[96], certificate[96], why[256];

static int make_identity(void **state)
{
    (void)state;
    certificates_folder_make(folder);
    snprintf(key, sizeof key, "%s/key", folder);
    snprintf(certificate, sizeof certificate, "%s/pem", folder);
    return tls_make_identity(key, certificate, NAME, why, sizeof why) == RESULT_OK ? 0 : 1;
}

static int remove_identity(void **state)
{
    (void)state;
    certificates_folder_remove(folder);
    return 0;
}

static void contexts_open(const char *also, struct tls_context **server, struct tls_context **client)
{
    struct tls_server_config ours = {.certificate_file = certificate, .key_file = key, .alpn_also = also};
    struct tls_client_config theirs = {.identity = TLS_IDENTITY_PINS, .npins = 1};
    assert_int_equal(tls_context_server(server, &ours, why, sizeof why), RESULT_OK);
    tls_context_pin(*server, theirs.pins[0]);
    assert_int_equal(tls_context_client(client, &theirs, why, sizeof why), RESULT_OK);
}

struct talk {
    struct netloop net;
    struct net_end client, server;
};

static bool is_decided(const struct net_end *end)
{
    return end->told[STREAM_SECURED] + end->told[STREAM_FAILED] > 0;
}

/* Until both ends know whether it is well. */
static void talk_open(struct talk *talk, struct tls_context *client, struct tls_context *server, enum path_alpn offer)
{
    *talk = (struct talk){0};
    netloop_open(&talk->net);
    net_pair(&talk->net, &talk->client, &talk->server);
    stream_offer_alpn(talk->client.stream, offer);
    assert_int_equal(stream_start_tls(talk->server.stream, server, NULL, false), RESULT_OK);
    assert_int_equal(stream_start_tls(talk->client.stream, client, NAME, false), RESULT_OK);
    NET_UNTIL(&talk->net, is_decided(&talk->client) && is_decided(&talk->server));
}

static void talk_close(struct talk *talk)
{
    net_pair_close(&talk->net, &talk->client, &talk->server);
    netloop_close(&talk->net);
}

static void talk_alpn(const char *also, enum path_alpn offer, const char *expected)
{
    struct tls_context *server, *client;
    struct talk talk;
    contexts_open(also, &server, &client);
    talk_open(&talk, client, server, offer);
    assert_int_equal(talk.client.told[STREAM_SECURED], expected != NULL);
    if (expected) {
        assert_string_equal(stream_tls_info(talk.client.stream)->alpn, expected);
        assert_string_equal(stream_tls_info(talk.server.stream)->alpn, expected);
    } else {
        assert_int_equal(talk.client.error.tls, TLS_FAIL_ALPN);
        assert_int_equal(talk.server.error.tls, TLS_FAIL_ALPN);
        assert_non_null(strstr(talk.client.error.words, "does not take the application protocol (ALPN)"));
    }
    talk_close(&talk);
    tls_context_unref(&client);
    tls_context_unref(&server);
}

static void test_alpn(void **state)
{
    (void)state;
    talk_alpn(NULL, PATH_ALPN_NONE, "");
    talk_alpn(NULL, PATH_ALPN_SMTP, "smtp");
    talk_alpn(NULL, PATH_ALPN_HTTP, NULL);
    talk_alpn("http/1.1", PATH_ALPN_NONE, "");
    talk_alpn("http/1.1", PATH_ALPN_HTTP, "http/1.1");
    talk_alpn("http/1.1", PATH_ALPN_SMTP, "smtp");
    talk_alpn("h2", PATH_ALPN_HTTP, NULL);
}

/* A server that knows nothing of ALPN is welcome, one that chooses what was not offered is not (RFC 7301 3.1, RFC 9325 3.8). What was offered is changed
 * here after it has left. */
static void choose_another(mbedtls_ssl_protocol_version version, bool answers)
{
    struct tls_context *server, *client;
    struct buffer to_server = {0}, to_client = {0};
    struct tls_session *ours, *theirs;
    struct slice nothing = {0};
    contexts_open(NULL, &server, &client);
    mbedtls_ssl_conf_max_tls_version(&server->configs[0], version);
    if (!answers)
        server->configs[0].MBEDTLS_PRIVATE(alpn_list) = NULL;
    assert_int_equal(tls_session_new(&ours, client, NAME, PATH_ALPN_SMTP), RESULT_OK);
    assert_int_equal(tls_session_new(&theirs, server, NULL, PATH_ALPN_NONE), RESULT_OK);
    assert_int_equal(tls_session_handshake(ours, &nothing, &to_server), TLS_STEP_WANT_INPUT);
    struct slice hello = buffer_slice(&to_server);
    assert_int_equal(tls_session_handshake(theirs, &hello, &to_client), TLS_STEP_WANT_INPUT);
    client->alpn[0] = "imap";
    struct slice answer = buffer_slice(&to_client);
    enum tls_step step = tls_session_handshake(ours, &answer, &to_server);
    if (answers) {
        assert_int_equal(step, TLS_STEP_FAILED);
        assert_int_equal(tls_session_failure(ours), TLS_FAIL_ALPN);
        assert_string_equal(tls_session_failure_words(ours), "the other side chose an application protocol (ALPN) that we did not offer");
    } else {
        assert_int_not_equal(step, TLS_STEP_FAILED);
    }
    tls_session_free(&ours);
    tls_session_free(&theirs);
    buffer_free(&to_server);
    buffer_free(&to_client);
    tls_context_unref(&client);
    tls_context_unref(&server);
}

static void test_alpn_answer(void **state)
{
    (void)state;
    choose_another(MBEDTLS_SSL_VERSION_TLS1_3, true);
    choose_another(MBEDTLS_SSL_VERSION_TLS1_2, true);
    choose_another(MBEDTLS_SSL_VERSION_TLS1_3, false);
    choose_another(MBEDTLS_SSL_VERSION_TLS1_2, false);
}

/* A ticket from a session with one ALPN serves another, which then is what it offers, not what the ticket's was. */
static void test_alpn_of_resumed(void **state)
{
    static const enum path_alpn offers[] = {PATH_ALPN_SMTP, PATH_ALPN_HTTP, PATH_ALPN_NONE, PATH_ALPN_SMTP};
    struct tls_context *server, *client;
    (void)state;
    contexts_open("http/1.1", &server, &client);
    for (size_t i = 0; i < 4; i++) {
        struct talk talk;
        talk_open(&talk, client, server, offers[i]);
        assert_int_equal(stream_tls_info(talk.client.stream)->is_resumed, i > 0);
        assert_string_equal(stream_tls_info(talk.client.stream)->alpn, path_alpn_name(offers[i]));
        assert_string_equal(stream_tls_info(talk.server.stream)->alpn, path_alpn_name(offers[i]));
        net_end_write(&talk.server, "220 relay\r\n"); /* the ticket comes before it */
        NET_UNTIL(&talk.net, buffer_len(&talk.client.got) == 11);
        talk_close(&talk);
    }
    tls_context_unref(&client);
    tls_context_unref(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alpn),
        cmocka_unit_test(test_alpn_answer),
        cmocka_unit_test(test_alpn_of_resumed),
    };
    return cmocka_run_group_tests_name("net/tls_alpn", tests, make_identity, remove_identity);
}
