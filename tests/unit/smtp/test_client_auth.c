/* The client core against our own SASL server: every mechanism, bindings, and servers that lie. */
#include "crypto/crypto.h"
#include "support/client_play.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define expect_told(text) assert_string_equal(play_told(&p), text)

static const struct sasl_binding BINDINGS[] = {{SLICE("tls-exporter"), SLICE("0123456789abcdef0123456789abcdef")}};
static const uint8_t NONCE[18] = "a server's nonce";

/* A server's side of AUTH, in the words of RFC 4954. */
struct peer {
    struct sasl_server *sasl;
    struct slice password;
    bool says_last_words_with_235;
    bool says_no_last_words;
};

static void say(struct play *p, const char *code, struct slice data)
{
    struct buffer line = {0};
    assert_int_equal(buffer_append_cstr(&line, code), RESULT_OK);
    assert_int_equal(crypto_base64_encode(data, &line), RESULT_OK);
    assert_int_equal(buffer_append_cstr(&line, "\r\n"), RESULT_OK);
    play_feed(p, buffer_slice(&line));
    buffer_free(&line);
}

static void decide(struct peer *peer, struct sasl_server_step *step)
{
    struct scram_verifier verifier;
    if (step->need == SASL_NEED_PASSWORD) {
        sasl_server_password_checked(peer->sasl, slice_equal(step->password, peer->password) && slice_equal(step->user, SLICE("tim")), step);
    } else if (step->need == SASL_NEED_VERIFIER) {
        assert_int_equal(scram_verifier_make(peer->password, (const uint8_t *)"0123456789abcdef", SCRAM_SALT, SCRAM_ITERATIONS, &verifier), RESULT_OK);
        sasl_server_verifier_found(peer->sasl, &verifier, true, step);
    }
}

/* What the client said last, out of base64, without the command in front. */
static void take_response(struct play *p, struct slice command, struct buffer *out)
{
    struct slice said = slice_from_cstr(play_said(p));
    assert_true(said.len >= 2 && slice_starts_with(said, command));
    said = slice_skip(slice_take(said, said.len - 2), command.len);
    buffer_clear(out);
    if (!slice_equal(said, SLICE("=")))
        assert_int_equal(crypto_base64_decode(said, out), RESULT_OK);
}

/* Runs the exchange to its end. False: the peer refused. */
static bool authenticate(struct play *p, struct peer *peer, enum sasl_mechanism mechanism, bool offers_plus, const struct sasl_binding *bindings)
{
    char command[64];
    struct sasl_server_step step;
    struct buffer response = {0};
    snprintf(command, sizeof command, "AUTH %s%s", sasl_mechanism_name(mechanism), mechanism == SASL_LOGIN ? "" : " ");
    peer->sasl = sasl_server_new(mechanism, offers_plus, bindings, bindings ? 1 : 0, NONCE);
    take_response(p, slice_from_cstr(command), &response);
    sasl_server_start(peer->sasl, mechanism != SASL_LOGIN, buffer_slice(&response), &step);
    for (;;) {
        decide(peer, &step);
        bool has_last_words = step.need == SASL_SUCCEEDED && step.challenge.len > 0;
        if (has_last_words && (peer->says_last_words_with_235 || peer->says_no_last_words)) {
            say(p, "235 2.7.0 ", peer->says_no_last_words ? (struct slice){0} : step.challenge);
            break;
        }
        if (step.need != SASL_NEED_RESPONSE && !has_last_words)
            break;
        say(p, "334 ", step.challenge);
        take_response(p, (struct slice){0}, &response);
        sasl_server_response(peer->sasl, buffer_slice(&response), &step);
    }
    bool is_in = step.need == SASL_SUCCEEDED;
    if (is_in && strcmp(smtp_client_state_name(p->client), "auth") == 0)
        play_server(p, "235 2.7.0 welcome\r\n");
    else if (!is_in)
        play_server(p, "535 5.7.8 wrong\r\n");
    sasl_server_free(&peer->sasl);
    buffer_free(&response);
    return is_in;
}

static void open_auth(struct play *p, const char *mechanisms, const struct sasl_binding *bindings)
{
    char ehlo[200];
    play_open(p, &(struct smtp_client_config){.security = SMTP_SECURITY_TLS, .user = SLICE("tim"), .password = SLICE("tanstaaftanstaaf")});
    if (bindings)
        play_tls(p, bindings, 1);
    play_server(p, "220 mx\r\n");
    play_said(p);
    p->waits_at_proven = true;
    snprintf(ehlo, sizeof ehlo, "250-mx\r\n250 AUTH %s\r\n", mechanisms);
    play_server(p, ehlo);
    assert_string_equal(play_told(p), "PROVEN\n");
    smtp_client_login(p->client, p->now_ms);
    play_pump(p);
}

struct row {
    const char *offer;
    const struct sasl_binding *bindings;
    enum sasl_mechanism mechanism; /* the one that must be chosen */
};

static const struct row ROWS[] = {
    {"PLAIN", NULL, SASL_PLAIN},
    {"LOGIN", NULL, SASL_LOGIN},
    {"LOGIN PLAIN", NULL, SASL_PLAIN},
    {"PLAIN SCRAM-SHA-256", NULL, SASL_SCRAM_SHA_256},
    {"PLAIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS", NULL, SASL_SCRAM_SHA_256},
    {"PLAIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS", BINDINGS, SASL_SCRAM_SHA_256_PLUS},
};

static void all_mechanisms_agree_with_our_server(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * sizeof ROWS / sizeof *ROWS; i++) {
        const struct row *row = &ROWS[i / 2];
        struct play p;
        struct peer peer = {.password = SLICE("tanstaaftanstaaf"), .says_last_words_with_235 = i % 2};
        open_auth(&p, row->offer, row->bindings);
        assert_true(authenticate(&p, &peer, row->mechanism, strstr(row->offer, "PLUS") && row->bindings, row->bindings));
        expect_told("READY\n");
        play_close(&p);
    }
}

static void a_wrong_password_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof ROWS / sizeof *ROWS; i++) {
        struct play p;
        struct peer peer = {.password = SLICE("something else")};
        open_auth(&p, ROWS[i].offer, ROWS[i].bindings);
        assert_false(authenticate(&p, &peer, ROWS[i].mechanism, strstr(ROWS[i].offer, "PLUS") && ROWS[i].bindings, ROWS[i].bindings));
        expect_told("FAILED auth-refused [AUTH]: 535 5.7.8 wrong\n");
        play_close(&p);
    }
}

/* A 235 without the server's signature, or one that somebody else made. */
static void a_server_must_prove_itself(void **state)
{
    struct play p;
    struct peer silent = {.password = SLICE("tanstaaftanstaaf"), .says_no_last_words = true};
    (void)state;
    open_auth(&p, "SCRAM-SHA-256", NULL);
    authenticate(&p, &silent, SASL_SCRAM_SHA_256, false, NULL);
    expect_told("FAILED auth-forged [AUTH]\n");
    assert_string_equal(play_said(&p), "*\r\n");
    play_close(&p);

    open_auth(&p, "SCRAM-SHA-256", NULL);
    struct buffer first = {0};
    take_response(&p, SLICE("AUTH SCRAM-SHA-256 "), &first);
    char nonce[256], challenge[512];
    snprintf(nonce, sizeof nonce, "%.*s", SLICE_ARG(slice_skip(buffer_slice(&first), sizeof "n,,n=tim,r=" - 1)));
    snprintf(challenge, sizeof challenge, "r=%sserver,s=MDEyMzQ1Njc4OWFiY2RlZg==,i=4096", nonce);
    say(&p, "334 ", slice_from_cstr(challenge));
    play_said(&p);
    say(&p, "334 ", SLICE("v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="));
    expect_told("FAILED auth-forged [AUTH]\n");
    assert_string_equal(play_said(&p), "*\r\n");
    play_close(&p);

    open_auth(&p, "SCRAM-SHA-256", NULL); /* a right question is no proof either */
    play_said(&p);
    say(&p, "235 ", slice_from_cstr(challenge));
    expect_told("FAILED auth-forged [AUTH]\n");
    buffer_free(&first);
    play_close(&p);
}

static void asks_no_endless_questions(void **state)
{
    struct play p;
    (void)state;
    open_auth(&p, "LOGIN", NULL);
    for (int i = 0; i < 20; i++)
        play_server(&p, "334 VXNlcm5hbWU6\r\n");
    assert_memory_equal(play_told(&p), "FAILED ", 7);
    play_close(&p);
}

static void sends_no_credentials_that_cannot_be_right(void **state)
{
    static const struct smtp_client_config configs[] = {
        {.security = SMTP_SECURITY_TLS, .user = SLICE("tim"), .password = SLICE("")},
        {.security = SMTP_SECURITY_TLS, .user = SLICE("tim\0"), .password = SLICE("x")},
        {.security = SMTP_SECURITY_TLS, .user = SLICE("tim"), .password = SLICE("x\r\nQUIT")},
    };
    (void)state;
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        struct play p;
        play_open(&p, &configs[i]);
        play_server(&p, "220 mx\r\n");
        play_said(&p);
        play_server(&p, "250-mx\r\n250 AUTH PLAIN\r\n");
        expect_told("PROVEN\nFAILED auth-refused [AUTH]\n");
        assert_string_equal(play_said(&p), "");
        play_close(&p);
    }
}

static struct buffer log_lines;

static void keep_line(void *context, enum log_level level, struct slice line)
{
    (void)context;
    (void)level;
    assert_int_equal(buffer_append(&log_lines, line), RESULT_OK);
}

static bool log_holds(const char *text)
{
    struct slice lines = buffer_slice(&log_lines), needle = slice_from_cstr(text);
    for (size_t i = 0; i + needle.len <= lines.len; i++)
        if (memcmp(lines.ptr + i, needle.ptr, needle.len) == 0)
            return true;
    return false;
}

/* The log tells the states, and neither the password nor its base64. */
static void logs_no_secret(void **state)
{
    const struct log log = {.level = LOG_DEBUG, .sink = keep_line};
    struct play p;
    (void)state;
    play_open(&p, &(struct smtp_client_config){.security = SMTP_SECURITY_TLS, .user = SLICE("tim"), .password = SLICE("tanstaaftanstaaf"), .log = &log, .session_id = SLICE("s1")});
    play_server(&p, "220 mx\r\n");
    play_server(&p, "250-mx\r\n250 AUTH PLAIN\r\n");
    play_server(&p, "535 5.7.8 AHRpbQB0YW5zdGFhZnRhbnN0YWFm tanstaaftanstaaf\r\n");
    assert_true(log_holds("session=s1") && log_holds("from=proven to=auth") && log_holds("failure=auth-refused"));
    assert_false(log_holds("tanstaaf") || log_holds("AHRpbQB0"));
    buffer_free(&log_lines);
    play_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_mechanisms_agree_with_our_server),
        cmocka_unit_test(a_wrong_password_is_refused),
        cmocka_unit_test(a_server_must_prove_itself),
        cmocka_unit_test(asks_no_endless_questions),
        cmocka_unit_test(sends_no_credentials_that_cannot_be_right),
        cmocka_unit_test(logs_no_secret),
    };
    return cmocka_run_group_tests_name("smtp/client auth", tests, NULL, NULL);
}
