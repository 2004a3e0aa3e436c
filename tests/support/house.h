/* A service on a loop of its own, whose policy says yes, now or later, and clients of it: for tests of the server's driver. */
#ifndef POSTERN_TESTS_SUPPORT_HOUSE_H
#define POSTERN_TESTS_SUPPORT_HOUSE_H

#include "net/service.h"
#include "support/netloop.h"

enum { HOUSE_LATER_MAX = 16 };

struct house {
    struct netloop net;
    struct service *service;
    struct sockaddr_storage address;
    bool answers_later;     /* NET_UNTIL(nlater), then answer_one */
    bool pauses;            /* at each BODY; is_paused proves that none comes before the test has resumed and cleared it */
    bool is_paused;
    bool refuses;
    unsigned opened, closed, stopped;
    struct service_session *later[HOUSE_LATER_MAX];
    struct service_session *newest;
    size_t nlater;
    uint64_t body_octets;
    uint64_t body_sum;      /* of the values of its octets: each was read */
    struct buffer story;    /* "MAIL RCPT ..." */
};

static const char HOUSE_TRANSACTION[] = "MAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\n";

/* Group set-up and tear-down: the server's identity, and a client context that knows its pin. */
int house_make_identity(void **state);
int house_drop_identity(void **state);
struct tls_context *house_client_tls(void);

struct service_config house_config(struct house *house);
/* config NULL: house_config. */
void house_open(struct house *house, enum service_mode mode, const struct service_config *config);
void house_listen(struct house *house, enum service_mode mode);
/* Stops the service if the test has not, and proves that each on_open had its on_closed and that the loop is empty. */
void house_close(struct house *house);
void house_on_stopped(void *context);
/* For a handler of the test's own, whose context begins with the house: these count, allocate nothing, and say yes unless the house refuses. */
bool house_on_open(void *context, struct service_session *session, void **session_context, const char **refusal);
void house_on_closed(void *session_context, struct service_session *session);
bool house_story_is(const struct house *house, const char *story);
/* Yes to the newest event that waits. */
void house_answer_one(struct house *house);

void house_dial(struct house *house, struct net_end *end);
void house_dial_tls(struct house *house, struct net_end *end);
bool net_end_has(const struct net_end *end, const char *text);
/* Takes the greeting and says EHLO. */
void house_greet(struct house *house, struct net_end *end);
/* QUIT, and an orderly end. */
void house_leave(struct house *house, struct net_end *end);
void house_hang_up(struct house *house, struct net_end *end);

/* Waits for these octets at the end of what came, and forgets all. */
#define HOUSE_EXPECT(house, end, text)                                                                                       \
    do {                                                                                                               \
        NET_UNTIL(&(house)->net, net_end_has(end, text));                                                                  \
        buffer_clear(&(end)->got);                                                                                     \
    } while (0)

#endif
