/* server/outcome.h: the lines of XOUTCOME's answer. */
#include "outcome.h"

#include "mail/address.h"
#include "smtp/reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct store_recipient recipient(enum store_state state, const char *address, const char *host, const char *reply)
{
    return (struct store_recipient){.envelope = {.address = slice_from_cstr(address)},
                                    .state = state,
                                    .next_attempt_ms = 1795392290999,
                                    .at_ms = 1795391990000,
                                    .host = slice_from_cstr(host),
                                    .reply = slice_from_cstr(reply)};
}

static void expect(const struct store_recipient *recipients, size_t n, uint32_t first, uint32_t total, const char *expected)
{
    struct buffer text = {0};
    assert_int_equal(outcome_write(recipients, n, first, total, &text), RESULT_OK);
    assert_int_equal(buffer_append(&text, slice_of("", 1)), RESULT_OK);
    assert_string_equal(buffer_slice(&text).ptr, expected);
    buffer_free(&text);
}

/* The example of schema/link.md, and the states that it leaves out. */
static void test_lines(void **state)
{
    (void)state;
    struct store_recipient recipients[] = {
        recipient(STORE_DELIVERED, "bob@example.net", "mx.example.net [192.0.2.7]:25", "250 2.0.0 Ok: queued"),
        recipient(STORE_QUEUED, "carl@example.net", "mx.example.net [192.0.2.7]:25", "451 4.7.1 greylisted"),
        recipient(STORE_BOUNCED, "dora+x=1@example.net", "", "550 5.1.2 no such domain"),
        recipient(STORE_HELD, "emil@example.net", "", ""),
        recipient(STORE_UNCERTAIN, "fritz@example.net", "mx", ""),
    };
    recipients[3].at_ms = 0;
    expect(recipients, 5, 0, 5,
           "5 recipients from 0\n"
           "delivered 1795391990 0 bob@example.net mx.example.net+20[192.0.2.7]:25 250 2.0.0 Ok: queued\n"
           "queued 1795391990 1795392290 carl@example.net mx.example.net+20[192.0.2.7]:25 451 4.7.1 greylisted\n"
           "bounced 1795391990 0 dora+2Bx+3D1@example.net - 550 5.1.2 no such domain\n"
           "held 0 0 emil@example.net -\n"
           "uncertain 1795391990 1795392290 fritz@example.net mx\n"
           "end");
}

static void test_none_left(void **state)
{
    (void)state;
    expect(NULL, 0, 0, 0, "0 recipients from 0\nend");
    expect(NULL, 0, 7, 3, "3 recipients from 7\nend");
    expect(NULL, 0, UINT32_MAX, UINT32_MAX, "4294967295 recipients from 4294967295\nend");
}

/* What the store did not give in one answer is asked for again. */
static void test_more_than_came(void **state)
{
    (void)state;
    struct store_recipient one = recipient(STORE_HELD, "a@x.example", "", "");
    expect(&one, 1, 4, 6, "6 recipients from 4\nheld 1795391990 0 a@x.example -\nmore 5");
    expect(&one, 1, 5, 6, "6 recipients from 5\nheld 1795391990 0 a@x.example -\nend");
}

/* A server may say what it likes: no word of it makes a line, and what is cut is cut between characters. */
static void test_words_stay_on_their_line(void **state)
{
    (void)state;
    char words[600];
    struct buffer text = {0};
    struct store_recipient one = recipient(STORE_HELD, "a@x.example", "h", "550 a\r\nend\n\x01\xff\xe2\x80\xaez");
    expect(&one, 1, 0, 1, "1 recipients from 0\nheld 1795391990 0 a@x.example h 550 a??end????z\nend");
    for (size_t i = 0; i < sizeof words; i += 2)
        memcpy(words + i, "\xc3\xa4", 2);
    one.reply = slice_of(words, sizeof words);
    for (size_t shift = 0; shift < 2; shift++) {
        one.reply = slice_of(words, sizeof words);
        one.envelope.address = shift ? SLICE("aa@x.example") : SLICE("a@x.example");
        buffer_clear(&text);
        assert_int_equal(outcome_write(&one, 1, 0, 1, &text), RESULT_OK);
        const char *line = memchr(buffer_slice(&text).ptr, '\n', buffer_len(&text));
        size_t len = buffer_len(&text) - (size_t)(line - buffer_slice(&text).ptr) - strlen("\nend");
        assert_in_range(len, OUTCOME_LINE - 1, OUTCOME_LINE);
        assert_memory_equal(line + len - 2, "\xc3\xa4", 2);
    }
    buffer_free(&text);
}

/* A row that was altered on the disk: the answer stays one that its reader takes, with the others' lines. */
static void test_what_the_disk_has_altered(void **state)
{
    (void)state;
    static char address[70000];
    memset(address, '=', sizeof address);
    struct store_recipient recipients[] = {recipient(STORE_HELD, "", "", ""), recipient(STORE_QUEUED, "a@x.example", "", ""), recipient(STORE_HELD, "b@x.example", "", "")};
    recipients[1].at_ms = recipients[1].next_attempt_ms = INT64_MIN;
    expect(recipients, 3, 0, 3, "3 recipients from 0\nheld 1795391990 0 ? -\nqueued 0 0 a@x.example -\nheld 1795391990 0 b@x.example -\nend");
    struct buffer text = {0};
    recipients[0].envelope.address = slice_of(address, sizeof address);
    assert_int_equal(outcome_write(recipients, 3, 0, 3, &text), RESULT_OK);
    assert_in_range(buffer_len(&text), 800, OUTCOME_TEXT_MAX);
    struct slice line, rest = buffer_slice(&text);
    for (int i = 0; i < 3; i++)
        assert_true(slice_cut(rest, '\n', &line, &rest));
    assert_true(slice_equal(line, SLICE("queued 0 0 a@x.example -")));
    buffer_free(&text);
}

/* All of many recipients come, each once, in replies that a reader of ours takes, however long their addresses. */
static void test_all_come(void **state)
{
    (void)state;
    enum { MANY = 300 };
    static struct store_recipient recipients[MANY];
    static char address[256];
    memset(address, 0xe4, ADDRESS_MAX);
    for (size_t i = 0; i < MANY; i++) {
        recipients[i] = recipient(STORE_QUEUED, "a@x.example", "mx.example [192.0.2.7]:25", "451 4.7.1 later");
        if (i % 3 == 0)
            recipients[i].envelope.address = recipients[i].host = slice_of(address, ADDRESS_MAX);
    }
    size_t seen = 0;
    for (uint32_t first = 0, nreplies = 0; first < MANY; nreplies++) {
        struct buffer text = {0}, octets = {0}, read = {0};
        struct smtp_reply reply;
        size_t used, n = MANY - first < OUTCOME_RECIPIENTS ? MANY - first : OUTCOME_RECIPIENTS;
        uint64_t next = MANY;
        assert_int_equal(outcome_write(recipients + first, n, first, MANY, &text), RESULT_OK);
        assert_in_range(buffer_len(&text), 1, OUTCOME_TEXT_MAX);
        assert_int_equal(smtp_reply_write_wide(&(struct smtp_reply){250, {2, 0, 0}, buffer_slice(&text)}, &octets), RESULT_OK);
        assert_int_equal(smtp_reply_parse(buffer_slice(&octets), &read, &reply, &used), RESULT_OK);
        assert_true(slice_equal(reply.text, buffer_slice(&text)));
        struct slice line, rest = reply.text;
        slice_cut(rest, '\n', &line, &rest);
        while (slice_cut(rest, '\n', &line, &rest))
            seen++;
        assert_true(slice_equal(line, SLICE("end")) || (slice_starts_with(line, SLICE("more ")) && slice_to_u64(slice_skip(line, 5), MANY - 1, &next)));
        assert_true(next > first);
        first = (uint32_t)next;
        assert_true(nreplies < MANY);
        buffer_free(&text);
        buffer_free(&octets);
        buffer_free(&read);
    }
    assert_int_equal(seen, MANY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_none_left),
        cmocka_unit_test(test_more_than_came),
        cmocka_unit_test(test_words_stay_on_their_line),
        cmocka_unit_test(test_what_the_disk_has_altered),
        cmocka_unit_test(test_all_come),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
