/* What went wrong, in the words of paths (path/path.h) and in a sentence for a person. */
#include "net/outbound_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void set_words(struct outbound *outbound, const char *words)
{
    snprintf(outbound->failure.words, sizeof outbound->failure.words, "%s", words);
}

/* Of the relay. */
static bool has_heard(const struct outbound *outbound)
{
    return outbound->stream && stream_octets_in(outbound->stream) > outbound->octets_of_proxy;
}

static bool has_heard_of_tls(const struct outbound *outbound)
{
    return stream_octets_in(outbound->stream) > outbound->octets_before_tls;
}

/* ---- the connection ---- */

static const char NO_ANSWER[] = "no answer to the attempt to connect";

static void set_connect_words(struct outbound *outbound, const char *words)
{
    snprintf(outbound->failure.words, sizeof outbound->failure.words, "%s%s", outbound->via != PATH_DIRECT ? "the proxy: " : "", words);
}

void outbound_blame_connect(struct outbound *outbound, int uv_code)
{
    struct outbound_failure *failure = &outbound->failure;
    *failure = (struct outbound_failure){.phase = "connect"};
    set_connect_words(outbound, uv_strerror(uv_code));
    switch (uv_code) {
    case UV_ECONNREFUSED:
    case UV_ECONNRESET:
        failure->verdict = PATH_REFUSED;
        return;
    case UV_ETIMEDOUT:
        failure->verdict = PATH_DROPPED;
        set_connect_words(outbound, NO_ANSWER);
        return;
    default: /* no route, or an ICMP message that says so */
        failure->verdict = PATH_UNREACHABLE;
        return;
    }
}

void outbound_blame_address(struct outbound *outbound)
{
    outbound->failure = (struct outbound_failure){.verdict = PATH_UNREACHABLE, .phase = "connect", .is_permanent = true};
    snprintf(outbound->failure.words, sizeof outbound->failure.words, "%s is no address to connect to: loopback, private or reserved",
             stream_peer(outbound->stream));
}

void outbound_blame_memory(struct outbound *outbound)
{
    outbound->failure = (struct outbound_failure){.verdict = PATH_UNTRIED, .smtp = SMTP_FAIL_MEMORY, .phase = "memory"};
    set_words(outbound, "out of memory");
}

/* ---- the proxy ---- */

static void blame_proxy(struct outbound *outbound, const char *words)
{
    outbound->failure = (struct outbound_failure){.verdict = PATH_PROXY_REFUSED, .phase = "proxy"};
    set_words(outbound, words);
}

void outbound_blame_tunnel(struct outbound *outbound)
{
    blame_proxy(outbound, tunnel_words(outbound->tunnel));
}

static void blame_end_of_proxy(struct outbound *outbound, const struct stream_error *error)
{
    bool has_answered = stream_octets_in(outbound->stream) > 0;
    blame_proxy(outbound, has_answered ? "the proxy ended the connection in the middle of its answer" : "the proxy ended the connection without an answer");
    if (error->uv_code != UV_EOF)
        snprintf(outbound->failure.words, sizeof outbound->failure.words, "the connection with the proxy broke: %s", error->words);
}

/* A proxy says yes when it has reached the relay, so its silence may be the relay's, or that of a firewall behind it. SOCKS5 speaks of itself before. */
static void blame_silent_proxy(struct outbound *outbound)
{
    bool has_answered = stream_octets_in(outbound->stream) > 0;
    if (has_answered && outbound->via == PATH_HTTP_CONNECT)
        blame_proxy(outbound, "the proxy's answer does not come to its end");
    else if (has_answered || outbound->via == PATH_HTTP_CONNECT)
        blame_proxy(outbound, "the proxy does not answer, or gets no answer from the relay");
    else
        blame_proxy(outbound, "the proxy does not answer");
}

/* ---- time ---- */

void outbound_blame_timeout(struct outbound *outbound)
{
    if (outbound->state == OUTBOUND_STATE_TUNNELING) {
        blame_silent_proxy(outbound);
        return;
    }
    bool is_connecting = outbound->state == OUTBOUND_STATE_CONNECTING;
    outbound->failure = (struct outbound_failure){.phase = is_connecting ? "connect" : "TLS handshake"};
    outbound->failure.verdict = is_connecting ? PATH_DROPPED : PATH_TLS_FAILED;
    outbound->failure.tls = is_connecting ? TLS_FAIL_NONE : TLS_FAIL_CLOSED;
    if (is_connecting)
        set_connect_words(outbound, NO_ANSWER);
    else if (has_heard_of_tls(outbound))
        set_words(outbound, "the TLS handshake does not come to an end");
    else
        set_words(outbound, "TLS is cut off after the first message: nothing comes back");
}

/* "AUTH", and of a connection that died before the peer had said who it is: "greeting, after 3412 octets and 2.1 s". Later the session's octets are those of many messages: they say nothing of this one. */
static void describe_place(const struct outbound *outbound, const char *phase, char *out, size_t size)
{
    uint64_t octets = stream_octets_in(outbound->stream) + stream_octets_out(outbound->stream);
    long long tenths = (long long)(loop_now_ms(outbound->loop) - outbound->opened_at_ms) / 100;
    if (outbound->failure.verdict == PATH_DIED_EARLY && !outbound->has_been_proven)
        snprintf(out, size, "%s, after %" PRIu64 " octets and %lld.%lld s", phase, octets, tenths / 10, tenths % 10);
    else
        snprintf(out, size, "%s", phase);
}

const struct outbound_failure *outbound_stall(struct outbound *outbound)
{
    switch (outbound->state) {
    case OUTBOUND_STATE_CONNECTING:
    case OUTBOUND_STATE_TUNNELING:
    case OUTBOUND_STATE_SECURING:
        outbound_blame_timeout(outbound);
        return &outbound->failure;
    case OUTBOUND_STATE_TALKING:
        if (outbound->has_been_proven)
            return NULL;
        outbound->failure = (struct outbound_failure){.verdict = has_heard(outbound) ? PATH_DIED_EARLY : PATH_DROPPED, .smtp = SMTP_FAIL_TIMEOUT, .phase = "greeting"};
        set_words(outbound, has_heard(outbound) ? "what answers stopped in the middle of the greeting" : "connects, but nothing says a word");
        return &outbound->failure;
    case OUTBOUND_STATE_CONNECTED:
    case OUTBOUND_STATE_ENDING:
        return NULL;
    }
    return NULL;
}

/* ---- TLS ---- */

static bool is_http(struct slice input)
{
    return slice_starts_with_nocase(input, SLICE("HTTP/")) || slice_starts_with(input, SLICE("<"));
}

static enum path_verdict verdict_of_tls(enum tls_failure tls, struct slice input)
{
    switch (tls) {
    case TLS_FAIL_NOT_TLS:
        return is_http(input) ? PATH_HTTP : PATH_FOREIGN_BANNER;
    case TLS_FAIL_WRONG_KEY:
    case TLS_FAIL_UNTRUSTED:
    case TLS_FAIL_WRONG_NAME:
    case TLS_FAIL_EXPIRED:
        return PATH_WRONG_CERTIFICATE;
    case TLS_FAIL_NONE:
    case TLS_FAIL_ALERT:
    case TLS_FAIL_ALPN:
    case TLS_FAIL_CLOSED:
    case TLS_FAIL_PROTOCOL:
        return PATH_TLS_FAILED;
    case TLS_FAIL_MEMORY:
        return PATH_UNTRIED;
    }
    return PATH_TLS_FAILED;
}

/* Whose it is stands first, because a table cuts the end: "the certificate of fw.example, issued by itself, has another key: sha256//..." */
static void say_certificate(struct outbound_failure *failure, const struct stream_error *error)
{
    const struct slice words = slice_from_cstr(error->words), subject = SLICE("the certificate ");
    snprintf(failure->whose, sizeof failure->whose, "%s", error->whose);
    if (slice_starts_with(words, subject))
        snprintf(failure->words, sizeof failure->words, "%.*sof %s, %s", SLICE_ARG(subject), error->whose, error->words + subject.len);
    else
        snprintf(failure->words, sizeof failure->words, "%s (the certificate names %s)", error->words, error->whose);
}

/* Of a connection that is no longer being made. */
static void say_stream_words(struct outbound *outbound, const struct stream_error *error)
{
    struct outbound_failure *failure = &outbound->failure;
    char where[96];
    if (failure->verdict == PATH_WRONG_CERTIFICATE && error->whose[0]) {
        say_certificate(failure, error);
    } else if (failure->tls == TLS_FAIL_CLOSED && outbound->state == OUTBOUND_STATE_SECURING && !has_heard_of_tls(outbound)) {
        /* How deep packet inspection ends what it has recognised: by the ClientHello, nothing else was said. A balancer or proxy in front of a relay that is stopped looks the same from here. */
        snprintf(failure->words, sizeof failure->words, "TLS is cut off after the first message: %s", error->kind == STREAM_ERROR_SOCKET ? error->words : "the connection is closed, on the way or because the relay is stopped");
    } else if (failure->verdict == PATH_DIED_EARLY) {
        describe_place(outbound, failure->phase, where, sizeof where);
        snprintf(failure->words, sizeof failure->words, "%s (%s)", error->words, where);
    } else {
        set_words(outbound, error->words);
    }
}

/* The stream has failed, and no core was there to say what that means. */
void outbound_blame_stream(struct outbound *outbound, const struct stream_error *error, struct slice input)
{
    struct outbound_failure *failure = &outbound->failure;
    if (outbound->state == OUTBOUND_STATE_CONNECTING) {
        outbound_blame_connect(outbound, error->uv_code);
        return;
    }
    if (outbound->state == OUTBOUND_STATE_TUNNELING) {
        blame_end_of_proxy(outbound, error);
        return;
    }
    *failure = (struct outbound_failure){.phase = outbound->state == OUTBOUND_STATE_SECURING ? "TLS handshake" : "connect"};
    failure->tls = error->kind == STREAM_ERROR_TLS ? error->tls : TLS_FAIL_CLOSED;
    failure->verdict = outbound->state == OUTBOUND_STATE_SECURING ? verdict_of_tls(failure->tls, input) : input.len > 0 ? verdict_of_tls(TLS_FAIL_NOT_TLS, input) : PATH_DIED_EARLY;
    failure->is_permanent = failure->verdict == PATH_WRONG_CERTIFICATE;
    say_stream_words(outbound, error);
}

/* ---- SMTP ---- */

static enum path_verdict verdict_of_smtp(const struct outbound *outbound, enum smtp_failure failure)
{
    switch (failure) {
    case SMTP_FAIL_FOREIGN:
    case SMTP_FAIL_INJECTED:
        return PATH_FOREIGN_BANNER;
    case SMTP_FAIL_HTTP:
        return PATH_HTTP;
    case SMTP_FAIL_STARTTLS_MISSING:
    case SMTP_FAIL_STARTTLS_MASKED:
    case SMTP_FAIL_STARTTLS_REFUSED:
        return PATH_STARTTLS_MISSING;
    case SMTP_FAIL_GREETING:
    case SMTP_FAIL_EHLO:
    case SMTP_FAIL_AUTH_MISSING:
    case SMTP_FAIL_AUTH_REFUSED:
    case SMTP_FAIL_AUTH_LATER:
    case SMTP_FAIL_AUTH_FORGED:
    case SMTP_FAIL_SHUT:
    case SMTP_FAIL_EARLY:
        return PATH_RELAY_REFUSED;
    case SMTP_FAIL_PROTOCOL:
        return outbound->has_been_proven ? PATH_DIED_EARLY : PATH_FOREIGN_BANNER;
    case SMTP_FAIL_TIMEOUT:
        return has_heard(outbound) ? PATH_DIED_EARLY : PATH_DROPPED;
    case SMTP_FAIL_EOF:
        return PATH_DIED_EARLY;
    case SMTP_FAIL_NONE:
    case SMTP_FAIL_ABORTED: /* our doing: the way is well */
        return PATH_OPEN;
    case SMTP_FAIL_MEMORY:
        return PATH_UNTRIED;
    }
    return PATH_DIED_EARLY;
}

/* Who has proved to be the relay is not somebody in its place, whatever it says: a web server of the same house, or a relay that has lost its mind. */
static enum path_verdict verdict_of_peer(const struct outbound *outbound, enum smtp_failure failure)
{
    const struct tls_info *tls = stream_tls_info(outbound->stream);
    enum path_verdict verdict = verdict_of_smtp(outbound, failure);
    bool is_stranger = verdict == PATH_FOREIGN_BANNER || verdict == PATH_HTTP;
    return is_stranger && tls && tls->is_verified ? PATH_RELAY_REFUSED : verdict;
}

static const char *words_of_smtp(enum smtp_failure failure)
{
    switch (failure) {
    case SMTP_FAIL_NONE: return "nothing failed";
    case SMTP_FAIL_GREETING: return "the server refuses to talk";
    case SMTP_FAIL_FOREIGN: return "what answers does not speak SMTP";
    case SMTP_FAIL_HTTP: return "what answers speaks HTTP: a captive portal or a web proxy";
    case SMTP_FAIL_EHLO: return "the server refuses our EHLO";
    case SMTP_FAIL_STARTTLS_MISSING: return "STARTTLS is not offered: something on the way has taken it out, or the server has none";
    case SMTP_FAIL_STARTTLS_MASKED: return "STARTTLS has been masked: something on the way wrote over the offer";
    case SMTP_FAIL_STARTTLS_REFUSED: return "STARTTLS is offered, then refused";
    case SMTP_FAIL_INJECTED: return "somebody put words behind the answer to STARTTLS";
    case SMTP_FAIL_AUTH_MISSING: return "the server offers no way to log in that we may use";
    case SMTP_FAIL_AUTH_REFUSED: return "the user name or the password is wrong";
    case SMTP_FAIL_AUTH_LATER: return "logging in does not work at present";
    case SMTP_FAIL_AUTH_FORGED: return "the server could not prove that it knows the password";
    case SMTP_FAIL_EARLY: return "the relay is not as it was the last time";
    case SMTP_FAIL_PROTOCOL: return "the server answered with something that is no SMTP reply";
    case SMTP_FAIL_TIMEOUT: return "the server does not answer";
    case SMTP_FAIL_EOF: return "the connection ended";
    case SMTP_FAIL_SHUT: return "the server ended the session";
    case SMTP_FAIL_ABORTED: return "the message was given up in the middle, by us";
    case SMTP_FAIL_MEMORY: return "out of memory";
    }
    return "the session failed";
}

/* The core's own texts go with its next call. */
static void keep_reply(struct outbound *outbound, const struct smtp_reply *reply)
{
    size_t len = reply->text.len < sizeof outbound->reply_text ? reply->text.len : sizeof outbound->reply_text;
    if (len > 0)
        memcpy(outbound->reply_text, reply->text.ptr, len);
    outbound->failure.reply = *reply;
    outbound->failure.reply.text = slice_of(outbound->reply_text, len);
}

void outbound_blame_smtp(struct outbound *outbound, const struct smtp_client_event *event)
{
    struct outbound_failure *failure = &outbound->failure;
    const struct stream_error *error = stream_error(outbound->stream);
    char text[160], where[96];
    *failure = (struct outbound_failure){.smtp = event->failure, .phase = event->phase, .is_uncertain = event->is_uncertain};
    failure->verdict = verdict_of_peer(outbound, event->failure);
    failure->is_permanent = event->failure == SMTP_FAIL_AUTH_REFUSED || event->failure == SMTP_FAIL_AUTH_MISSING || event->failure == SMTP_FAIL_AUTH_FORGED;
    if (error->kind == STREAM_ERROR_TLS)
        failure->tls = error->tls;
    if (event->reply) {
        keep_reply(outbound, event->reply);
        smtp_reply_format(event->reply, text, sizeof text);
        snprintf(failure->words, sizeof failure->words, "%s: %s", words_of_smtp(event->failure), text);
    } else {
        bool is_socket = event->failure == SMTP_FAIL_EOF && error->kind != STREAM_ERROR_NONE;
        describe_place(outbound, event->phase, where, sizeof where);
        snprintf(failure->words, sizeof failure->words, "%s (%s)", is_socket ? error->words : words_of_smtp(event->failure), where);
    }
}
