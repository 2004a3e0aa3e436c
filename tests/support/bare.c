#include "support/bare.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { BARE_MAX = 64 * 1024 * 1024 };

static void need(bool is_true, const char *what)
{
    if (!is_true) {
        fprintf(stderr, "bare: %s\n", what);
        abort();
    }
}

void bare_open(struct bare *bare, int fd)
{
    *bare = (struct bare){.fd = fd, .in = BUFFER(BARE_MAX), .raw = BUFFER(BARE_MAX), .out = BUFFER(BARE_MAX)};
}

int bare_dial(const struct sockaddr_storage *address)
{
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    need(fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof *address) == 0, "cannot connect");
    return fd;
}

static void shake(struct bare *bare)
{
    struct slice in = buffer_slice(&bare->raw);
    size_t before = in.len;
    enum tls_step step = tls_session_handshake(bare->tls, &in, &bare->out);
    buffer_consume(&bare->raw, before - in.len);
    bare->is_secured = step == TLS_STEP_OK;
    bare->has_failed = step == TLS_STEP_FAILED;
}

static void decrypt(struct bare *bare)
{
    struct slice in = buffer_slice(&bare->raw);
    size_t before = in.len;
    enum tls_step step = TLS_STEP_OK;
    while (step == TLS_STEP_OK && in.len > 0) {
        char *to;
        size_t got = 0;
        need(buffer_reserve(&bare->in, 2 * TLS_RECORD_MAX, &to) == RESULT_OK, "memory");
        step = tls_session_read(bare->tls, &in, to, 2 * TLS_RECORD_MAX, &got, &bare->out);
        buffer_commit(&bare->in, got);
    }
    buffer_consume(&bare->raw, before - in.len);
    bare->is_ended = bare->is_ended || step == TLS_STEP_EOF;
    bare->has_failed = step == TLS_STEP_FAILED;
}

void bare_start_tls(struct bare *bare, struct tls_context *context, const char *server_name)
{
    need(tls_session_new(&bare->tls, context, server_name, PATH_ALPN_NONE) == RESULT_OK, "memory");
    need(buffer_append(&bare->raw, buffer_slice(&bare->in)) == RESULT_OK, "memory");
    buffer_clear(&bare->in);
    shake(bare);
}

void bare_write(struct bare *bare, struct slice octets)
{
    if (!bare->is_secured)
        need(buffer_append(&bare->out, octets) == RESULT_OK, "memory");
    while (bare->is_secured && octets.len > 0 && !bare->has_failed)
        bare->has_failed = tls_session_write(bare->tls, &octets, &bare->out) == TLS_STEP_FAILED;
}

void bare_end(struct bare *bare)
{
    if (bare->is_secured)
        tls_session_close_notify(bare->tls, &bare->out);
    bare->ends = true;
}

static void receive(struct bare *bare)
{
    char octets[16384];
    ssize_t n;
    while ((n = recv(bare->fd, octets, sizeof octets, MSG_DONTWAIT)) > 0)
        need(buffer_append(bare->tls ? &bare->raw : &bare->in, slice_of(octets, (size_t)n)) == RESULT_OK, "memory");
    if (n == 0 || (errno != EAGAIN && errno != EINTR))
        bare->is_ended = true;
    if (bare->tls && !bare->is_secured && !bare->has_failed && buffer_len(&bare->raw) > 0)
        shake(bare);
    if (bare->is_secured && !bare->has_failed && buffer_len(&bare->raw) > 0)
        decrypt(bare);
}

static void transmit(struct bare *bare)
{
    while (buffer_len(&bare->out) > 0) {
        struct slice out = buffer_slice(&bare->out);
        ssize_t n = send(bare->fd, out.ptr, out.len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            buffer_clear(&bare->out);
            bare->has_failed = true;
        }
        if (n <= 0)
            return;
        buffer_consume(&bare->out, (size_t)n);
    }
    if (bare->ends) {
        shutdown(bare->fd, SHUT_WR);
        bare->ends = false;
    }
}

void bare_move(struct bare *bare)
{
    if (bare->fd < 0)
        return;
    if (!bare->is_ended)
        receive(bare);
    transmit(bare);
}

void bare_close(struct bare *bare)
{
    if (bare->fd >= 0)
        close(bare->fd);
    bare->fd = -1;
    tls_session_free(&bare->tls);
    buffer_free(&bare->in);
    buffer_free(&bare->raw);
    buffer_free(&bare->out);
}
