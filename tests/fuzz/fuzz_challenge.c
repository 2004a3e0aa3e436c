/* Answers to the challenge, from anybody. What is read as a body is in the input, has the form, and stays what it is however much more comes; whoever lacks the relay's key is never believed. */
#include "net/challenge_internal.h"
#include "support/certificates.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool is_true)
{
    if (!is_true)
        abort();
}

static struct tls_context *client(void)
{
    static struct tls_context *context;
    struct tls_context *server;
    if (!context) {
        certificates_contexts(&server, &context);
        tls_context_unref(&server);
    }
    return context;
}

static void check_words(const char *words)
{
    require(strlen(words) < CHALLENGE_WORDS);
    for (; *words; words++)
        require(*words >= ' ' && *words <= '~');
}

static void check_body(struct slice body)
{
    struct challenge_body parts;
    require(challenge_body_begins(body) && challenge_body_parse(body, &parts));
    require(parts.nonce.len == CHALLENGE_NONCE_TEXT && body.len <= CHALLENGE_ANSWER_MAX);
    require(challenge_check(client(), "relay.example", parts.nonce, body) == RESULT_DENIED);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char words[CHALLENGE_WORDS];
    struct slice in = slice_of(data, size), body, earlier;
    for (int end = CHALLENGE_GOES_ON; end <= CHALLENGE_BROKE_OFF; end++) {
        enum challenge_reading reading = challenge_read(in, (enum challenge_end)end, &body, words);
        require(reading != CHALLENGE_READ_MORE || size <= CHALLENGE_HEADERS_MAX + CHALLENGE_ANSWER_MAX);
        if (reading == CHALLENGE_READ_BODY)
            check_body(body);
        else if (reading == CHALLENGE_READ_PORTAL)
            check_words(words);
    }
    /* Decided on a part is decided. */
    enum challenge_reading whole = challenge_read(in, CHALLENGE_GOES_ON, &body, words);
    enum challenge_reading part = challenge_read(slice_take(in, size / 2), CHALLENGE_GOES_ON, &earlier, words);
    require(part == CHALLENGE_READ_MORE || part == whole);
    require(part != CHALLENGE_READ_BODY || slice_equal(body, earlier));
    return 0;
}
