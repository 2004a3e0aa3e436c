/* Has the peer read what it was told? TCP does not say: what is acknowledged lies in the peer's buffer. But a host whose program closes with octets unread, or to which octets come after the close, is to send
 * RST (RFC 1122, 4.2.2.13; RFC 9293, 3.6.1; RFC 2525, 2.17 tells what becomes of those that don't). Linux does so in both cases: close sends FIN only when the receive buffer is empty, and what comes later is not acknowledged but
 * reset. So an end in good order (FIN, no RST) of a peer that has acknowledged everything shows that the program took it out of the buffer. On the loopback the other side is this very kernel;
 * of any other peer nothing is ever known. (It may be a forwarder, as of ssh -L, with the mail program elsewhere: then what is known is that the forwarder has read it.)
 *
 * A program may also end its half alone (shutdown) and go on reading: then its FIN tells nothing. One that had done so before the mark shows by the state CLOSE_WAIT. What remains: one that does so with the octets in its buffer, and never
 * reads them, passes for one that did, unless it closes before we look. */
#include "net/stream_internal.h"

#ifdef __linux__

#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>

static bool is_near(const struct stream *stream)
{
    static const struct net_prefix loopback[] = {{4, 8, {127}}, {6, 128, {[15] = 1}}};
    struct sockaddr_storage peer;
    if (stream_peer_address(stream, &peer) != RESULT_OK)
        return false;
    return net_prefix_has(&loopback[0], (struct sockaddr *)&peer) || net_prefix_has(&loopback[1], (struct sockaddr *)&peer);
}

static bool is_in_state(const struct stream *stream, unsigned state)
{
    struct tcp_info info;
    socklen_t len = sizeof info;
    return getsockopt(stream_socket(stream), IPPROTO_TCP, TCP_INFO, &info, &len) == 0 && info.tcpi_state == state;
}

static bool is_all_acknowledged(const struct stream *stream)
{
    int outstanding = 0;
    return stream_pending(stream) == 0 && !stream->write_error && ioctl(stream_socket(stream), SIOCOUTQ, &outstanding) == 0 && outstanding == 0;
}

/* (Looked at before the octets go: a quick peer has read them and closed before we could look after that.) Inside TLS it is a library that reads, whole records, whatever its program asks for. */
void stream_mark(struct stream *stream)
{
    bool is_known = !stream->session && stream_is_live(stream) && is_near(stream) && is_in_state(stream, TCP_ESTABLISHED);
    stream->mark = is_known ? STREAM_MARK_SET : STREAM_MARK_NONE;
}

/* After FIN and RST (a program that had ended its half, and then closed with octets unread) reading tells the FIN, and the state tells the RST. */
void stream_mark_end(struct stream *stream)
{
    if (stream->mark == STREAM_MARK_SET && is_in_state(stream, TCP_CLOSE_WAIT) && is_all_acknowledged(stream))
        stream->mark = STREAM_MARK_READ;
}

#else

void stream_mark(struct stream *stream)
{
    (void)stream;
}

void stream_mark_end(struct stream *stream)
{
    (void)stream;
}

#endif

bool stream_is_read(const struct stream *stream)
{
    return stream->mark == STREAM_MARK_READ;
}
