/* TLS over streams: identities right and wrong, resumption, ends with and without close_notify, STARTTLS, and what is no TLS at all. */
#include "net/tls_context.h"
#include "support/certificates.h"
#include "support/netloop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

static char folder[64], why[256];
static const char NAME[] = "relay.example";

static const char *in_folder(const char *file)
{
    static char paths[8][128];
    static unsigned turn;
    char *path = paths[turn++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", folder, file);
    return path;
}

static struct tls_context *server_of(const char *identity)
{
    struct tls_context *context;
    char key[40], certificate[40];
    snprintf(key, sizeof key, "%s.key", identity);
    snprintf(certificate, sizeof certificate, "%s.pem", identity);
    struct tls_server_config config = {.certificate_file = in_folder(certificate), .key_file = in_folder(key)};
    if (tls_context_server(&context, &config, why, sizeof why) != RESULT_OK)
        fail_msg("%s", why);
    return context;
}

static struct tls_context *client_of(const struct tls_client_config *config)
{
    struct tls_context *context;
    if (tls_context_client(&context, config, why, sizeof why) != RESULT_OK)
        fail_msg("%s", why);
    return context;
}

static struct tls_context *client_with_pin_of(const struct tls_context *server)
{
    struct tls_client_config config = {.identity = TLS_IDENTITY_PINS, .npins = 2};
    memset(config.pins[0], 7, TLS_PIN);
    tls_context_pin(server, config.pins[1]);
    return client_of(&config);
}

static struct tls_context *client_with_ca(const char *file)
{
    return client_of(&(struct tls_client_config){.identity = TLS_IDENTITY_CA, .ca_file = in_folder(file)});
}

static int make_identities(void **state)
{
    int64_t now = (int64_t)time(NULL);
    (void)state;
    certificates_folder_make(folder);
    certificate_make(in_folder("ca"), &(struct certificate_wish){.name = "Test CA", .is_ca = 1});
    certificate_make(in_folder("other-ca"), &(struct certificate_wish){.name = "Other CA", .is_ca = 1});
    certificate_make(in_folder("good"), &(struct certificate_wish){.name = NAME, .issuer = in_folder("ca")});
    certificate_make(in_folder("expired"), &(struct certificate_wish){.name = NAME, .issuer = in_folder("ca"), .from_s = now - 20000, .to_s = now - 10000});
    certificate_make(in_folder("future"), &(struct certificate_wish){.name = NAME, .issuer = in_folder("ca"), .from_s = now + 10000, .to_s = now + 20000});
    certificate_make(in_folder("hotel"), &(struct certificate_wish){.name = "Hotel \x1b" "evil\xe2\x80\xae"});
    certificate_make(in_folder("foreign"), &(struct certificate_wish){.name = NAME, .issuer = in_folder("other-ca")});
    return 0;
}

static int remove_identities(void **state)
{
    (void)state;
    certificates_folder_remove(folder);
    return 0;
}

/* ---- one connection: left is the client ---- */

struct talk {
    struct netloop net;
    struct net_end client, server;
};

static void talk_open(struct talk *talk)
{
    *talk = (struct talk){0};
    netloop_open(&talk->net);
    net_pair(&talk->net, &talk->client, &talk->server);
}

static void talk_start(struct talk *talk, struct tls_context *client, struct tls_context *server, const char *name)
{
    talk_open(talk);
    assert_int_equal(stream_start_tls(talk->server.stream, server, NULL, false), RESULT_OK);
    assert_int_equal(stream_start_tls(talk->client.stream, client, name, false), RESULT_OK);
}

static bool is_decided(const struct net_end *end)
{
    return end->told[STREAM_SECURED] + end->told[STREAM_FAILED] > 0;
}

static void talk_secure(struct talk *talk, struct tls_context *client, struct tls_context *server, const char *name)
{
    talk_start(talk, client, server, name);
    NET_UNTIL(&talk->net, is_decided(&talk->client) && is_decided(&talk->server));
    if (talk->client.told[STREAM_FAILED])
        fail_msg("client: %s", talk->client.error.words);
    if (talk->server.told[STREAM_FAILED])
        fail_msg("server: %s", talk->server.error.words);
}

static void talk_exchange(struct talk *talk)
{
    net_end_write(&talk->client, "EHLO laptop\r\n");
    net_end_write(&talk->server, "220 relay\r\n");
    NET_UNTIL(&talk->net, buffer_len(&talk->server.got) == 13 && buffer_len(&talk->client.got) == 11);
    assert_true(slice_equal(buffer_slice(&talk->server.got), SLICE("EHLO laptop\r\n")));
    assert_true(slice_equal(buffer_slice(&talk->client.got), SLICE("220 relay\r\n")));
}

static void talk_close(struct talk *talk)
{
    net_pair_close(&talk->net, &talk->client, &talk->server);
    netloop_close(&talk->net);
}

static const struct sasl_binding *binding(const struct net_end *end, struct slice name)
{
    const struct tls_info *info = stream_tls_info(end->stream);
    for (size_t i = 0; i < info->nbindings; i++)
        if (slice_equal(info->bindings[i].name, name))
            return &info->bindings[i];
    return NULL;
}

static void assert_bound(const struct talk *talk, struct slice name, size_t len)
{
    const struct sasl_binding *ours = binding(&talk->client, name), *theirs = binding(&talk->server, name);
    assert_non_null(ours);
    assert_non_null(theirs);
    assert_int_equal(ours->data.len, len);
    assert_true(slice_equal(ours->data, theirs->data));
}

/* ---- identities ---- */

static void test_pin(void **state)
{
    struct tls_context *server = server_of("good"), *client = client_with_pin_of(server);
    struct talk talk;
    (void)state;
    talk_secure(&talk, client, server, NAME);
    const struct tls_info *info = stream_tls_info(talk.client.stream);
    assert_string_equal(info->version, "TLSv1.3");
    assert_string_equal(info->cipher, "TLS_CHACHA20_POLY1305_SHA256");
    assert_string_equal(info->alpn, "");
    assert_true(info->is_verified);
    assert_false(info->is_resumed);
    assert_false(stream_tls_info(talk.server.stream)->is_verified);
    assert_bound(&talk, SLICE("tls-exporter"), 32);
    assert_bound(&talk, SLICE("tls-server-end-point"), 32);
    talk_exchange(&talk);
    tls_context_unref(&client); /* the streams keep theirs */
    tls_context_unref(&server);
    talk_close(&talk);
}

/* Names and dates do not matter to a pin. */
static void test_pin_of_expired(void **state)
{
    struct tls_context *server = server_of("expired"), *client = client_with_pin_of(server);
    struct talk talk;
    (void)state;
    talk_secure(&talk, client, server, "other.example");
    talk_close(&talk);
    talk_secure(&talk, client, server, NULL);
    talk_close(&talk);
    tls_context_unref(&client);
    tls_context_unref(&server);
}

/* What the client wrote too early must not reach a server that proved nothing. */
static void refuse(struct tls_context *client, const char *server_identity, const char *name, enum tls_failure expected, const char *words, const char *whose)
{
    struct tls_context *server = server_of(server_identity);
    struct talk talk;
    talk_start(&talk, client, server, name);
    net_end_write(&talk.client, "AUTH PLAIN secret");
    NET_UNTIL(&talk.net, is_decided(&talk.client) && is_decided(&talk.server));
    assert_int_equal(talk.client.told[STREAM_SECURED], 0);
    assert_int_equal(talk.client.told[STREAM_FAILED], 1);
    assert_int_equal(talk.client.error.kind, STREAM_ERROR_TLS);
    assert_string_equal(tls_failure_name(talk.client.error.tls), tls_failure_name(expected));
    assert_non_null(strstr(talk.client.error.words, words));
    assert_string_equal(talk.client.error.whose, whose);
    assert_null(stream_tls_info(talk.client.stream));
    assert_int_equal(talk.server.told[STREAM_SECURED] + talk.server.told[STREAM_DATA], 0);
    assert_int_equal(talk.server.error.tls, TLS_FAIL_ALERT);
    talk_close(&talk);
    tls_context_unref(&server);
}

static void test_wrong_key(void **state)
{
    struct tls_context *good = server_of("good"), *foreign = server_of("foreign"), *client = client_with_pin_of(good);
    uint8_t pin[TLS_PIN];
    char text[TLS_PIN_TEXT];
    (void)state;
    tls_context_pin(foreign, pin);
    tls_pin_format(pin, text);
    refuse(client, "foreign", NAME, TLS_FAIL_WRONG_KEY, text, "relay.example, issued by Other CA");
    refuse(client, "hotel", NAME, TLS_FAIL_WRONG_KEY, "another key", "Hotel ?evil?, issued by itself");
    tls_context_unref(&good);
    tls_context_unref(&foreign);
    tls_context_unref(&client);
}

static void test_ca(void **state)
{
    struct tls_context *server = server_of("good"), *client = client_with_ca("ca.pem");
    struct talk talk;
    (void)state;
    talk_secure(&talk, client, server, NAME);
    assert_true(stream_tls_info(talk.client.stream)->is_verified);
    talk_exchange(&talk);
    talk_close(&talk);
    tls_context_unref(&server);
    refuse(client, "good", "other.example", TLS_FAIL_WRONG_NAME, "another name", "relay.example, issued by Test CA");
    refuse(client, "expired", NAME, TLS_FAIL_EXPIRED, "expired", "relay.example, issued by Test CA");
    refuse(client, "future", NAME, TLS_FAIL_EXPIRED, "not valid yet", "relay.example, issued by Test CA");
    refuse(client, "foreign", NAME, TLS_FAIL_UNTRUSTED, "trusted authority", "relay.example, issued by Other CA");
    tls_context_unref(&client);
}

static void test_any(void **state)
{
    struct tls_context *server = server_of("expired"), *client = client_of(&(struct tls_client_config){.identity = TLS_IDENTITY_ANY});
    struct talk talk;
    (void)state;
    talk_secure(&talk, client, server, NAME);
    assert_false(stream_tls_info(talk.client.stream)->is_verified);
    assert_bound(&talk, SLICE("tls-server-end-point"), 32);
    talk_exchange(&talk);
    talk_close(&talk);
    tls_context_unref(&client);
    tls_context_unref(&server);
}

/* ---- versions ---- */

static void test_tls12(void **state)
{
    struct tls_context *server = server_of("good"), *client = client_with_pin_of(server);
    struct talk talk;
    (void)state;
    mbedtls_ssl_conf_max_tls_version(&server->configs[0], MBEDTLS_SSL_VERSION_TLS1_2);
    for (int i = 0; i < 3; i++) {
        talk_secure(&talk, client, server, NAME);
        const struct tls_info *info = stream_tls_info(talk.client.stream);
        assert_string_equal(info->version, "TLSv1.2");
        assert_string_equal(info->cipher, "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256");
        assert_int_equal(info->is_resumed, i > 0);
        assert_int_equal(stream_tls_info(talk.server.stream)->is_resumed, i > 0);
        assert_null(binding(&talk.client, SLICE("tls-exporter")));
        assert_bound(&talk, SLICE("tls-server-end-point"), 32);
        talk_exchange(&talk);
        talk_close(&talk);
    }
    tls_context_unref(&client);
    tls_context_unref(&server);
}

/* ---- resumption ---- */

static void talk_resumable(struct tls_context *client, struct tls_context *server, const char *name, bool expected)
{
    struct talk talk;
    talk_secure(&talk, client, server, name);
    assert_int_equal(stream_tls_info(talk.client.stream)->is_resumed, expected);
    assert_int_equal(stream_tls_info(talk.server.stream)->is_resumed, expected);
    assert_bound(&talk, SLICE("tls-exporter"), 32);
    assert_bound(&talk, SLICE("tls-server-end-point"), 32);
    talk_exchange(&talk);
    talk_close(&talk);
}

static void test_resumption(void **state)
{
    struct tls_context *server = server_of("good"), *other = server_of("good"), *client = client_with_pin_of(server);
    struct tls_kept_session kept;
    (void)state;
    talk_resumable(client, server, NAME, false);
    talk_resumable(client, server, NAME, true);
    talk_resumable(client, server, NAME, true);
    talk_resumable(client, server, "second.example", false); /* another name, another ticket */
    talk_resumable(client, server, NAME, true);
    talk_resumable(client, other, NAME, false);              /* other ticket keys: the full handshake, not a failure */
    talk_resumable(client, other, NAME, true);
    /* A ticket is used once (RFC 8446 C.4). */
    assert_true(tls_cache_take(&client->cache, NAME, &kept));
    free(kept.blob);
    assert_false(tls_cache_take(&client->cache, NAME, &kept));
    talk_resumable(client, other, NAME, false);
    tls_context_unref(&client);
    tls_context_unref(&other);
    tls_context_unref(&server);
}

/* ---- ends ---- */

static void test_orderly_end(void **state)
{
    struct tls_context *server = server_of("good"), *client = client_with_pin_of(server);
    struct talk talk;
    (void)state;
    talk_secure(&talk, client, server, NAME);
    net_end_write(&talk.server, "221 bye\r\n");
    talk.client.closes_at_end = true;
    stream_finish(talk.server.stream, 5000);
    NET_UNTIL(&talk.net, !talk.client.stream && !talk.server.stream);
    assert_true(slice_equal(buffer_slice(&talk.client.got), SLICE("221 bye\r\n")));
    assert_int_equal(talk.client.told[STREAM_EOF], 1);
    assert_int_equal(talk.client.told[STREAM_FAILED], 0);
    talk_close(&talk);
    tls_context_unref(&client);
    tls_context_unref(&server);
}

/* A FIN that anybody on the way can send is no end. */
static void test_end_without_close_notify(void **state)
{
    struct tls_context *server = server_of("good"), *client = client_with_pin_of(server);
    struct talk talk;
    (void)state;
    talk_secure(&talk, client, server, NAME);
    talk_exchange(&talk);
    stream_close(talk.server.stream);
    NET_UNTIL(&talk.net, talk.client.told[STREAM_FAILED] + talk.client.told[STREAM_EOF] > 0);
    assert_int_equal(talk.client.told[STREAM_EOF], 0);
    assert_int_equal(talk.client.error.tls, TLS_FAIL_CLOSED);
    talk_close(&talk);
    tls_context_unref(&client);
    tls_context_unref(&server);
}

static void test_cut_handshake(void **state)
{
    struct tls_context *server = server_of("good");
    struct talk talk;
    (void)state;
    talk_open(&talk);
    assert_int_equal(stream_start_tls(talk.server.stream, server, NULL, false), RESULT_OK);
    assert_int_equal(stream_write(talk.client.stream, SLICE("\x16\x03\x01\x01")), RESULT_OK);
    stream_finish(talk.client.stream, 1000);
    NET_UNTIL(&talk.net, talk.server.told[STREAM_FAILED] == 1);
    assert_int_equal(talk.server.error.tls, TLS_FAIL_CLOSED);
    talk_close(&talk);
    tls_context_unref(&server);
}

static void assert_broken(struct slice octets, bool is_server, enum tls_failure expected)
{
    struct tls_context *server = server_of("good"), *client = client_with_pin_of(server);
    struct talk talk;
    talk_open(&talk);
    struct net_end *victim = is_server ? &talk.server : &talk.client, *other = is_server ? &talk.client : &talk.server;
    victim->keeps_input = true;
    assert_int_equal(stream_start_tls(victim->stream, is_server ? server : client, NULL, false), RESULT_OK);
    assert_int_equal(stream_write(other->stream, octets), RESULT_OK);
    NET_UNTIL(&talk.net, victim->told[STREAM_FAILED] == 1);
    assert_string_equal(tls_failure_name(victim->error.tls), tls_failure_name(expected));
    if (expected == TLS_FAIL_NOT_TLS)
        assert_true(slice_equal(stream_input(victim->stream), octets));
    assert_int_equal(victim->told[STREAM_SECURED] + victim->told[STREAM_DATA], 0);
    talk_close(&talk);
    tls_context_unref(&client);
    tls_context_unref(&server);
}

static void test_no_tls(void **state)
{
    (void)state;
    assert_broken(SLICE("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), true, TLS_FAIL_NOT_TLS);
    assert_broken(SLICE("EHLO x\r\n"), true, TLS_FAIL_NOT_TLS);
    assert_broken(SLICE("220 mx.example ESMTP\r\n"), false, TLS_FAIL_NOT_TLS);
    assert_broken(SLICE("HTTP/1.0 302 Found\r\n\r\n"), false, TLS_FAIL_NOT_TLS);
    assert_broken(SLICE("\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00garbage"), true, TLS_FAIL_PROTOCOL);
    assert_broken(SLICE("\x15\x03\x03\x00\x02\x02\x28"), false, TLS_FAIL_ALERT);
}

/* Octets behind close_notify are nobody's: not even in the clear (CVE-2026-45185 and its kin). */
static void test_nothing_after_close_notify(void **state)
{
    struct tls_context *server = server_of("good"), *client = client_with_pin_of(server);
    struct buffer to_server = {0};
    struct tls_session *a;
    struct talk talk;
    struct slice none = {0};
    (void)state;
    /* The client's side is a bare session, so that we can write behind its close_notify. */
    talk_open(&talk);
    talk.client.keeps_input = true;
    assert_int_equal(stream_start_tls(talk.server.stream, server, NULL, false), RESULT_OK);
    assert_int_equal(tls_session_new(&a, client, NAME, PATH_ALPN_NONE), RESULT_OK);
    enum tls_step step = tls_session_handshake(a, &none, &to_server);
    netloop_arm(&talk.net);
    while (step == TLS_STEP_WANT_INPUT) {
        assert_int_equal(stream_write(talk.client.stream, buffer_slice(&to_server)), RESULT_OK);
        buffer_clear(&to_server);
        unsigned before = talk.client.told[STREAM_DATA];
        while (talk.client.told[STREAM_DATA] == before)
            assert_true(netloop_step(&talk.net));
        struct slice in = stream_input(talk.client.stream);
        size_t len = in.len;
        step = tls_session_handshake(a, &in, &to_server);
        stream_consume(talk.client.stream, len - in.len);
    }
    assert_int_equal(step, TLS_STEP_OK);
    tls_session_close_notify(a, &to_server);
    assert_int_equal(buffer_append(&to_server, SLICE("MAIL FROM:<evil@example>\r\n")), RESULT_OK);
    assert_int_equal(stream_write(talk.client.stream, buffer_slice(&to_server)), RESULT_OK);
    NET_UNTIL(&talk.net, talk.server.told[STREAM_EOF] + talk.server.told[STREAM_FAILED] == 1);
    assert_int_equal(stream_write(talk.client.stream, SLICE("RCPT TO:<x@example>\r\n")), RESULT_OK);
    for (int i = 0; i < 20; i++)
        uv_run(&talk.net.loop, UV_RUN_NOWAIT);
    assert_int_equal(talk.server.told[STREAM_EOF], 1);
    assert_int_equal(talk.server.told[STREAM_DATA] + talk.server.told[STREAM_FAILED], 0);
    assert_int_equal(stream_input(talk.server.stream).len, 0);
    tls_session_free(&a);
    buffer_free(&to_server);
    talk_close(&talk);
    tls_context_unref(&client);
    tls_context_unref(&server);
}

/* ---- STARTTLS ---- */

static struct tls_context *upgrade_server, *upgrade_client;

static void upgrade_at_server(struct net_end *end, enum stream_event event)
{
    if (event == STREAM_DATA && !stream_tls_info(end->stream) && end->told[STREAM_DATA] == 1) {
        net_end_write(end, "220 go ahead\r\n");
        assert_int_equal(stream_start_tls(end->stream, upgrade_server, NULL, false), RESULT_OK);
    }
}

static void upgrade_at_client(struct net_end *end, enum stream_event event)
{
    if (event == STREAM_DATA && end->told[STREAM_DATA] == 1)
        assert_int_equal(stream_start_tls(end->stream, upgrade_client, NAME, false), RESULT_OK);
}

static void test_starttls(void **state)
{
    struct talk talk;
    (void)state;
    upgrade_server = server_of("good");
    upgrade_client = client_with_pin_of(upgrade_server);
    talk_open(&talk);
    talk.server.hook = upgrade_at_server;
    talk.client.hook = upgrade_at_client;
    net_end_write(&talk.client, "STARTTLS\r\n");
    NET_UNTIL(&talk.net, talk.client.told[STREAM_SECURED] && talk.server.told[STREAM_SECURED]);
    assert_true(slice_equal(buffer_slice(&talk.client.got), SLICE("220 go ahead\r\n")));
    buffer_clear(&talk.client.got);
    buffer_clear(&talk.server.got);
    talk_exchange(&talk);
    talk_close(&talk);
    tls_context_unref(&upgrade_client);
    tls_context_unref(&upgrade_server);
}

/* A server that finds a ClientHello where it expected SMTP. */
static void test_from_waiting_input(void **state)
{
    struct tls_context *server = server_of("good"), *client = client_with_pin_of(server);
    struct talk talk;
    (void)state;
    talk_open(&talk);
    talk.server.keeps_input = true;
    assert_int_equal(stream_start_tls(talk.client.stream, client, NAME, false), RESULT_OK);
    NET_UNTIL(&talk.net, talk.server.told[STREAM_DATA] > 0);
    talk.server.keeps_input = false;
    assert_int_equal(stream_start_tls(talk.server.stream, server, NULL, true), RESULT_OK);
    NET_UNTIL(&talk.net, talk.client.told[STREAM_SECURED] && talk.server.told[STREAM_SECURED]);
    talk_exchange(&talk);
    talk_close(&talk);
    tls_context_unref(&client);
    tls_context_unref(&server);
}

/* ---- much data, slow readers ---- */

static char pattern(size_t at)
{
    return (char)(at * 2654435761u >> 13);
}

static void test_back_pressure(void **state)
{
    enum { TOTAL = 12 * 1000 * 1000, PIECE = 50 * 1000 };
    struct tls_context *server = server_of("good"), *client = client_with_pin_of(server);
    struct talk talk;
    size_t sent = 0, got = 0;
    char *piece = malloc(PIECE);
    (void)state;
    talk_secure(&talk, client, server, NAME);
    talk.server.keeps_input = true;
    netloop_arm(&talk.net);
    while (got < TOTAL) {
        while (sent < TOTAL && !stream_is_congested(talk.client.stream)) {
            for (size_t i = 0; i < PIECE; i++)
                piece[i] = pattern(sent + i);
            assert_int_equal(stream_write(talk.client.stream, slice_of(piece, PIECE)), RESULT_OK);
            sent += PIECE;
        }
        if (stream_input(talk.server.stream).len > 0)
            uv_run(&talk.net.loop, UV_RUN_NOWAIT);
        else
            assert_true(netloop_step(&talk.net));
        assert_true(stream_input(talk.server.stream).len <= 2 * STREAM_INPUT_MAX);
        /* A reader that takes a little now and then, and pauses. */
        struct slice in = slice_take(stream_input(talk.server.stream), 30011);
        for (size_t i = 0; i < in.len; i++)
            if (in.ptr[i] != pattern(got + i))
                fail_msg("octet %zu is wrong", got + i);
        got += in.len;
        stream_consume(talk.server.stream, in.len);
        if (got % 3 == 0)
            stream_pause(talk.server.stream);
        stream_resume(talk.server.stream);
    }
    assert_int_equal(talk.client.told[STREAM_FAILED] + talk.server.told[STREAM_FAILED], 0);
    free(piece);
    talk_close(&talk);
    tls_context_unref(&client);
    tls_context_unref(&server);
}

/* What is written in one turn is one record: 1000 octets and its overhead, not a hundred times that. */
static void test_one_record(void **state)
{
    struct tls_context *server = server_of("good"), *client = client_with_pin_of(server);
    struct talk talk;
    (void)state;
    talk_secure(&talk, client, server, NAME);
    uint64_t before = stream_octets_out(talk.client.stream);
    for (int i = 0; i < 100; i++)
        net_end_write(&talk.client, "0123456789");
    NET_UNTIL(&talk.net, buffer_len(&talk.server.got) == 1000);
    assert_int_equal(talk.server.told[STREAM_DATA], 1);
    assert_in_range(stream_octets_out(talk.client.stream) - before, 1000 + 22, 1000 + 22 + 15); /* padded to 16 */
    talk_close(&talk);
    tls_context_unref(&client);
    tls_context_unref(&server);
}

static void test_make_identity(void **state)
{
    struct tls_context *server, *client;
    struct talk talk;
    struct stat info;
    (void)state;
    const char *key = in_folder("made.key"), *certificate = in_folder("made.pem");
    static const char *const names[] = {"relay.example", "127.0.0.1", "2001:db8::1"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        unlink(key);
        unlink(certificate);
        assert_int_equal(tls_make_identity(key, certificate, names[i], why, sizeof why), RESULT_OK);
        assert_int_equal(stat(key, &info), 0);
        assert_int_equal(info.st_mode & 0777, 0600);
        server = server_of("made");
        assert_in_range(tls_context_expires_s(server) - (int64_t)time(NULL), 9 * 365 * 86400, 10 * 366 * 86400);
        client = client_with_ca("made.pem"); /* as its own CA */
        talk_secure(&talk, client, server, names[i]);
        talk_close(&talk);
        tls_context_unref(&client);
        tls_context_unref(&server);
    }
    assert_int_equal(tls_make_identity(key, certificate, "relay.example", why, sizeof why), RESULT_EXISTS);
    unlink(key);
    assert_int_equal(tls_make_identity(key, certificate, "relay.example", why, sizeof why), RESULT_EXISTS);
    assert_int_equal(stat(key, &info), -1);
    assert_int_equal(tls_make_identity(in_folder("no/made.key"), in_folder("no/made.pem"), "relay.example", why, sizeof why), RESULT_IO);
    assert_int_equal(tls_make_identity(key, in_folder("x.pem"), "bad name", why, sizeof why), RESULT_SYNTAX);
    assert_int_equal(tls_make_identity(key, in_folder("x.pem"), "a,CN=b", why, sizeof why), RESULT_SYNTAX);
    unlink(certificate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pin),
        cmocka_unit_test(test_pin_of_expired),
        cmocka_unit_test(test_wrong_key),
        cmocka_unit_test(test_ca),
        cmocka_unit_test(test_any),
        cmocka_unit_test(test_tls12),
        cmocka_unit_test(test_resumption),
        cmocka_unit_test(test_orderly_end),
        cmocka_unit_test(test_end_without_close_notify),
        cmocka_unit_test(test_cut_handshake),
        cmocka_unit_test(test_no_tls),
        cmocka_unit_test(test_nothing_after_close_notify),
        cmocka_unit_test(test_starttls),
        cmocka_unit_test(test_from_waiting_input),
        cmocka_unit_test(test_back_pressure),
        cmocka_unit_test(test_one_record),
        cmocka_unit_test(test_make_identity),
    };
    return cmocka_run_group_tests_name("net/tls", tests, make_identities, remove_identities);
}
