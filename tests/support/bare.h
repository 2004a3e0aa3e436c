/* One end of a TCP connection that a test moves by hand, with TLS or without: unlike a stream it can stop in the middle, and end its half and go on reading. */
#ifndef POSTERN_TESTS_SUPPORT_BARE_H
#define POSTERN_TESTS_SUPPORT_BARE_H

#include "net/tls_internal.h"

#include <sys/socket.h>

struct bare {
    int fd; /* -1: closed */
    struct tls_session *tls;
    bool is_secured;
    bool is_ended;     /* the other side has ended its half, in whatever way */
    bool has_failed;   /* TLS or the socket */
    bool ends;         /* bare_end: FIN when all is out */
    struct buffer in;  /* plain */
    struct buffer raw; /* from the socket, not through TLS yet */
    struct buffer out; /* for the socket */
};

void bare_open(struct bare *bare, int fd);
int bare_dial(const struct sockaddr_storage *address);
/* What waits to go out goes in the clear; what has come and was not read is taken for the beginning of the handshake. */
void bare_start_tls(struct bare *bare, struct tls_context *context, const char *server_name);
void bare_write(struct bare *bare, struct slice octets);
/* close_notify where there is TLS, then FIN; reading goes on. */
void bare_end(struct bare *bare);
/* What can be moved without waiting. */
void bare_move(struct bare *bare);
void bare_close(struct bare *bare);

#endif
