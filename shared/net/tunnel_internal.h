/* The inside of a tunnel, for tunnel*.c alone. */
#ifndef POSTERN_NET_TUNNEL_INTERNAL_H
#define POSTERN_NET_TUNNEL_INTERNAL_H

#include "net/tunnel.h"

enum {
    TUNNEL_SCHEMES = 64, /* octets of the names of the logins that a proxy offers */
    TUNNEL_SAID = 80,    /* octets of the proxy's own words that are shown */
    TUNNEL_WORDS = 240,
    TUNNEL_OUTPUT_MAX = 2048, /* the longest: CONNECT with a host of 255 octets, twice, and 511 octets of credentials in base64 */
};

/* What is read next. */
enum tunnel_phase {
    TUNNEL_STATUS_LINE, /* HTTP */
    TUNNEL_HEADERS,
    TUNNEL_METHOD,      /* SOCKS5: 05 METHOD */
    TUNNEL_LOGIN,       /* VERSION STATUS */
    TUNNEL_REPLY,       /* 05 REPLY RSV TYPE ADDRESS PORT */
};

struct tunnel {
    enum path_via via;
    enum tunnel_state state;
    enum tunnel_phase phase;
    uint16_t port;
    bool has_login;
    char host[TUNNEL_HOST_MAX + 1];
    struct buffer login;  /* SOCKS5: the message of RFC 1929, until it is sent */
    struct buffer output;
    struct buffer answer; /* the line, or the message, that is being read */
    size_t answer_octets; /* of the whole answer */
    unsigned status;      /* HTTP */
    char said[TUNNEL_SAID]; /* "403 Forbidden" */
    bool has_basic;
    char schemes[TUNNEL_SCHEMES];
    char words[TUNNEL_WORDS];
};

void tunnel_refuse(struct tunnel *tunnel, const char *format, ...) PRINTF_LIKE(2, 3);
/* UTF-8 without controls; what is neither becomes "?". Cut between characters. */
void tunnel_clean(struct slice text, char *out, size_t size);

/* Write the first message. RESULT_OK, RESULT_SYNTAX: the credentials can't be written; RESULT_MEMORY. */
MUST_CHECK enum result tunnel_http_begin(struct tunnel *tunnel, struct slice user, struct slice password);
MUST_CHECK enum result tunnel_socks5_begin(struct tunnel *tunnel, struct slice user, struct slice password);
/* Read one line, without its end. */
void tunnel_http_line(struct tunnel *tunnel, struct slice line);
/* Octets that the message in tunnel->answer lacks until something can be told from it; tunnel_socks5_message then does. */
size_t tunnel_socks5_lacks(const struct tunnel *tunnel);
void tunnel_socks5_message(struct tunnel *tunnel);

#endif
