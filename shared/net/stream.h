/* A stream: one TCP connection on a libuv loop, with TLS inside it or not. The thin layer between the sans-I/O cores and the world.
 *
 * Life: opening -> open -> draining -> closing -> closed; one function changes it and logs. All streams of a thread belong to one loop, and the
 * program ignores SIGPIPE. TLS is a byte filter between socket and owner; it may start at
 * once or later (STARTTLS). The owner is told through one callback with an event, and does three things in it: note the result, feed its core, run
 * its pump. Inside the callback the owner may call anything here, stream_close included; the stream's memory lives until CLOSED, which comes exactly once, from the loop, never from
 * inside a call, whatever happened before. After stream_close only CLOSED comes.
 *
 * Reading: DATA says there is input; stream_input is what has come, stream_consume takes from its front. What is not consumed stays; when
 * STREAM_INPUT_MAX octets wait, reading from the socket stops until the owner consumes (back-pressure). stream_pause stops it at once.
 * Writing: stream_write copies (small, coalesced: what is written within one turn of the loop leaves in one segment and one TLS record where it fits). When more than STREAM_OUTPUT_HIGH octets wait,
 * stream_is_congested is true, and DRAINED comes when they have gone below half of it. TCP_NODELAY is set.
 * Idle memory: an established TLS stream that is idle gives its buffers back (MBEDTLS_SSL_VARIABLE_BUFFER_LENGTH and lazily allocated input/output). */
#ifndef POSTERN_NET_STREAM_H
#define POSTERN_NET_STREAM_H

#include "net/tls.h"

#include "base/buffer.h"
#include "path/path.h"

#include <sys/socket.h>
#include <uv.h>

enum {
    STREAM_INPUT_MAX = 64 * 1024,   /* octets read and not consumed */
    STREAM_OUTPUT_HIGH = 128 * 1024,
    STREAM_OUTPUT_MAX = 4 * 1024 * 1024, /* a write beyond it fails the stream with RESULT_LIMIT: the owner ignored stream_is_congested */
};

enum stream_event {
    STREAM_OPENED,      /* the outgoing TCP connection stands */
    STREAM_SECURED,     /* the handshake is done and the identity proved: stream_tls_info */
    STREAM_DATA,
    STREAM_DRAINED,
    STREAM_EOF,         /* the peer ended its half, after the last DATA (inside TLS: by close_notify, and nothing behind it counts; an end without it is STREAM_FAILED with
                         * TLS_FAIL_CLOSED, because anybody on the way can forge it) */
    STREAM_FAILED,      /* stream_error tells; close it */
    STREAM_CLOSED,      /* the memory may go: stream_free has happened by itself after this callback */
};

struct stream;
struct stream_owner {
    void (*on_event)(void *context, struct stream *stream, enum stream_event event);
    void *context;
};

enum stream_error_kind { STREAM_ERROR_NONE, STREAM_ERROR_SOCKET, STREAM_ERROR_TLS, STREAM_ERROR_LIMIT };
struct stream_error {
    enum stream_error_kind kind;
    int uv_code;              /* UV_ECONNREFUSED, UV_ETIMEDOUT, UV_EHOSTUNREACH, ... of a socket error */
    enum tls_failure tls;
    char words[160];          /* for a person: "connection refused", "the certificate has another key: sha256//..." */
    char whose[TLS_WHOSE];    /* of a certificate that was not believed: "portal.hotel.example, issued by Hotel CA"; what it says of itself, cleaned of controls. "": not known */
};

/* An outgoing connection. RESULT_OK: OPENED or FAILED follows. RESULT_MEMORY, RESULT_IO (no sockets left). */
MUST_CHECK enum result stream_connect(struct stream **out, uv_loop_t *loop, const struct sockaddr *address, struct stream_owner owner, const struct log *log);
/* Takes over an accepted connection, a connected socket: on failure it is closed. RESULT_MEMORY, RESULT_IO (the peer is gone already). No OPENED comes. */
MUST_CHECK enum result stream_accept(struct stream **out, uv_loop_t *loop, int fd, struct stream_owner owner, const struct log *log);

/* Starts TLS; SECURED or FAILED follows. Input that waits unread is handed to TLS when from_waiting_input is true (a server whose client speaks TLS at once), and is otherwise an error of
 * the caller: it must be empty (STARTTLS). What was written before goes first, in the clear. server_name (client): for SNI, the CA path, and
 * resumption: a context keeps the last ticket of each server name and uses it once; NULL: none of these. RESULT_OK, RESULT_MEMORY. On TLS_FAIL_NOT_TLS
 * stream_input shows what came instead of TLS. */
MUST_CHECK enum result stream_start_tls(struct stream *stream, struct tls_context *context, const char *server_name, bool from_waiting_input);
/* What a client offers in ALPN from the first message on; only before stream_start_tls. Without it: nothing. */
void stream_offer_alpn(struct stream *stream, enum path_alpn alpn);
const struct tls_info *stream_tls_info(const struct stream *stream); /* NULL before SECURED */

struct slice stream_input(const struct stream *stream);
void stream_consume(struct stream *stream, size_t n);
/* While paused no DATA and no EOF come. After stream_resume DATA comes again if input waits. */
void stream_pause(struct stream *stream);
void stream_resume(struct stream *stream);

/* RESULT_OK, RESULT_MEMORY, RESULT_LIMIT; after an error FAILED follows too. What is written before OPENED or SECURED waits for it; what is written after FAILED,
 * stream_finish or stream_close is dropped. */
MUST_CHECK enum result stream_write(struct stream *stream, struct slice octets);
bool stream_is_congested(const struct stream *stream);
/* Octets handed to stream_write and not yet taken by the kernel. 0: all gone. */
size_t stream_pending(const struct stream *stream);
/* To be set before something is written: stream_is_read tells, from EOF on until CLOSED, whether the peer's end shows that it took this and all else out of its buffer; false: nobody knows. Known only of a
 * peer on this machine's loopback, in the clear, on Linux (stream_mark.c tells why). Of one that has ended its half before the mark nothing is known; the last mark counts. */
void stream_mark(struct stream *stream);
bool stream_is_read(const struct stream *stream);

/* Sends what waits, close_notify, FIN; drops what comes; waits for the peer's end at most linger_ms in all, then closes. Only CLOSED follows. An orderly end needs the
 * wait: a socket closed with octets unread sends RST, and the peer may lose our last words. */
void stream_finish(struct stream *stream, int64_t linger_ms);
/* At once. */
void stream_close(struct stream *stream);
/* From now on the connection fails (STREAM_FAILED, "connection timed out") when something sent is not acknowledged for so long (RFC 5482), and the other side is asked by empty segments
 * whether it is there while nothing is sent. Where a system lacks the one or the other, its own patience counts. */
void stream_limit_silence(struct stream *stream, int64_t silence_ms);
/* At most about so many octets that have not been sent yet wait in the kernel, where it knows such a limit (TCP_NOTSENT_LOWAT), else nothing happens: on a thin line what was written is then nearly what
 * was sent, so progress is honest, a change of mind takes effect soon, and little is lost with the connection. What was sent and is not acknowledged does not count, so nothing gets slower. */
void stream_limit_unsent(struct stream *stream, size_t octets);
/* At once, and what the kernel still holds goes nowhere: the peer gets RST, if anything. */
void stream_reset(struct stream *stream);

const struct stream_error *stream_error(const struct stream *stream);
/* For one that is paused, whose failure nobody hears of because nobody reads: what has become of the connection, a UV_E... code; 0: nothing known. The system tells
 * once: close the stream. */
int stream_socket_error(const struct stream *stream);
/* The socket, to be looked at (poll) while the stream is not closing; -1: there is none. */
int stream_socket(const struct stream *stream);
/* Of the connected socket: "192.0.2.1:465". Empty before OPENED. */
const char *stream_peer(const struct stream *stream);
MUST_CHECK enum result stream_peer_address(const struct stream *stream, struct sockaddr_storage *out);
/* Our end of it. */
MUST_CHECK enum result stream_own_address(const struct stream *stream, struct sockaddr_storage *out);
uint64_t stream_octets_in(const struct stream *stream);
uint64_t stream_octets_out(const struct stream *stream);
const char *stream_state_name(const struct stream *stream);

/* uv_now of the stream's loop: monotonic milliseconds, the clock of every core that a loop drives. */
int64_t loop_now_ms(const uv_loop_t *loop);
/* CLOCK_REALTIME in milliseconds since 1970. */
int64_t wall_now_ms(void);
/* Milliseconds that have passed, sleep of the machine included; nobody can set this clock. */
int64_t boot_now_ms(void);

#endif
