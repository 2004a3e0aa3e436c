/* The inside of a stream, for stream*.c alone.
 *
 * Everything a stream does happens in its turn (stream_turn): at the end of each of its own callbacks, or, when the owner has called it from somewhere
 * else, in an idle callback before the loop next waits. Calls of the owner only note what they want and ask for a turn. So events
 * never come from inside a call, and what is written in one turn of the loop leaves together.
 *
 * Memory that is needed only during a turn is shared by all streams of a thread (struct scratch): the socket is read into it, records are decrypted
 * into it and handed to the owner from there, and encrypted into it before they are written. Only what is left over gets memory of
 * its own. Plain octets are wiped wherever they leave: a password goes through here, and the next one to use this memory is another session. A thread-local pointer is the one piece of state that no struct owns; it goes when the thread's last stream goes. */
#ifndef POSTERN_NET_STREAM_INTERNAL_H
#define POSTERN_NET_STREAM_INTERNAL_H

#include "net/address.h"
#include "net/stream.h"
#include "net/tls_internal.h"

enum {
    SCRATCH_READ = 64 * 1024,
    SCRATCH_PLAIN = 64 * 1024,
    SCRATCH_WRITE_SOFT = 48 * 1024, /* ciphertext gathered before a write */
    RAW_MAX = 256 * 1024,           /* ciphertext that waits because the owner does not consume; bounded far below by not reading */
    KEEP_CAPACITY = 1024,           /* octets a buffer may keep while it is empty */
};

struct scratch {
    size_t users; /* streams of this thread */
    struct buffer write;
    char read[SCRATCH_READ];
    char plain[SCRATCH_PLAIN];
};

enum stream_state { STREAM_STATE_OPENING, STREAM_STATE_OPEN, STREAM_STATE_DRAINING, STREAM_STATE_CLOSING, STREAM_STATE_CLOSED };
enum stream_mark_state { STREAM_MARK_NONE, STREAM_MARK_SET, STREAM_MARK_READ /* the peer's end has shown it */ };
enum stream_tls { STREAM_TLS_NONE, STREAM_TLS_HANDSHAKE, STREAM_TLS_SECURE, STREAM_TLS_ENDED /* close_notify has come */ };

struct stream {
    uv_tcp_t tcp;
    uv_timer_t linger;
    uv_idle_t turn;
    union {
        uv_connect_t connect;
        uv_write_t write;
    } request; /* never both at a time */
    uv_shutdown_t shutdown;
    struct scratch *scratch;
    struct stream_owner owner;
    const struct log *log;
    enum stream_state state;
    enum stream_tls tls;
    enum stream_mark_state mark;
    struct tls_session *session;
    enum path_alpn alpn;
    unsigned pending_closes;

    bool is_in_turn, needs_turn;
    bool is_reading, is_paused;
    bool is_ended;    /* the peer's FIN has come */
    bool wants_data;  /* DATA is due for input that waits */
    bool wants_drained;
    bool is_eof_told, is_failure_told;
    bool is_writing;  /* `flight` is on its way through uv_write */
    bool is_closing_notified, is_shut;
    int write_error;  /* the peer takes no more; what it said before is still read */
    int64_t linger_ms;

    struct slice view;    /* input that lies in the scratch memory: only while DATA is told */
    struct buffer input;  /* input not consumed */
    struct buffer raw;    /* octets from the socket that TLS has not seen yet */
    struct buffer output; /* the owner's octets */
    struct buffer wire;   /* octets for the socket as they are: TLS's own, and the clear ones before STARTTLS */
    struct buffer flight;

    uint64_t octets_in, octets_out;
    struct stream_error error;
    char peer[NET_ADDRESS_TEXT];
};

void stream_set_state(struct stream *stream, enum stream_state state);
/* The first failure counts. */
void stream_fail(struct stream *stream, enum stream_error_kind kind, int uv_code, enum tls_failure tls, const char *words);
void stream_fail_tls(struct stream *stream);
bool stream_is_live(const struct stream *stream); /* open or opening, and not failed */
void stream_tell(struct stream *stream, enum stream_event event);
void stream_ask_turn(struct stream *stream);
void stream_turn(struct stream *stream);

/* stream_read.c */
void stream_reading_update(struct stream *stream);
void stream_take_raw(struct stream *stream);

/* stream_write.c */
void stream_flush(struct stream *stream);
void stream_drop_output(struct stream *stream);

/* stream_mark.c: when the peer's FIN has been read. */
void stream_mark_end(struct stream *stream);

#endif
