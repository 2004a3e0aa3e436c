/* What a relay says to who speaks HTTP: inside TLS, where a browser has knocked, a page on /; and to all else that it is not here. One request, one answer, the
 * end. Nothing tells what runs here, or where. */
#include "net/http_request.h"
#include "net/service_internal.h"

#include "mail/date.h"

#include <string.h>

enum { ANSWER_MAX = 64 * 1024 /* octets */ };

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
};

static const struct web_page home = {"200 OK", "There is nothing to see here"};
static const struct web_page not_found = {"404 Not Found", "Not found"};
static const struct web_page bad_request = {"400 Bad Request", "Bad request"};
static const struct web_page too_large = {"431 Request Header Fields Too Large", "Request too large"};
static const struct web_page bad_version = {"505 HTTP Version Not Supported", "HTTP version not supported"};

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
    struct web_answer answer = {.status = page->status, .type = "text/html; charset=utf-8", .fields = ""};
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

static void take(struct service_session *session, const struct http_request *request)
{
    bool is_head = slice_equal(request->method, SLICE("HEAD"));
    bool is_get = is_head || slice_equal(request->method, SLICE("GET"));
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
