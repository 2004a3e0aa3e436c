/* smtp/client.h, from the greeting to READY: what answers, EHLO and HELO, STARTTLS, AUTH, QUIT, time. */
#include "support/client_play.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NAME .ehlo_name = SLICE("laptop.example")
#define expect_said(text) assert_string_equal(play_said(&p), text)
#define expect_told(text) assert_string_equal(play_told(&p), text)

static void greets(void **state)
{
    struct play p;
    (void)state;
    play_open(&p, &(struct smtp_client_config){NAME});
    play_pump(&p);
    expect_said("");
    play_server(&p, "220 mx.example ESMTP\r\n");
    expect_said("EHLO laptop.example\r\n");
    play_server(&p, "250-mx.example hello\r\n250-PIPELINING\r\n250 SIZE 1000\r\n");
    expect_told("PROVEN\nREADY\n");
    expect_said("");
    assert_string_equal(smtp_client_state_name(p.client), "ready");
    assert_int_equal(smtp_client_peer(p.client)->capabilities, SMTP_CAP_PIPELINING | SMTP_CAP_SIZE);
    assert_int_equal(smtp_client_peer(p.client)->size_max_octets, 1000);
    assert_true(slice_equal(smtp_client_peer(p.client)->name, SLICE("mx.example")));
    play_quit(&p);
    expect_said("QUIT\r\n");
    expect_told("");
    play_server(&p, "221 bye\r\n");
    expect_told("CLOSED\n");
    assert_false(smtp_client_next(p.client, &(struct smtp_client_event){0}));
    play_close(&p);
}

/* What the first octets from the peer, up to its closing, make of the session. */
static void names_what_answers(void **state)
{
    static const struct {
        const char *octets, *told;
    } rows[] = {
        {"554 5.3.2 no service\r\n", "FAILED greeting [greeting]: 554 5.3.2 no service\n"},
        {"421 busy\r\n", "FAILED greeting [greeting]: 421 busy\n"},
        {"200 news ready\r\n", "FAILED foreign [greeting]: 200 news ready\n"},
        {"SSH-2.0-OpenSSH_9\r\n", "FAILED foreign [greeting]\n"},
        {"\x15\x03\x01\x00\x02\x02\x46", "FAILED foreign [greeting]\n"},
        {"HTTP/1.1 400 Bad Request\r\nServer: x\r\n", "FAILED http [greeting]\n"},
        {"HTTP/1.0", "FAILED http [greeting]\n"},
        {"<!DOCTYPE HTML>\n", "FAILED http [greeting]\n"},
        {"  <html>\n", "FAILED http [greeting]\n"},
        {"220 a\rb\r\n", "FAILED foreign [greeting]\n"},
        {"", "FAILED eof [greeting]\n"},
        {"220 mx.exam", "FAILED eof [greeting]\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct play p;
        play_open(&p, &(struct smtp_client_config){NAME});
        play_server(&p, rows[i].octets);
        play_eof(&p);
        expect_told(rows[i].told);
        expect_said("");
        assert_int_equal(smtp_client_feed(p.client, SLICE("220 late\r\n"), p.now_ms), 0);
        play_close(&p);
    }
}

static void falls_back_to_helo(void **state)
{
    struct play p;
    (void)state;
    play_open(&p, &(struct smtp_client_config){NAME, .security = SMTP_SECURITY_OPPORTUNISTIC});
    play_server(&p, "220 old\r\n");
    play_server(&p, "502 what?\r\n");
    expect_said("EHLO laptop.example\r\nHELO laptop.example\r\n");
    play_server(&p, "250-old\r\n250 PIPELINING\r\n");
    expect_told("PROVEN\nREADY\n");
    assert_int_equal(smtp_client_peer(p.client)->capabilities, 0);
    play_close(&p);
}

static void helo_is_no_way_round_needs(void **state)
{
    static const struct {
        struct smtp_client_config config;
        const char *reply, *told;
    } rows[] = {
        {{NAME, .security = SMTP_SECURITY_STARTTLS}, "502 what?\r\n", "FAILED ehlo [EHLO]: 502 what?\n"},
        {{NAME, .security = SMTP_SECURITY_TLS}, "502 what?\r\n", "FAILED ehlo [EHLO]: 502 what?\n"},
        {{NAME, .user = SLICE("u"), .password = SLICE("p")}, "502 what?\r\n", "FAILED ehlo [EHLO]: 502 what?\n"},
        {{NAME}, "450 later\r\n", "FAILED ehlo [EHLO]: 450 later\n"},
        {{NAME}, "421 later\r\n", "FAILED shut [EHLO]: 421 later\n"},
        {{NAME}, "220 twice\r\n", "FAILED protocol [EHLO]: 220 twice\n"},
        {{NAME}, "354 go on\r\n", "FAILED protocol [EHLO]: 354 go on\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct play p;
        play_open(&p, &rows[i].config);
        play_server(&p, "220 old\r\n");
        play_server(&p, rows[i].reply);
        expect_told(rows[i].told);
        expect_said("EHLO laptop.example\r\n");
        play_close(&p);
    }
    struct play p;
    play_open(&p, &(struct smtp_client_config){NAME});
    play_server(&p, "220 old\r\n");
    play_server(&p, "500 what?\r\n");
    play_server(&p, "550 no\r\n");
    expect_told("FAILED ehlo [HELO]: 550 no\n");
    play_close(&p);
}

/* ---- STARTTLS ---- */

static const struct smtp_client_config STARTTLS = {NAME, .ehlo_name_cleartext = SLICE("localhost"), .security = SMTP_SECURITY_STARTTLS};

static void starts_tls(void **state)
{
    struct play p;
    (void)state;
    play_open(&p, &STARTTLS);
    play_server(&p, "220 mx\r\n");
    play_server(&p, "250-mx\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n");
    expect_said("EHLO localhost\r\nSTARTTLS\r\n");
    play_server(&p, "220 go\r\n");
    expect_told("STARTTLS\n");
    assert_string_equal(smtp_client_state_name(p.client), "tls");
    play_tls(&p, NULL, 0);
    expect_said("EHLO laptop.example\r\n");
    assert_int_equal(smtp_client_peer(p.client)->capabilities, 0);
    assert_int_equal(smtp_client_peer(p.client)->mechanisms, 0);
    play_server(&p, "250-mx\r\n250 STARTTLS\r\n");
    expect_told("PROVEN\nREADY\n");
    expect_said("");
    play_close(&p);
}

static void demands_starttls(void **state)
{
    static const struct {
        const char *ehlo, *reply, *told;
    } rows[] = {
        {"250 mx\r\n", "", "FAILED starttls-missing [EHLO]\n"},
        {"250-mx\r\n250 XXXXXXXX\r\n", "", "FAILED starttls-masked [EHLO]\n"},
        {"250-mx\r\n250 XXXXXXXA\r\n", "", "FAILED starttls-masked [EHLO]\n"},
        {"250-mx\r\n250 ********\r\n", "", "FAILED starttls-masked [EHLO]\n"},
        {"250-mx\r\n250 STARTTLS\r\n", "454 later\r\n", "FAILED starttls-refused [STARTTLS]: 454 later\n"},
        {"250-mx\r\n250 starttls\r\n", "502 never\r\n", "FAILED starttls-refused [STARTTLS]: 502 never\n"},
        {"250-mx\r\n250 STARTTLS\r\n", "250 what\r\n", "FAILED protocol [STARTTLS]: 250 what\n"},
        {"250-mx\r\n250 STARTTLS\r\n", "421 no\r\n", "FAILED shut [STARTTLS]: 421 no\n"},
        {"250-mx\r\n250 STARTTLS\r\n", "220 go\r\n250 mx\r\n", "FAILED injected [STARTTLS]\n"},
        {"250-mx\r\n250 STARTTLS\r\n", "220 go\r\n2", "FAILED injected [STARTTLS]\n"},
        {"250-mx\r\n250 STARTTLS\r\n220 go\r\n", "", "FAILED protocol [STARTTLS]\n"},
        {"250-mx\r\n250 STARTTLS\r\n220 go\r\n250 mx\r\n", "", "FAILED protocol [STARTTLS]\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct play p;
        play_open(&p, &STARTTLS);
        play_server(&p, "220 mx\r\n");
        play_server(&p, rows[i].ehlo);
        play_server(&p, rows[i].reply);
        expect_told(rows[i].told);
        play_close(&p);
    }
}

/* CVE-2011-0411 and RFC 3207 6: cleartext after the 220, in the same flight or later. */
static void cleartext_behind_starttls_is_an_attack(void **state)
{
    struct play p;
    (void)state;
    play_open(&p, &STARTTLS);
    play_server(&p, "220 mx\r\n");
    play_server(&p, "250-mx\r\n250 STARTTLS\r\n");
    play_server(&p, "220 go\r\n");
    expect_told("STARTTLS\n");
    play_server(&p, "2");
    expect_told("FAILED injected [TLS handshake]\n");
    play_close(&p);
}

static void opportunistic_goes_on_in_the_clear(void **state)
{
    static const char *ehlos[] = {"250 mx\r\n", "250-mx\r\n250 XXXXXXXX\r\n", "250-mx\r\n250 STARTTLS\r\n"};
    (void)state;
    for (size_t i = 0; i < sizeof ehlos / sizeof *ehlos; i++) {
        struct play p;
        play_open(&p, &(struct smtp_client_config){NAME, .security = SMTP_SECURITY_OPPORTUNISTIC});
        play_server(&p, "220 mx\r\n");
        play_server(&p, ehlos[i]);
        if (i == 2)
            play_server(&p, "454 later\r\n");
        expect_told("PROVEN\nREADY\n");
        expect_said(i == 2 ? "EHLO laptop.example\r\nSTARTTLS\r\n" : "EHLO laptop.example\r\n");
        play_close(&p);
    }
}

/* ---- replies that nobody asked for ---- */

/* Invariants 2 and 3: ahead of the command, or when nothing is awaited. */
static void refuses_unasked_replies(void **state)
{
    struct play p;
    (void)state;
    play_open(&p, &(struct smtp_client_config){NAME});
    play_server(&p, "220 mx\r\n250 mx\r\n");
    expect_told("FAILED protocol [EHLO]\n");
    play_close(&p);

    play_open(&p, &(struct smtp_client_config){NAME});
    play_server(&p, "220 mx\r\n");
    play_server(&p, "250 mx\r\n250 again\r\n");
    expect_told("PROVEN\nREADY\nFAILED protocol [idle]: 250 again\n");
    play_close(&p);

    play_open(&p, &(struct smtp_client_config){NAME});
    play_server(&p, "220 mx\r\n");
    play_server(&p, "250 mx\r\n");
    play_server(&p, "421 4.4.2 idle too long\r\n");
    expect_told("PROVEN\nREADY\nFAILED shut [idle]: 421 4.4.2 idle too long\n");
    play_close(&p);
}

static void bounds_replies(void **state)
{
    struct play p;
    char line[SMTP_REPLY_LINE_MAX + 1];
    (void)state;
    play_open(&p, &(struct smtp_client_config){NAME});
    play_server(&p, "220 mx\r\n");
    for (int i = 0; i < SMTP_REPLY_LINES_MAX + 1; i++)
        play_server(&p, "250-and so on\r\n");
    expect_told("FAILED protocol [EHLO]\n");
    play_close(&p);

    memset(line, 'x', sizeof line);
    memcpy(line, "250-", 4);
    play_open(&p, &(struct smtp_client_config){NAME});
    play_server(&p, "220 mx\r\n");
    for (size_t i = 0; i < sizeof line; i++)
        play_feed(&p, slice_of(line + i, 1));
    expect_told("FAILED protocol [EHLO]\n");
    play_close(&p);
}

/* ---- AUTH ---- */

static const struct smtp_client_config LOGIN = {NAME, .security = SMTP_SECURITY_TLS, .user = SLICE("tim"), .password = SLICE("tanstaaftanstaaf")};

/* EHLO is said, answered with an AUTH line, and what AUTH makes of it is about to be read. */
static void open_auth(struct play *p, const struct smtp_client_config *config, const char *mechanisms)
{
    char ehlo[200];
    play_open(p, config);
    play_server(p, "220 mx\r\n");
    snprintf(ehlo, sizeof ehlo, "250-mx\r\n250 AUTH %s\r\n", mechanisms);
    play_server(p, ehlo);
    play_said(p);
}

static void authenticates_plain(void **state)
{
    struct play p;
    (void)state;
    play_open(&p, &LOGIN);
    p.waits_at_proven = true;
    play_server(&p, "220 mx\r\n");
    play_server(&p, "250-mx\r\n250 AUTH PLAIN LOGIN\r\n");
    expect_told("PROVEN\n");
    expect_said("EHLO laptop.example\r\n");
    smtp_client_login(p.client, p.now_ms);
    play_pump(&p);
    expect_said("AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm\r\n"); /* RFC 4616 4 */
    play_server(&p, "235 2.7.0 welcome\r\n");
    expect_told("READY\n");
    play_close(&p);
}

static void authenticates_login(void **state)
{
    struct play p;
    (void)state;
    open_auth(&p, &LOGIN, "LOGIN");
    play_server(&p, "334 VXNlcm5hbWU6\r\n");
    play_server(&p, "334 UGFzc3dvcmQ6\r\n");
    expect_said("dGlt\r\ndGFuc3RhYWZ0YW5zdGFhZg==\r\n");
    play_server(&p, "235 welcome\r\n");
    expect_told("PROVEN\nREADY\n");
    play_close(&p);
}

static void refused_auth_has_its_kinds(void **state)
{
    static const struct {
        const char *reply, *told;
    } rows[] = {
        {"535 5.7.8 wrong\r\n", "PROVEN\nFAILED auth-refused [AUTH]: 535 5.7.8 wrong\n"},
        {"454 4.7.0 later\r\n", "PROVEN\nFAILED auth-later [AUTH]: 454 4.7.0 later\n"},
        {"421 4.7.0 go away\r\n", "PROVEN\nFAILED shut [AUTH]: 421 4.7.0 go away\n"},
        {"250 ok\r\n", "PROVEN\nFAILED protocol [AUTH]: 250 ok\n"},
        {"354 ok\r\n", "PROVEN\nFAILED protocol [AUTH]: 354 ok\n"},
        {"334 !!!\r\n", "PROVEN\nFAILED auth-forged [AUTH]\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct play p;
        open_auth(&p, &LOGIN, "PLAIN");
        play_server(&p, rows[i].reply);
        expect_told(rows[i].told);
        play_close(&p);
    }
}

static void auth_needs_tls_and_a_mechanism(void **state)
{
    struct play p;
    struct smtp_client_config clear = LOGIN;
    (void)state;
    open_auth(&p, &LOGIN, "GSSAPI XOAUTH2");
    expect_told("PROVEN\nFAILED auth-missing [AUTH]\n");
    play_close(&p);

    clear.security = SMTP_SECURITY_NONE;
    open_auth(&p, &clear, "PLAIN SCRAM-SHA-256");
    expect_told("PROVEN\nFAILED auth-missing [AUTH]\n");
    play_close(&p);

    clear.allows_auth_without_tls = true; /* SCRAM only, even then */
    open_auth(&p, &clear, "PLAIN LOGIN");
    expect_told("PROVEN\nFAILED auth-missing [AUTH]\n");
    play_close(&p);
}

/* ---- leaving, and time ---- */

static void leaves_in_every_way(void **state)
{
    struct play p;
    (void)state;
    for (int way = 0; way < 4; way++) {
        play_open(&p, &(struct smtp_client_config){NAME});
        play_server(&p, "220 mx\r\n");
        play_server(&p, "250 mx\r\n");
        play_told(&p);
        play_said(&p);
        play_quit(&p);
        expect_said("QUIT\r\n");
        switch (way) {
        case 0: play_server(&p, "421 going too\r\n"); break;
        case 1: play_eof(&p); break;
        case 2: play_server(&p, "no reply at all\r\n"); break;
        case 3:
            play_wait(&p, SMTP_CLIENT_QUIT_TIMEOUT_MS - 1);
            expect_told("");
            play_wait(&p, 1);
            break;
        }
        expect_told("CLOSED\n");
        play_quit(&p);
        expect_told("");
        play_close(&p);
    }
    play_open(&p, &(struct smtp_client_config){NAME});
    play_server(&p, "220 mx\r\n");
    play_said(&p);
    play_quit(&p); /* not polite while EHLO is in the air */
    expect_told("CLOSED\n");
    expect_said("");
    play_close(&p);
}

static void keeps_time(void **state)
{
    static const struct smtp_client_config config = {NAME, .security = SMTP_SECURITY_STARTTLS, .greeting_timeout_ms = 10, .command_timeout_ms = 20};
    struct play p;
    (void)state;
    play_open(&p, &config);
    assert_int_equal(smtp_client_deadline_ms(p.client), p.now_ms + 10);
    play_wait(&p, 9);
    play_server(&p, "220 m"); /* a beginning is no reply */
    play_wait(&p, 1);
    expect_told("FAILED timeout [greeting]\n");
    assert_int_equal(smtp_client_deadline_ms(p.client), INT64_MAX);
    play_close(&p);

    play_open(&p, &config);
    play_server(&p, "220 mx\r\n");
    play_wait(&p, 19);
    expect_told("");
    play_wait(&p, 1);
    expect_told("FAILED timeout [EHLO]\n");
    play_close(&p);

    play_open(&p, &config);
    play_server(&p, "220 mx\r\n");
    play_server(&p, "250-mx\r\n250 STARTTLS\r\n");
    play_wait(&p, 19);
    play_server(&p, "220 go\r\n");
    play_wait(&p, 19);
    expect_told("STARTTLS\n");
    play_wait(&p, 1);
    expect_told("FAILED timeout [TLS handshake]\n");
    play_close(&p);

    play_open(&p, &(struct smtp_client_config){NAME});
    assert_int_equal(smtp_client_deadline_ms(p.client), p.now_ms + 300000);
    play_server(&p, "220 mx\r\n");
    play_server(&p, "250 mx\r\n");
    assert_int_equal(smtp_client_deadline_ms(p.client), INT64_MAX);
    play_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greets),
        cmocka_unit_test(names_what_answers),
        cmocka_unit_test(falls_back_to_helo),
        cmocka_unit_test(helo_is_no_way_round_needs),
        cmocka_unit_test(starts_tls),
        cmocka_unit_test(demands_starttls),
        cmocka_unit_test(cleartext_behind_starttls_is_an_attack),
        cmocka_unit_test(opportunistic_goes_on_in_the_clear),
        cmocka_unit_test(refuses_unasked_replies),
        cmocka_unit_test(bounds_replies),
        cmocka_unit_test(authenticates_plain),
        cmocka_unit_test(authenticates_login),
        cmocka_unit_test(refused_auth_has_its_kinds),
        cmocka_unit_test(auth_needs_tls_and_a_mechanism),
        cmocka_unit_test(leaves_in_every_way),
        cmocka_unit_test(keeps_time),
    };
    return cmocka_run_group_tests_name("smtp/client session", tests, NULL, NULL);
}
