/* The agent's question: one connection, one request, one answer, one deadline.
 *
 * 1 Whatever comes is decided on by challenge_read and challenge_check; a redirect is not followed, and nothing that came is kept.
 * 2 on_end is called once or, after challenge_cancel, never; the memory goes when connection and timer have. */
#include "net/challenge_internal.h"
#include "net/stream.h"

#include "net/address.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_OCTETS = 255 };

struct challenge {
    struct stream *stream; /* NULL: gone */
    uv_timer_t timer;
    struct challenge_ask ask;
    char server_name[NAME_MAX_OCTETS + 1];
    char nonce[CHALLENGE_NONCE_TEXT + 1];
    char words[CHALLENGE_WORDS + 80];
    bool has_ended, is_timer_closed;
};

static void free_if_closed(struct challenge *challenge)
{
    if (challenge->stream || !challenge->is_timer_closed)
        return;
    tls_context_unref(&challenge->ask.tls);
    free(challenge);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct challenge *challenge = handle->data;
    challenge->is_timer_closed = true;
    free_if_closed(challenge);
}

static void put_down(struct challenge *challenge)
{
    challenge->has_ended = true;
    uv_close((uv_handle_t *)&challenge->timer, on_timer_closed);
    stream_close(challenge->stream);
}

static void end(struct challenge *challenge, enum challenge_result result, const char *words)
{
    static const char *const NAMES[] = {"genuine", "portal", "silent"};
    snprintf(challenge->words, sizeof challenge->words, "%s", words);
    put_down(challenge);
    log_event(challenge->ask.log, LOG_INFO, "challenge", LOG_TEXT("result", NAMES[result]), LOG_TEXT("reason", challenge->words));
    challenge->ask.on_end(challenge->ask.context, result, challenge->words); /* last: the owner forgets us */
}

/* Not to be told from a portal's: whoever gives an answer in the relay's form that is not its own means to deceive. RESULT_MEMORY says nothing. */
static void judge(struct challenge *challenge, struct slice body)
{
    enum result result = challenge_check(challenge->ask.tls, challenge->ask.server_name, slice_from_cstr(challenge->nonce), body);
    if (result == RESULT_OK)
        end(challenge, CHALLENGE_GENUINE, "the relay answers");
    else if (result == RESULT_MEMORY)
        end(challenge, CHALLENGE_SILENT, "out of memory");
    else
        end(challenge, CHALLENGE_SILENT, "it answers as a relay does, but not with our relay's key");
}

/* silent_words: why nothing more comes; not used while it goes on. */
static void look(struct challenge *challenge, enum challenge_end how, const char *silent_words)
{
    char words[CHALLENGE_WORDS];
    struct slice body;
    switch (challenge_read(stream_input(challenge->stream), how, &body, words)) {
    case CHALLENGE_READ_MORE:
        if (how != CHALLENGE_GOES_ON)
            end(challenge, CHALLENGE_SILENT, silent_words);
        break;
    case CHALLENGE_READ_BODY:
        judge(challenge, body);
        break;
    case CHALLENGE_READ_BUSY:
        end(challenge, CHALLENGE_SILENT, words);
        break;
    case CHALLENGE_READ_PORTAL:
        end(challenge, CHALLENGE_PORTAL, words);
        break;
    }
}

static void on_event(void *context, struct stream *stream, enum stream_event event)
{
    struct challenge *challenge = context;
    if (event == STREAM_CLOSED) {
        challenge->stream = NULL;
        free_if_closed(challenge);
        return;
    }
    if (challenge->has_ended)
        return;
    switch (event) {
    case STREAM_DATA:
        look(challenge, CHALLENGE_GOES_ON, "");
        break;
    case STREAM_EOF:
        look(challenge, CHALLENGE_ENDED, "the connection was closed before there was an answer");
        break;
    case STREAM_FAILED:
        look(challenge, CHALLENGE_BROKE_OFF, stream_error(stream)->words);
        break;
    case STREAM_OPENED:
    case STREAM_SECURED:
    case STREAM_DRAINED:
    case STREAM_CLOSED:
        break;
    }
}

static void on_timer(uv_timer_t *timer)
{
    look(timer->data, CHALLENGE_BROKE_OFF, "no answer in time");
}

/* ---- the request ---- */

static bool is_name(const char *text)
{
    for (; *text; text++)
        if (!((*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') || (*text >= '0' && *text <= '9') || strchr("-._", *text)))
            return false;
    return true;
}

/* The Host field: a name, or the address, an IPv6 one in brackets. */
static void host_format(const struct challenge *challenge, char out[static NAME_MAX_OCTETS + 1])
{
    struct in6_addr v6;
    struct net_address address = {0};
    char text[NET_ADDRESS_TEXT];
    const char *name = challenge->server_name;
    if (name[0] && is_name(name)) {
        snprintf(out, NAME_MAX_OCTETS + 1, "%s", name);
        return;
    }
    memcpy(&address, &challenge->ask.address, sizeof address);
    net_address_format_ip(&address, text);
    if (inet_pton(AF_INET6, name, &v6) == 1)
        snprintf(text, sizeof text, "%.60s", name);
    snprintf(out, NAME_MAX_OCTETS + 1, strchr(text, ':') ? "[%s]" : "%s", text);
}

/* Nothing that may be kept on the way, nothing that tells who asks. */
static enum result send_request(struct challenge *challenge)
{
    char host[NAME_MAX_OCTETS + 1], request[CHALLENGE_REQUEST_MAX];
    host_format(challenge, host);
    int len = snprintf(request, sizeof request,
                       "GET " CHALLENGE_PATH "?n=%s HTTP/1.1\r\nHost: %s\r\nAccept: text/plain\r\nAccept-Encoding: identity\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n",
                       challenge->nonce, host);
    return stream_write(challenge->stream, slice_of(request, (size_t)len));
}

/* ---- life ---- */

static struct challenge *challenge_new(uv_loop_t *loop, const struct challenge_ask *ask)
{
    struct challenge *challenge = calloc(1, sizeof *challenge);
    if (!challenge)
        return NULL;
    challenge->ask = *ask;
    snprintf(challenge->server_name, sizeof challenge->server_name, "%s", ask->server_name ? ask->server_name : "");
    challenge->ask.server_name = ask->server_name ? challenge->server_name : NULL;
    challenge->ask.tls = NULL;
    challenge_make_nonce(challenge->nonce);
    uv_timer_init(loop, &challenge->timer);
    challenge->timer.data = challenge;
    return challenge;
}

enum result challenge_start(struct challenge **out, uv_loop_t *loop, const struct challenge_ask *ask)
{
    struct stream *stream;
    *out = NULL;
    struct challenge *challenge = challenge_new(loop, ask);
    if (!challenge)
        return RESULT_MEMORY;
    enum result result = stream_connect(&stream, loop, (const struct sockaddr *)&ask->address, (struct stream_owner){on_event, challenge}, ask->log);
    if (result != RESULT_OK) {
        uv_close((uv_handle_t *)&challenge->timer, on_timer_closed);
        return result;
    }
    challenge->stream = stream;
    challenge->ask.tls = tls_context_ref(ask->tls);
    result = send_request(challenge);
    if (result != RESULT_OK) {
        put_down(challenge);
        return result;
    }
    uv_timer_start(&challenge->timer, on_timer, (uint64_t)(ask->timeout_ms > 0 ? ask->timeout_ms : CHALLENGE_TIMEOUT_MS), 0);
    *out = challenge;
    return RESULT_OK;
}

void challenge_cancel(struct challenge **challenge_at)
{
    struct challenge *challenge = *challenge_at;
    *challenge_at = NULL;
    if (challenge && !challenge->has_ended)
        put_down(challenge);
}
