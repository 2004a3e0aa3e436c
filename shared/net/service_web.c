/* What a relay says to who speaks HTTP: the challenge's answer, on listeners of mode http; a page on /, inside TLS, where a browser has knocked; and to all else that it is
 * not here. One request, one answer, the end. But for the challenge nothing tells what runs here, or where. */
#include "net/challenge.h"
#include "net/http_request.h"
#include "net/service_internal.h"

#include "mail/date.h"

#include <string.h>

enum { ANSWER_MAX = CHALLENGE_ANSWER_MAX + 1024 /* octets */, A_SECOND_MS = 1000 };

struct web_answer {
    const char *status;
    const char *type;
    const char *fields; /* further ones, each with CRLF */
    struct slice body;
};

/* A page that says its title. */
struct web_page {
    const char *status;
    const char *words;
    const char *fields; /* as above; NULL: none */
};

static const struct web_page home = {"200 OK", "There is nothing to see here", NULL};
static const struct web_page not_found = {"404 Not Found", "Not found", NULL};
static const struct web_page too_busy = {"503 Service Unavailable", "Busy", "Retry-After: 1\r\n"};
static const struct web_page failed = {"500 Internal Server Error", "Something went wrong", NULL};
static const struct web_page bad_request = {"400 Bad Request", "Bad request", NULL};
static const struct web_page too_large = {"431 Request Header Fields Too Large", "Request too large", NULL};
static const struct web_page bad_version = {"505 HTTP Version Not Supported", "HTTP version not supported", NULL};

/* ---- writing ---- */

static enum result write_answer(struct buffer *out, const struct web_answer *answer, bool is_head)
{
    char date[DATE_RFC5322];
    date_format_rfc5322(wall_now_ms(), date);
    /* RFC 9110 5.6.7: GMT in place of the zone, which is +0000. */
    enum result result = buffer_printf(out,
                                       "HTTP/1.1 %s\r\nDate: %.26sGMT\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%sCache-Control: no-store\r\n"
                                       "Connection: close\r\n\r\n",
                                       answer->status, date, answer->type, answer->body.len, answer->fields);
    return result == RESULT_OK && !is_head ? buffer_append(out, answer->body) : result;
}

static void send_answer(struct service_session *session, const struct web_answer *answer, bool is_head)
{
    struct buffer out = BUFFER(ANSWER_MAX);
    log_event(session->service->config.log, LOG_DEBUG, "web", LOG_TEXT("session", session->id), LOG_TEXT("peer", session->peer),
              LOG_TEXT("status", answer->status));
    if (write_answer(&out, answer, is_head) != RESULT_OK || stream_write(session->stream, buffer_slice(&out)) != RESULT_OK)
        service_session_kill(session);
    else
        service_session_finish(session);
    buffer_free(&out);
}

static void send_page(struct service_session *session, const struct web_page *page, bool is_head)
{
    struct buffer body = BUFFER(ANSWER_MAX);
    struct web_answer answer = {.status = page->status, .type = "text/html; charset=utf-8", .fields = page->fields ? page->fields : ""};
    if (buffer_printf(&body, "<!DOCTYPE html>\n<html lang=\"en\"><head><title>%s</title></head><body><p>%s.</p></body></html>\n", page->words,
                      page->words) == RESULT_OK) {
        answer.body = buffer_slice(&body);
        send_answer(session, &answer, is_head);
    } else {
        service_session_kill(session);
    }
    buffer_free(&body);
}

/* ---- requests ---- */

/* In this second, as many as are allowed: a quarter of them for one address, so that a single one that asks without end keeps nobody else from an answer. */
static bool may_sign(struct service_session *session)
{
    struct service *service = session->service;
    uint32_t max = service->config.challenges_per_s;
    uint32_t *from = &service->nsigned_from[service_bucket_of(session->address_key)];
    int64_t now_ms = service_now_ms(session);
    if (now_ms - service->signing_since_ms >= A_SECOND_MS) {
        service->signing_since_ms = now_ms;
        service->nsigned = 0;
        memset(service->nsigned_from, 0, sizeof service->nsigned_from);
    }
    if (service->nsigned >= max || *from >= (max + 3) / 4)
        return false;
    service->nsigned++;
    ++*from;
    return true;
}

static void answer_challenge(struct service_session *session, const struct http_request *request, bool is_head)
{
    struct service *service = session->service;
    struct buffer body = BUFFER(CHALLENGE_ANSWER_MAX);
    enum result result = RESULT_SYNTAX;
    if (slice_starts_with(request->query, SLICE("n=")) && request->query.len == 2 + CHALLENGE_NONCE_TEXT)
        result = may_sign(session) ? service->config.answer_challenge(service->tls, slice_skip(request->query, 2), &body) : RESULT_BUSY;
    if (result == RESULT_OK)
        send_answer(session, &(struct web_answer){"200 OK", "text/plain; charset=us-ascii", "", buffer_slice(&body)}, is_head);
    else if (result == RESULT_SYNTAX)
        send_page(session, &not_found, is_head);
    else
        send_page(session, result == RESULT_BUSY ? &too_busy : &failed, is_head);
    buffer_free(&body);
}

static void take(struct service_session *session, const struct http_request *request)
{
    const struct service *service = session->service;
    bool is_head = slice_equal(request->method, SLICE("HEAD"));
    bool is_get = is_head || slice_equal(request->method, SLICE("GET"));
    if (session->mode == SERVICE_HTTP && is_get && slice_equal(request->path, SLICE(CHALLENGE_PATH)) && service->config.answer_challenge && service->tls) {
        answer_challenge(session, request, is_head);
        return;
    }
    bool is_home = session->mode != SERVICE_HTTP && is_get && slice_equal(request->path, SLICE("/"));
    send_page(session, is_home ? &home : &not_found, is_head);
}

void service_take_request(struct service_session *session)
{
    struct http_request request;
    switch (http_request_parse(stream_input(session->stream), &request)) {
    case RESULT_OK:
        take(session, &request);
        return;
    case RESULT_MORE:
        return;
    case RESULT_LIMIT:
        send_page(session, &too_large, false);
        return;
    case RESULT_VERSION:
        send_page(session, &bad_version, false);
        return;
    default:
        send_page(session, &bad_request, false);
        return;
    }
}

void service_begin_request(struct service_session *session)
{
    service_enter(session, SERVICE_AT_REQUEST, service_now_ms(session) + SERVICE_WEB_TIMEOUT_MS);
    service_arm(session);
    if (stream_input(session->stream).len > 0)
        service_take_request(session);
}
