/* smtp/ehlo.h: what peers announce, well and badly. */
#include "smtp/ehlo.h"
#include "support/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct row {
    struct slice text;
    struct smtp_peer peer;
    bool is_masked;
};

#define SIXTY_FOUR "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01"
#define PEER(...) {.name = SLICE("mx"), __VA_ARGS__}
static const struct row ROWS[] = {
    {SLICE(""), {0}, false},
    {SLICE("mx"), PEER(.mechanisms = 0), false},
    {SLICE("mx.example Hello [192.0.2.1], pleased to meet you"), {.name = SLICE("mx.example")}, false},
    {SLICE("mx\nPIPELINING\nSIZE 52428800\n8BITMIME\nSMTPUTF8\nDSN\nENHANCEDSTATUSCODES\nCHUNKING\nBINARYMIME\nSTARTTLS\nAUTH PLAIN\nLIMITS MAILMAX=7"),
     PEER(.capabilities = 0x7ff, .mechanisms = SASL_PLAIN, .size_max_octets = 52428800, .transactions_max = 7), false},
    {SLICE("mx\npipelining\nSize 1000\nstartTLS"), PEER(.capabilities = SMTP_CAP_PIPELINING | SMTP_CAP_SIZE | SMTP_CAP_STARTTLS, .size_max_octets = 1000), false},
    {SLICE("PIPELINING"), {.name = SLICE("PIPELINING")}, false}, /* the first line is the name, whatever it says */
    {SLICE("mx\nPIPELININGS\nXPIPELINING\n\n PIPELINING"), PEER(.capabilities = SMTP_CAP_PIPELINING), false},
    {SLICE("mx\nSIZE"), PEER(.capabilities = SMTP_CAP_SIZE), false},
    {SLICE("mx\nSIZE 0"), PEER(.capabilities = SMTP_CAP_SIZE), false},
    {SLICE("mx\nSIZE lots"), PEER(.capabilities = SMTP_CAP_SIZE), false},
    {SLICE("mx\nSIZE 18446744073709551615"), PEER(.capabilities = SMTP_CAP_SIZE, .size_max_octets = UINT64_MAX), false},
    {SLICE("mx\nSIZE 18446744073709551616"), PEER(.capabilities = SMTP_CAP_SIZE), false},
    {SLICE("mx\nAUTH LOGIN plain  SCRAM-SHA-256 XOAUTH2 scram-sha-256-PLUS "),
     PEER(.capabilities = SMTP_CAP_AUTH, .mechanisms = SASL_LOGIN | SASL_PLAIN | SASL_SCRAM_SHA_256 | SASL_SCRAM_SHA_256_PLUS), false},
    {SLICE("mx\nAUTH=LOGIN PLAIN"), PEER(.capabilities = SMTP_CAP_AUTH, .mechanisms = SASL_LOGIN | SASL_PLAIN), false},
    {SLICE("mx\nAUTH PLAIN\nauth=LOGIN"), PEER(.capabilities = SMTP_CAP_AUTH, .mechanisms = SASL_LOGIN | SASL_PLAIN), false},
    {SLICE("mx\nAUTH"), PEER(.capabilities = SMTP_CAP_AUTH), false},
    {SLICE("mx\nAUTH="), PEER(.capabilities = SMTP_CAP_AUTH), false},
    {SLICE("mx\nLIMITS RCPTMAX=100 MAILMAX=20 RCPTDOMAINMAX=1"), PEER(.capabilities = SMTP_CAP_LIMITS, .nrcpt_max = 100, .transactions_max = 20), false},
    {SLICE("mx\nlimits rcptmax=x MAILMAX= RCPTMAX"), PEER(.capabilities = SMTP_CAP_LIMITS), false},
    {SLICE("mx\nAUTH HT-SHA-256-EXPR PLAIN"), PEER(.capabilities = SMTP_CAP_AUTH, .mechanisms = SASL_HT_SHA_256_EXPR | SASL_PLAIN), false},
    {SLICE("mx\nPIPECONNECT\nxdevice\nXWAYS  465/tls  587/starttls "),
     PEER(.capabilities = SMTP_CAP_PIPECONNECT | SMTP_CAP_XDEVICE | SMTP_CAP_XWAYS, .ways = SLICE("465/tls  587/starttls")), false},
    {SLICE("mx\nXWAYS"), PEER(.capabilities = SMTP_CAP_XWAYS), false},
    {SLICE("mx\nXWAY 465/tls\nX-WAYS 465/tls\nPIPE_CONNECT"), PEER(.capabilities = 0), false},
    {SLICE("mx\nCHECKPOINT\nXOUTCOME 0d5r8k3mZq 604800"),
     PEER(.capabilities = SMTP_CAP_CHECKPOINT | SMTP_CAP_XOUTCOME, .epoch = SLICE("0d5r8k3mZq"), .outcome_s = 604800), false},
    {SLICE("mx\ncheckpoint with parameters\nxoutcome  1  0 "), PEER(.capabilities = SMTP_CAP_CHECKPOINT | SMTP_CAP_XOUTCOME, .epoch = SLICE("1"), .outcome_s = 0), false},
    {SLICE("mx\nXOUTCOME " SIXTY_FOUR " 18446744073709551615"), PEER(.capabilities = SMTP_CAP_XOUTCOME, .epoch = SLICE(SIXTY_FOUR), .outcome_s = UINT64_MAX), false},
    {SLICE("mx\nXOUTCOME " SIXTY_FOUR "x 1"), PEER(.capabilities = 0), false},
    {SLICE("mx\nXOUTCOME"), PEER(.capabilities = 0), false},
    {SLICE("mx\nXOUTCOME abc"), PEER(.capabilities = 0), false},
    {SLICE("mx\nXOUTCOME abc 1 2"), PEER(.capabilities = 0), false},
    {SLICE("mx\nXOUTCOME a-c 1"), PEER(.capabilities = 0), false},
    {SLICE("mx\nXOUTCOME a\xe4 1"), PEER(.capabilities = 0), false},
    {SLICE("mx\nXOUTCOME abc 1s"), PEER(.capabilities = 0), false},
    {SLICE("mx\nXOUTCOME abc 18446744073709551616"), PEER(.capabilities = 0), false},
    {SLICE("mx\nXOUTCOME abc 1\nXOUTCOME x"), PEER(.capabilities = 0), false},
    {SLICE("mx\nXOUTCOMES abc 1\nXCHECKPOINT"), PEER(.capabilities = 0), false},
    {SLICE("mx\nXXXXXXXX"), PEER(.mechanisms = 0), true},
    {SLICE("mx\nXXXXXXXA"), PEER(.mechanisms = 0), true},
    {SLICE("mx\nxxxxxxxx"), PEER(.mechanisms = 0), true},
    {SLICE("mx\n********"), PEER(.mechanisms = 0), true},
    {SLICE("mx\nXXXXXXXX\nSTARTTLS"), PEER(.capabilities = SMTP_CAP_STARTTLS), false},
    {SLICE("mx\nXXXXXXX\nXXXXXXXXX\nXXXXYXXX\nX-WHAT-8"), PEER(.mechanisms = 0), false},
    {SLICE("XXXXXXXX"), {.name = SLICE("XXXXXXXX")}, false},
};

static void parses_announcements(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof ROWS / sizeof *ROWS; i++) {
        struct smtp_peer peer;
        bool is_masked = !ROWS[i].is_masked;
        struct slice text = guard_dup(ROWS[i].text);
        smtp_ehlo_parse(text, &peer, &is_masked);
        if (peer.capabilities != ROWS[i].peer.capabilities || peer.mechanisms != ROWS[i].peer.mechanisms ||
            peer.size_max_octets != ROWS[i].peer.size_max_octets || peer.nrcpt_max != ROWS[i].peer.nrcpt_max ||
            peer.transactions_max != ROWS[i].peer.transactions_max || !slice_equal(peer.name, ROWS[i].peer.name) ||
            !slice_equal(peer.ways, ROWS[i].peer.ways) || !slice_equal(peer.epoch, ROWS[i].peer.epoch) || peer.outcome_s != ROWS[i].peer.outcome_s || is_masked != ROWS[i].is_masked)
            fail_msg("row %zu: %.*s", i, SLICE_ARG(ROWS[i].text));
        guard_free(&text);
    }
    smtp_ehlo_parse(SLICE("mx\nXXXXXXXX"), &(struct smtp_peer){0}, NULL);
}

/* The word that crosses SMTP_WAYS_MAX goes, and no half of it stays. */
static void keeps_whole_ways(void **state)
{
    (void)state;
    for (size_t first = SMTP_WAYS_MAX - 20; first < SMTP_WAYS_MAX + 5; first++) {
        struct smtp_peer peer;
        struct buffer text = {0};
        assert_int_equal(buffer_printf(&text, "mx\nXWAYS %*s 10465/tls", (int)first, "587/starttls"), RESULT_OK);
        char *at = memchr(buffer_slice(&text).ptr, 'X', buffer_len(&text));
        for (at += strlen("XWAYS "); *at == ' '; at++)
            *at = 'x';
        struct slice guarded = guard_dup(buffer_slice(&text));
        smtp_ehlo_parse(guarded, &peer, NULL);
        size_t expected = first + sizeof " 10465/tls" - 1 <= SMTP_WAYS_MAX ? first + sizeof " 10465/tls" - 1 : first <= SMTP_WAYS_MAX ? first : 0;
        assert_int_equal(peer.ways.len, expected);
        guard_free(&guarded);
        buffer_free(&text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parses_announcements),
        cmocka_unit_test(keeps_whole_ways),
    };
    return cmocka_run_group_tests_name("smtp/ehlo", tests, NULL, NULL);
}
