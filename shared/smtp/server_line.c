#include "smtp/server_internal.h"

/* Command lines out of octets: only CRLF ends one (RFC 5321 2.3.8), and what is no SMTP at all is known at once. */

static const struct smtp_reply bare_line = SMTP_REPLY_INIT(500, 5, 5, 2, "Lines end in CRLF: a bare CR, a bare LF or a NUL is refused; closing");
static const struct smtp_reply long_line = SMTP_REPLY_INIT(500, 5, 5, 2, "That line is too long");
static const struct smtp_reply long_auth = SMTP_REPLY_INIT(500, 5, 5, 6, "That line is too long for an authentication");
const struct smtp_reply server_foreign = SMTP_REPLY_INIT(554, 5, 5, 1, "This port speaks SMTP, not HTTP; closing");
static const struct smtp_reply client_hello = SMTP_REPLY_INIT(554, 5, 5, 1, "TLS begins with STARTTLS on this port, not at once; closing");

static uint32_t line_max(const struct smtp_server *server)
{
    return server->state == SMTP_SERVER_IN_AUTH ? server->config.auth_line_max : server->config.command_line_max;
}

/* Gathers part of a line. The whole room is taken at once, so that no secret is left behind by growing. */
static bool keep_part(struct smtp_server *server, struct slice part)
{
    char *at;
    if (part.len == 0)
        return true;
    server->line.max = line_max(server);
    if (buffer_reserve(&server->line, buffer_room(&server->line), &at) == RESULT_OK && buffer_append(&server->line, part) == RESULT_OK)
        return true;
    server_close(server, &server_no_memory);
    return false;
}

static void end_line(struct smtp_server *server)
{
    buffer_wipe_free(&server->line);
    server->line_has_cr = false;
    server->line_is_long = false;
}

static bool is_foreign(struct slice line)
{
    struct slice argument;
    return smtp_verb_parse(line, &argument) == SMTP_VERB_FOREIGN;
}

/* A line that is more than full: HTTP is known by its first word, anything else is read to its end. */
static void begin_long_line(struct smtp_server *server)
{
    bool is_http = server->state != SMTP_SERVER_IN_AUTH && is_foreign(buffer_slice(&server->line));
    buffer_wipe_free(&server->line);
    server->line_is_long = true;
    if (is_http)
        server_close(server, &server_foreign);
}

/* Invariant 1. What came before the odd octet decides whether it is a browser that gets an answer of its own. */
static void refuse_bare(struct smtp_server *server, struct slice part)
{
    bool is_http = server->state != SMTP_SERVER_IN_AUTH && !server->line_is_long && keep_part(server, part) && is_foreign(buffer_slice(&server->line));
    server_close(server, is_http ? &server_foreign : &bare_line);
}

static void run_line(struct smtp_server *server, struct slice part)
{
    struct slice line = part;
    if (buffer_len(&server->line) > 0) {
        if (!keep_part(server, part))
            return;
        line = buffer_slice(&server->line);
    }
    if (server->line_is_long && server->state == SMTP_SERVER_IN_AUTH)
        server_auth_break(server, &long_auth);
    else if (server->line_is_long)
        server_refuse(server, &long_line);
    else if (server->state == SMTP_SERVER_IN_AUTH)
        server_auth_line(server, line);
    else
        server_command(server, line);
    end_line(server);
}

static size_t text_len(struct slice in)
{
    size_t i = 0;
    while (i < in.len && in.ptr[i] != '\r' && in.ptr[i] != '\n' && in.ptr[i] != '\0')
        i++;
    return i;
}

/* Takes octets up to the end of one line. Every fault is acted upon with the octet that makes it, so that how the input was cut does not show
 * (invariant 3), and nobody waits for a line feed that a stranger's protocol never sends. */
size_t server_take_line(struct smtp_server *server, struct slice in)
{
    if (server->line_has_cr) {
        if (in.ptr[0] == '\n')
            run_line(server, (struct slice){0});
        else
            refuse_bare(server, (struct slice){0});
        return 1;
    }
    /* A record of TLS begins with its type, 22 for a handshake (RFC 8446 5.1). No command begins so. */
    if (in.ptr[0] == 0x16 && buffer_len(&server->line) == 0 && !server->line_is_long) {
        server_close(server, &client_hello);
        return in.len;
    }
    size_t n = text_len(in), room = line_max(server) - 2 - buffer_len(&server->line);
    if (!server->line_is_long && n > room) {
        if (keep_part(server, slice_take(in, room)))
            begin_long_line(server);
        return room;
    }
    struct slice part = server->line_is_long ? (struct slice){0} : slice_take(in, n);
    if (n < in.len && (in.ptr[n] != '\r' || (n + 1 < in.len && in.ptr[n + 1] != '\n'))) {
        refuse_bare(server, part);
        return in.len;
    }
    if (n + 1 < in.len) {
        run_line(server, part);
        return n + 2;
    }
    if (!keep_part(server, part))
        return in.len;
    server->line_has_cr = n < in.len;
    return in.len;
}
