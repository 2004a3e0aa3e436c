/* smtp/client.h, from READY to READY: what is asked of the peer, what it may answer, and what that means for the message. */
#include "support/client_play.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define expect_said(text) assert_string_equal(play_said(&p), text)
#define expect_told(text) assert_string_equal(play_told(&p), text)
#define MESSAGE SLICE("Subject: x\r\n\r\n.dot\r\n")

static struct envelope_recipient recipients[] = {{.address = SLICE("a@example.org")}, {.address = SLICE("b@example.org")}, {.address = SLICE("c@example.org")}};
static struct envelope envelope = {.sender = SLICE("me@example.net"), .recipients = recipients, .nrcpt = 1};
static struct envelope two = {.sender = SLICE("me@example.net"), .recipients = recipients, .nrcpt = 2};
static struct envelope three = {.sender = SLICE("me@example.net"), .recipients = recipients, .nrcpt = 3};

static void send(struct play *p, const struct envelope *e, struct slice body)
{
    play_send(p, &(struct smtp_transaction){.envelope = e}, body);
}

#define PIPELINING "250-PIPELINING\r\n"
#define CHUNKING "250-CHUNKING\r\n"

/* ---- the usual ---- */

static void sends_one_by_one(void **state)
{
    struct play p;
    (void)state;
    play_open_ready(&p, "");
    send(&p, &two, MESSAGE);
    expect_said("MAIL FROM:<me@example.net>\r\n");
    play_server(&p, "250 ok\r\n");
    expect_said("RCPT TO:<a@example.org>\r\n");
    play_server(&p, "250 2.1.5 a ok\r\n");
    expect_told("RECIPIENT 0: 250 2.1.5 a ok\n");
    expect_said("RCPT TO:<b@example.org>\r\n");
    play_server(&p, "251 will forward\r\n");
    expect_told("RECIPIENT 1: 251 will forward\n");
    expect_said("DATA\r\n");
    play_server(&p, "354 go\r\n");
    expect_told("BODY\n");
    expect_said("Subject: x\r\n\r\n..dot\r\n.\r\n");
    assert_string_equal(smtp_client_state_name(p.client), "final");
    play_server(&p, "250 2.0.0 queued\r\n");
    expect_told("SENT accepted: 250 2.0.0 queued [end of data]\nREADY\n");
    send(&p, &envelope, MESSAGE);
    expect_said("MAIL FROM:<me@example.net>\r\n");
    play_close(&p);
}

static void pipelines_data(void **state)
{
    struct play p;
    (void)state;
    play_open_ready(&p, PIPELINING);
    send(&p, &two, MESSAGE);
    expect_said("MAIL FROM:<me@example.net>\r\nRCPT TO:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n");
    expect_told("");
    play_server(&p, "250 ok\r\n250 a\r\n550 5.1.1 b\r\n354 go\r\n");
    expect_told("RECIPIENT 0: 250 a\nRECIPIENT 1: 550 5.1.1 b\nBODY\n");
    expect_said("Subject: x\r\n\r\n..dot\r\n.\r\n");
    play_server(&p, "250 queued\r\n");
    expect_told("SENT accepted: 250 queued [end of data]\nREADY\n");
    play_close(&p);
}

/* One flight, one round trip. */
static void pipelines_bdat(void **state)
{
    struct play p;
    (void)state;
    play_open_ready(&p, PIPELINING CHUNKING "250-SIZE 0\r\n");
    p.keeps_output = true;
    send(&p, &two, MESSAGE);
    expect_told("BODY\n");
    play_take(&p, SIZE_MAX);
    expect_said("MAIL FROM:<me@example.net> SIZE=20\r\nRCPT TO:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nBDAT 20 LAST\r\nSubject: x\r\n\r\n.dot\r\n");
    play_server(&p, "250 ok\r\n250 a\r\n450 4.2.0 b\r\n250 queued\r\n");
    expect_told("RECIPIENT 0: 250 a\nRECIPIENT 1: 450 4.2.0 b\nSENT accepted: 250 queued [end of data]\nREADY\n");
    assert_int_equal(smtp_client_output(p.client).len, 0);
    play_close(&p);
}

static void chunks_without_pipelining(void **state)
{
    struct play p;
    (void)state;
    play_open_ready(&p, CHUNKING);
    p.piece = 10;
    send(&p, &envelope, MESSAGE);
    play_server(&p, "250 ok\r\n");
    play_server(&p, "250 a\r\n");
    expect_said("MAIL FROM:<me@example.net>\r\nRCPT TO:<a@example.org>\r\nBDAT 10\r\nSubject: x");
    play_server(&p, "250 10 octets\r\n");
    expect_said("BDAT 10 LAST\r\n\r\n\r\n.dot\r\n");
    play_server(&p, "250 queued\r\n");
    expect_told("RECIPIENT 0: 250 a\nBODY\nBODY\nSENT accepted: 250 queued [end of data]\nREADY\n");
    play_close(&p);
}

/* The second piece waits until somebody is there to get it; then they follow one another. */
static void large_message_waits_for_a_recipient(void **state)
{
    struct play p;
    (void)state;
    play_open_ready(&p, PIPELINING CHUNKING);
    p.piece = 8;
    send(&p, &envelope, MESSAGE);
    expect_told("BODY\n");
    expect_said("MAIL FROM:<me@example.net>\r\nRCPT TO:<a@example.org>\r\nBDAT 8\r\nSubject:");
    play_server(&p, "250 ok\r\n250 a\r\n");
    expect_told("RECIPIENT 0: 250 a\nBODY\nBODY\n");
    expect_said("BDAT 8\r\n x\r\n\r\n.dBDAT 4 LAST\r\not\r\n");
    play_server(&p, "250 one\r\n250 two\r\n250 queued\r\n");
    expect_told("SENT accepted: 250 queued [end of data]\nREADY\n");
    play_close(&p);
}

static void sends_an_empty_last_piece(void **state)
{
    struct play p;
    (void)state;
    for (int chunking = 0; chunking < 2; chunking++) {
        play_open_ready(&p, chunking ? PIPELINING CHUNKING : PIPELINING);
        p.keeps_body = true;
        send(&p, &envelope, SLICE("a\r\n"));
        if (!chunking)
            play_server(&p, "250 ok\r\n250 a\r\n354 go\r\n");
        play_said(&p);
        smtp_client_body(p.client, SLICE("a\r\n"), false, p.now_ms);
        play_pump(&p);
        if (chunking)
            play_server(&p, "250 ok\r\n250 a\r\n250 chunk\r\n");
        smtp_client_body(p.client, (struct slice){0}, true, p.now_ms);
        play_pump(&p);
        expect_said(chunking ? "BDAT 3\r\na\r\nBDAT 0 LAST\r\n" : "a\r\n.\r\n");
        play_close(&p);
    }
}

/* ---- parameters ---- */

static void passes_what_was_asked_for(void **state)
{
    static struct envelope_recipient asking[] = {
        {.address = SLICE("a@example.org"), .notify = DSN_NOTIFY_SUCCESS | DSN_NOTIFY_FAILURE, .orcpt = SLICE("rfc822;a@example.org")},
        {.address = SLICE("b@example.org"), .notify = DSN_NOTIFY_NEVER, .orcpt = SLICE("rfc822;b\r\nRSET")},
    };
    static const struct envelope e = {.sender = SLICE(""), .ret = DSN_RET_HDRS, .envid = SLICE("QQ+3D1"), .recipients = asking, .nrcpt = 2};
    struct play p;
    (void)state;
    play_open_ready(&p, PIPELINING "250-SIZE\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n");
    play_send(&p, &(struct smtp_transaction){.envelope = &e, .has_8bit = true, .needs_smtputf8 = true}, SLICE("\xc3\xbc\r\n"));
    expect_said("MAIL FROM:<> SIZE=4 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=QQ+3D1\r\n"
                "RCPT TO:<a@example.org> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a@example.org\r\nRCPT TO:<b@example.org> NOTIFY=NEVER\r\nDATA\r\n");
    play_close(&p);

    play_open_ready(&p, PIPELINING "250-SIZE\r\n250-8BITMIME\r\n");
    play_send(&p, &(struct smtp_transaction){.envelope = &e}, SLICE("u\r\n"));
    expect_said("MAIL FROM:<> SIZE=3\r\nRCPT TO:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n");
    play_close(&p);

    play_open_ready(&p, CHUNKING "250-BINARYMIME\r\n250-8BITMIME\r\n");
    play_send(&p, &(struct smtp_transaction){.envelope = &e, .is_binary = true, .has_8bit = true}, slice_of("\0\n\r", 3));
    expect_said("MAIL FROM:<> BODY=BINARYMIME\r\n");
    play_close(&p);
}

/* A need that the peer lacks ends the transaction before any octet. */
static void refuses_what_the_peer_lacks(void **state)
{
    static struct envelope_recipient international = {.address = SLICE("j\xc3\xb6rg@example.org")};
    static const struct envelope e = {.sender = SLICE("me@example.net"), .recipients = &international, .nrcpt = 1};
    static const struct {
        const char *extensions;
        struct smtp_transaction asked;
        const char *status;
    } rows[] = {
        {"", {.envelope = &envelope, .has_8bit = true}, "554 5.6.3"},
        {"250-8BITMIME\r\n", {.envelope = &envelope, .needs_smtputf8 = true}, "553 5.6.7"},
        {"250-8BITMIME\r\n", {.envelope = &e}, "553 5.6.7"},
        {CHUNKING "250-8BITMIME\r\n", {.envelope = &envelope, .is_binary = true}, "554 5.6.3"},
        {"250-BINARYMIME\r\n250-8BITMIME\r\n", {.envelope = &envelope, .is_binary = true}, "554 5.6.3"},
        {"250-SIZE 19\r\n", {.envelope = &envelope}, "552 5.3.4"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct play p;
        char start[64];
        play_open_ready(&p, rows[i].extensions);
        play_send(&p, &rows[i].asked, MESSAGE);
        const char *told = play_told(&p);
        snprintf(start, sizeof start, "SENT refused: %s ", rows[i].status);
        assert_memory_equal(told, start, strlen(start));
        assert_non_null(strstr(told, "[MAIL FROM] (ours)\nREADY\n"));
        expect_said("");
        play_close(&p);
    }
    struct play p;
    play_open_ready(&p, "250-SIZE 20\r\n");
    send(&p, &envelope, MESSAGE);
    expect_said("MAIL FROM:<me@example.net> SIZE=20\r\n");
    play_close(&p);
}

/* RFC 1870 6.1, and both numbers for whoever wrote it. */
static void one_too_large_is_told_in_numbers(void **state)
{
    static const struct {
        const char *size;
        uint64_t octets;
        const char *words;
    } rows[] = {
        {"250-SIZE 52428800\r\n", 61200000, "The message has 61.2 MB, the next hop takes at most 52.4 MB"},
        {"250-SIZE 52428800\r\n", 52428801, "The message has 52428801 octets, the next hop takes at most 52428800 octets"},
        {"250-SIZE 999\r\n", 1000, "The message has 1.0 KB, the next hop takes at most 999 octets"},
        {"250-SIZE 999999\r\n", UINT64_MAX, "The message has 18446744073.7 GB, the next hop takes at most 1000.0 KB"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct play p;
        char expected[200];
        play_open_ready(&p, rows[i].size);
        play_send(&p, &(struct smtp_transaction){.envelope = &envelope, .size_octets = rows[i].octets}, MESSAGE);
        snprintf(expected, sizeof expected, "SENT refused: 552 5.3.4 %s [MAIL FROM] (ours)\nREADY\n", rows[i].words);
        expect_told(expected);
        expect_said("");
        play_close(&p);
    }
}

/* What the peer has taken by its own word: replies to BDAT, and 355. */
static void it_tells_what_the_peer_has_taken(void **state)
{
    enum { SIZE = 3 * SMTP_CLIENT_CHUNK_MAX + 100 };
    static char body[SIZE];
    struct smtp_transaction asked = {.envelope = &envelope, .transid = SLICE("<1@x>")};
    struct play p;
    (void)state;
    memset(body, 'x', sizeof body);
    for (size_t i = 79; i < sizeof body; i += 80)
        memcpy(body + i - 1, "\r\n", 2);
    memcpy(body + sizeof body - 2, "\r\n", 2);
    play_open_ready(&p, PIPELINING CHUNKING "250-CHECKPOINT\r\n250-XOUTCOME e1 600\r\n");
    assert_int_equal(smtp_client_taken_octets(p.client), 0);
    play_send(&p, &asked, slice_of(body, sizeof body));
    assert_int_equal(smtp_client_taken_octets(p.client), 0);
    play_server(&p, "250 ok\r\n250 a\r\n");
    assert_int_equal(smtp_client_taken_octets(p.client), 0);
    play_server(&p, "250 taken\r\n");
    assert_int_equal(smtp_client_taken_octets(p.client), SMTP_CLIENT_CHUNK_MAX);
    play_server(&p, "250 taken\r\n");
    play_eof(&p);
    assert_int_equal(smtp_client_taken_octets(p.client), 2 * SMTP_CLIENT_CHUNK_MAX); /* the session has failed, the word stands */
    play_close(&p);

    play_open_ready(&p, PIPELINING CHUNKING "250-CHECKPOINT\r\n250-XOUTCOME e1 600\r\n");
    asked.asks_first = true;
    p.piece = 480;
    play_send(&p, &asked, slice_of(body, sizeof body));
    play_server(&p, "355 160 are here\r\n");
    assert_int_equal(smtp_client_taken_octets(p.client), 160);
    play_server(&p, "250 a\r\n");
    assert_int_equal(smtp_client_taken_octets(p.client), 160);
    play_server(&p, "452 4.3.1 full\r\n");
    assert_int_equal(smtp_client_taken_octets(p.client), 0);
    play_close(&p);
}

/* CWE-93: nothing in an address ends the line or the path. */
static void refuses_addresses_that_cannot_be_written(void **state)
{
    static struct envelope_recipient odd[] = {
        {.address = SLICE("a\r\nRSET@example.org")}, {.address = SLICE("b> NOTIFY=NEVER@x")}, {.address = SLICE("")},
        {.address = SLICE("\"c > d\"@example.org")}, {.address = SLICE("e\0@example.org")},
    };
    static const struct envelope e = {.sender = SLICE("me@example.net"), .recipients = odd, .nrcpt = 5};
    static const struct envelope none = {.sender = SLICE("me@example.net"), .recipients = odd, .nrcpt = 3};
    static const struct envelope sender = {.sender = SLICE("me\nRSET"), .recipients = recipients, .nrcpt = 1};
    static const char local[] = "553 5.1.3 The recipient's address can't be written in SMTP (ours)";
    struct play p;
    char told[1000];
    (void)state;
    play_open_ready(&p, PIPELINING);
    send(&p, &e, MESSAGE);
    expect_said("MAIL FROM:<me@example.net>\r\nRCPT TO:<\"c > d\"@example.org>\r\nDATA\r\n");
    snprintf(told, sizeof told, "RECIPIENT 0: %s\nRECIPIENT 1: %s\nRECIPIENT 2: %s\nRECIPIENT 4: %s\n", local, local, local, local);
    expect_told(told);
    play_server(&p, "250 ok\r\n250 c\r\n354 go\r\n");
    expect_told("RECIPIENT 3: 250 c\nBODY\n");
    play_close(&p);

    play_open_ready(&p, PIPELINING);
    send(&p, &none, MESSAGE);
    snprintf(told, sizeof told, "RECIPIENT 0: %s\nRECIPIENT 1: %s\nRECIPIENT 2: %s\nSENT nobody [RCPT TO]\nREADY\n", local, local, local);
    expect_told(told);
    expect_said("");
    send(&p, &sender, MESSAGE);
    expect_told("SENT refused: 553 5.1.7 The sender's address can't be written in SMTP [MAIL FROM] (ours)\nREADY\n");
    expect_said("");
    play_close(&p);
}

/* ---- refusals ---- */

struct refusal {
    const char *extensions, *replies, *told, *then_said;
};

/* One message to two recipients, all replies given at once, then another message: what begins it tells whether RSET was needed. */
static void check_refusal(const struct refusal *row)
{
    struct play p;
    play_open_ready(&p, row->extensions);
    send(&p, &two, MESSAGE);
    play_server(&p, row->replies);
    expect_told(row->told);
    play_said(&p);
    send(&p, &envelope, MESSAGE);
    assert_memory_equal(play_said(&p), row->then_said, strlen(row->then_said));
    play_close(&p);
}

#define R0 "RECIPIENT 0: "
#define R1 "RECIPIENT 1: "
static void refusals_when_pipelined(void **state)
{
    static const struct refusal rows[] = {
        {PIPELINING, "550 5.7.1 no\r\n503 a\r\n503 b\r\n503 data\r\n", "SENT refused: 550 5.7.1 no [MAIL FROM]\nREADY\n", "MAIL"},
        {PIPELINING, "451 4.7.1 later\r\n250 a\r\n250 b\r\n503 data\r\n", "SENT deferred: 451 4.7.1 later [MAIL FROM]\nREADY\n", "MAIL"},
        {PIPELINING, "250 ok\r\n550 a\r\n450 b\r\n554 no valid recipients\r\n", R0 "550 a\n" R1 "450 b\nSENT nobody [RCPT TO]\nREADY\n", "RSET\r\nMAIL"},
        {PIPELINING, "250 ok\r\n250 a\r\n450 b\r\n451 4.3.0 later\r\n", R0 "250 a\n" R1 "450 b\nSENT deferred: 451 4.3.0 later [DATA]\nREADY\n", "RSET\r\nMAIL"},
        {PIPELINING, "250 ok\r\n250 a\r\n450 b\r\n550 no\r\n", R0 "250 a\n" R1 "450 b\nSENT refused: 550 no [DATA]\nREADY\n", "RSET\r\nMAIL"},
        {PIPELINING CHUNKING, "550 no\r\n503 a\r\n503 b\r\n503 bdat\r\n", "BODY\nSENT refused: 550 no [MAIL FROM]\nREADY\n", "RSET\r\nMAIL"},
        {PIPELINING CHUNKING, "250 ok\r\n550 a\r\n550 b\r\n554 nobody\r\n", "BODY\n" R0 "550 a\n" R1 "550 b\nSENT nobody [RCPT TO]\nREADY\n", "RSET\r\nMAIL"},
        {PIPELINING CHUNKING, "250 ok\r\n550 a\r\n250 b\r\n554 spam\r\n", "BODY\n" R0 "550 a\n" R1 "250 b\nSENT refused: 554 spam [end of data]\nREADY\n", "RSET\r\nMAIL"},
        {PIPELINING CHUNKING, "250 ok\r\n250 a\r\n250 b\r\n250 in\r\n", "BODY\n" R0 "250 a\n" R1 "250 b\nSENT accepted: 250 in [end of data]\nREADY\n", "MAIL"},
        {PIPELINING CHUNKING, "250 ok\r\n550 a\r\n550 b\r\n250 in\r\n", "BODY\n" R0 "550 a\n" R1 "550 b\nSENT nobody [RCPT TO]\nREADY\n", "RSET\r\nMAIL"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        check_refusal(&rows[i]);
}

/* RFC 2920 3.1 and RFC 5321 4.1.1.4: a 354 for nobody is answered with a lone dot, whose reply means nothing. */
static void lone_dot_for_nobody(void **state)
{
    static const struct {
        const char *flight, *told;
    } rows[] = {
        {"250 ok\r\n550 a\r\n550 b\r\n354 go\r\n", R0 "550 a\n" R1 "550 b\nSENT nobody [RCPT TO]\nREADY\n"},
        {"550 no\r\n503 a\r\n503 b\r\n354 go\r\n", "SENT refused: 550 no [MAIL FROM]\nREADY\n"},
    };
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct play p;
        play_open_ready(&p, PIPELINING);
        send(&p, &two, MESSAGE);
        play_said(&p);
        play_server(&p, rows[i / 2].flight);
        expect_said(".\r\n");
        play_server(&p, i % 2 ? "250 what did you send?\r\n" : "554 no valid recipients\r\n");
        expect_told(rows[i / 2].told);
        send(&p, &envelope, MESSAGE);
        expect_said("MAIL FROM:<me@example.net>\r\nRCPT TO:<a@example.org>\r\nDATA\r\n");
        play_close(&p);
    }
}

static void refusals_one_by_one(void **state)
{
    struct play p;
    (void)state;
    play_open_ready(&p, "");
    send(&p, &two, MESSAGE);
    play_server(&p, "250 ok\r\n");
    play_server(&p, "550 a\r\n");
    play_server(&p, "450 b\r\n");
    expect_told(R0 "550 a\n" R1 "450 b\nSENT nobody [RCPT TO]\nREADY\n");
    expect_said("MAIL FROM:<me@example.net>\r\nRCPT TO:<a@example.org>\r\nRCPT TO:<b@example.org>\r\n");
    send(&p, &envelope, MESSAGE);
    expect_said("RSET\r\n");
    play_server(&p, "250 forgotten\r\n");
    expect_said("MAIL FROM:<me@example.net>\r\n");
    play_server(&p, "452 4.3.1 full\r\n");
    expect_told("SENT deferred: 452 4.3.1 full [MAIL FROM]\nREADY\n");
    expect_said("");
    play_close(&p);
}

/* A refused chunk ends the body; the replies still owed are read, and the transaction is reset (RFC 3030 2). */
static void refused_chunk_ends_the_body(void **state)
{
    struct play p;
    (void)state;
    play_open_ready(&p, PIPELINING CHUNKING);
    p.piece = 8;
    p.keeps_body = true;
    send(&p, &envelope, MESSAGE);
    play_body(&p);
    play_server(&p, "250 ok\r\n250 a\r\n");
    play_body(&p);
    play_said(&p);
    expect_told("BODY\n" R0 "250 a\nBODY\nBODY\n");
    play_server(&p, "552 5.3.4 too large\r\n");
    expect_told("");
    play_server(&p, "503 bdat\r\n");
    expect_told(""); /* BODY is owed an answer first */
    play_body(&p);
    expect_told("SENT refused: 552 5.3.4 too large [message]\nREADY\n");
    expect_said("");
    send(&p, &envelope, MESSAGE);
    expect_said("RSET\r\nMAIL FROM:<me@example.net>\r\nRCPT TO:<a@example.org>\r\n");
    play_close(&p);
}

static void refused_at_the_end(void **state)
{
    struct play p;
    (void)state;
    play_open_ready(&p, PIPELINING);
    send(&p, &envelope, MESSAGE);
    play_server(&p, "250 ok\r\n250 a\r\n354 go\r\n");
    play_server(&p, "451 4.3.0 disk\r\n");
    expect_told(R0 "250 a\nBODY\nSENT deferred: 451 4.3.0 disk [end of data]\nREADY\n");
    play_said(&p);
    send(&p, &envelope, MESSAGE);
    expect_said("MAIL FROM:<me@example.net>\r\nRCPT TO:<a@example.org>\r\nDATA\r\n");
    play_server(&p, "250 ok\r\n250 a\r\n354 go\r\n");
    play_server(&p, "554 5.7.1 spam\r\n");
    expect_told(R0 "250 a\nBODY\nSENT refused: 554 5.7.1 spam [end of data]\nREADY\n");
    play_close(&p);
}

/* ---- too many recipients ---- */

static void keeps_to_rcptmax(void **state)
{
    static const char put_off[] = "452 4.5.3 The next hop takes no more recipients at a time (ours)\n";
    struct play p;
    char told[300];
    (void)state;
    play_open_ready(&p, PIPELINING "250-LIMITS RCPTMAX=2\r\n");
    send(&p, &three, MESSAGE);
    expect_said("MAIL FROM:<me@example.net>\r\nRCPT TO:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n");
    snprintf(told, sizeof told, "RECIPIENT 2: %s", put_off);
    expect_told(told);
    play_close(&p);
    play_open_ready(&p, PIPELINING "250-LIMITS RCPTMAX=3\r\n");
    send(&p, &three, MESSAGE);
    expect_told("");
    play_close(&p);
}

/* Under a name the peer may have taken all of them before it lowered its limit: it says itself who is too many, or they would get it twice. */
static void under_a_name_the_peer_counts_recipients(void **state)
{
    struct play p;
    (void)state;
    play_open_ready(&p, PIPELINING "250-CHUNKING\r\n250-CHECKPOINT\r\n250-XOUTCOME abc 604800\r\n250-LIMITS RCPTMAX=2\r\n");
    play_send(&p, &(struct smtp_transaction){.envelope = &three, .transid = SLICE("<1@a>")}, MESSAGE);
    play_server(&p, "250 ok\r\n250 a\r\n250 b\r\n250 c\r\n250 queued\r\n");
    expect_told("BODY\n" R0 "250 a\n" R1 "250 b\nRECIPIENT 2: 250 c\nSENT accepted: 250 queued [end of data]\nREADY\n");
    play_close(&p);
}

/* RFC 5321 4.5.3.1.10: 452, and 552 from old servers. */
static void too_many_means_later(void **state)
{
    static const struct {
        const char *replies, *told;
    } rows[] = {
        {"250 ok\r\n250 a\r\n452 4.5.3 b\r\n452 c\r\n", R0 "250 a\n" R1 "452 4.5.3 b\nRECIPIENT 2: 452 c\n"},
        {"250 ok\r\n250 a\r\n552 b\r\n552 5.5.3 c\r\n", R0 "250 a\n" R1 "452 4.5.3 b\nRECIPIENT 2: 452 4.5.3 c\n"},
        {"250 ok\r\n250 a\r\n552 5.2.2 b full\r\n550 c\r\n", R0 "250 a\n" R1 "552 5.2.2 b full\nRECIPIENT 2: 550 c\n"},
        {"250 ok\r\n552 a\r\n250 b\r\n250 c\r\n", R0 "552 a\n" R1 "250 b\nRECIPIENT 2: 250 c\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct play p;
        play_open_ready(&p, PIPELINING);
        send(&p, &three, MESSAGE);
        play_server(&p, rows[i].replies);
        expect_told(rows[i].told);
        play_close(&p);
    }
}

/* ---- hostile and broken peers ---- */

/* Replies up to the point where the session ends, for one message to one recipient. */
static void names_the_phase_of_failure(void **state)
{
    static const struct {
        const char *extensions, *replies, *told;
    } rows[] = {
        {"", "354 go\r\n", "FAILED protocol [MAIL FROM]: 354 go\n"},
        {"", "250 ok\r\n|354 go\r\n", "FAILED protocol [RCPT TO]: 354 go\n"},
        {"", "250 ok\r\n|250 a\r\n|250 what\r\n", R0 "250 a\nFAILED protocol [DATA]: 250 what\n"},
        {"", "250 ok\r\n|250 a\r\n|354 go\r\n|354 go\r\n", R0 "250 a\nBODY\nFAILED protocol [end of data] uncertain: 354 go\n"},
        {"", "250 ok\r\n|250 a\r\n|354 go\r\n|nonsense\r\n", R0 "250 a\nBODY\nFAILED protocol [end of data] uncertain\n"},
        {"", "250 ok\r\n|250 a\r\n|354 go\r\n|421 no\r\n", R0 "250 a\nBODY\nFAILED shut [end of data]: 421 no\n"},
        {"", "421 no\r\n", "FAILED shut [MAIL FROM]: 421 no\n"},
        {"", "250 ok\r\n|421 no\r\n", "FAILED shut [RCPT TO]: 421 no\n"},
        {"", "250 ok\r\n|250 a\r\n|421 no\r\n", R0 "250 a\nFAILED shut [DATA]: 421 no\n"},
        {"", "250 ok\r\n250 unasked\r\n", "FAILED protocol [RCPT TO]\n"},
        {"", "250 ok\r\n|250 a\r\n354 early\r\n", R0 "250 a\nFAILED protocol [DATA]\n"},
        {"", "25", "FAILED eof [MAIL FROM]\n"},
        {"", "250 ok\r\n|250 a\r\n|354 go\r\n|250 queued\r\n250 again\r\n", R0 "250 a\nBODY\nSENT accepted: 250 queued [end of data]\nREADY\nFAILED protocol [idle]: 250 again\n"},
        {PIPELINING CHUNKING, "", "BODY\nFAILED eof [MAIL FROM] uncertain\n"},
        {PIPELINING CHUNKING, "250 ok\r\n550 a\r\n", "BODY\n" R0 "550 a\nFAILED eof [end of data]\n"},
        {PIPELINING CHUNKING, "250 ok\r\n250 a\r\n", "BODY\n" R0 "250 a\nFAILED eof [end of data] uncertain\n"},
        {PIPELINING CHUNKING, "550 no\r\n", "BODY\nFAILED eof [RCPT TO]\n"},
        {PIPELINING CHUNKING, "421 no\r\n", "BODY\nFAILED shut [MAIL FROM]: 421 no\n"},
        {PIPELINING CHUNKING, "250 ok\r\n250 a\r\n354 go\r\n", "BODY\n" R0 "250 a\nFAILED protocol [end of data] uncertain: 354 go\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct play p;
        struct slice flight, rest = slice_from_cstr(rows[i].replies);
        play_open_ready(&p, rows[i].extensions);
        send(&p, &envelope, MESSAGE);
        while (slice_cut(rest, '|', &flight, &rest) || flight.len > 0)
            play_feed(&p, flight);
        if (smtp_client_deadline_ms(p.client) != INT64_MAX)
            play_eof(&p);
        expect_told(rows[i].told);
        assert_int_equal(smtp_client_output(p.client).len, 0);
        play_close(&p);
    }
}

/* Invariant 2: a message that has not left can't have been accepted. */
static void refuses_an_early_yes(void **state)
{
    struct play p;
    (void)state;
    for (int chunking = 0; chunking < 2; chunking++) {
        play_open_ready(&p, chunking ? CHUNKING : "");
        send(&p, &envelope, MESSAGE);
        play_server(&p, "250 ok\r\n");
        p.keeps_output = true;
        play_server(&p, chunking ? "" : "250 a\r\n");
        play_take(&p, SIZE_MAX);
        play_server(&p, chunking ? "250 a\r\n" : "354 go\r\n");
        play_take(&p, smtp_client_output(p.client).len - 1);
        play_server(&p, "250 queued\r\n");
        expect_told(R0 "250 a\nBODY\nFAILED protocol [end of data]: 250 queued\n");
        assert_int_equal(smtp_client_output(p.client).len, 0);
        play_close(&p);
    }
}

/* Some servers refuse in the middle of DATA. What they say counts, the session does not survive it. */
static void refused_in_the_middle(void **state)
{
    struct play p;
    (void)state;
    play_open_ready(&p, "");
    p.piece = 4;
    p.keeps_body = true;
    send(&p, &envelope, MESSAGE);
    play_server(&p, "250 ok\r\n");
    play_server(&p, "250 a\r\n");
    play_server(&p, "354 go\r\n");
    play_body(&p);
    expect_told(R0 "250 a\nBODY\nBODY\n");
    play_server(&p, "552 5.3.4 too large\r\n");
    play_said(&p);
    play_body(&p);
    expect_told("SENT refused: 552 5.3.4 too large [message]\nFAILED protocol [message]\n");
    expect_said("");
    play_close(&p);
}

static void replies_to_rset_matter(void **state)
{
    struct play p;
    (void)state;
    play_open_ready(&p, PIPELINING);
    send(&p, &envelope, MESSAGE);
    play_server(&p, "250 ok\r\n550 a\r\n554 data\r\n");
    send(&p, &envelope, MESSAGE);
    play_told(&p);
    play_server(&p, "502 RSET?\r\n250 ok\r\n");
    expect_told("FAILED protocol [RSET]: 502 RSET?\n");
    play_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sends_one_by_one),
        cmocka_unit_test(pipelines_data),
        cmocka_unit_test(pipelines_bdat),
        cmocka_unit_test(chunks_without_pipelining),
        cmocka_unit_test(large_message_waits_for_a_recipient),
        cmocka_unit_test(sends_an_empty_last_piece),
        cmocka_unit_test(passes_what_was_asked_for),
        cmocka_unit_test(refuses_what_the_peer_lacks),
        cmocka_unit_test(one_too_large_is_told_in_numbers),
        cmocka_unit_test(it_tells_what_the_peer_has_taken),
        cmocka_unit_test(refuses_addresses_that_cannot_be_written),
        cmocka_unit_test(refusals_when_pipelined),
        cmocka_unit_test(lone_dot_for_nobody),
        cmocka_unit_test(refusals_one_by_one),
        cmocka_unit_test(refused_chunk_ends_the_body),
        cmocka_unit_test(refused_at_the_end),
        cmocka_unit_test(keeps_to_rcptmax),
        cmocka_unit_test(under_a_name_the_peer_counts_recipients),
        cmocka_unit_test(too_many_means_later),
        cmocka_unit_test(names_the_phase_of_failure),
        cmocka_unit_test(refuses_an_early_yes),
        cmocka_unit_test(refused_in_the_middle),
        cmocka_unit_test(replies_to_rset_matter),
    };
    return cmocka_run_group_tests_name("smtp/client transaction", tests, NULL, NULL);
}
