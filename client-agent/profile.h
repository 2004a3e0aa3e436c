/* What is known of the relay itself: what its EHLO said inside TLS the last time, and the token by which it knows this device. A value with a text form for the store.
 *
 * With both, and the relay's key pinned, a cold hand-over takes one flight after TLS (smtp/client.h, early). The token is a secret: the text is for the database alone (0600), and whoever held one
 * wipes it. All of it is about one relay and one account: with another host or user it is nothing. */
#ifndef POSTERN_AGENT_PROFILE_H
#define POSTERN_AGENT_PROFILE_H

#include "path/finder.h"
#include "smtp/client.h"

enum { PROFILE_NAME_MAX = 255, PROFILE_TEXT_MAX = 2048 };

struct profile {
    bool has_peer;
    struct smtp_peer peer; /* without name, epoch and ways, which are here: */
    char name[PROFILE_NAME_MAX], epoch[SMTP_EPOCH_MAX], ways[SMTP_WAYS_MAX];
    size_t name_len, epoch_len, ways_len;
    char device[SMTP_DEVICE_ID_MAX];
    size_t device_len; /* 0: no token */
    uint8_t token[SASL_TOKEN];
};

/* peer is what EHLO said inside TLS. True: that is news. */
bool profile_learn(struct profile *profile, const struct smtp_peer *peer);
/* False: not a device that we could name again. */
bool profile_keep_device(struct profile *profile, struct slice device, struct slice token);
void profile_forget_peer(struct profile *profile);
void profile_forget_device(struct profile *profile);
void profile_forget(struct profile *profile);
/* The slices are the profile's. False: never met. */
bool profile_peer(const struct profile *profile, struct smtp_peer *out);
/* Empty: none. */
struct slice profile_device(const struct profile *profile);
struct slice profile_token(const struct profile *profile);
/* The relay is a postern-relay: it said something that only ours says. */
bool profile_is_ours(const struct profile *profile);
/* The ways that XWAYS names (schema/link.md); what can't be read is passed over. At most `max`. */
size_t profile_ways(const struct profile *profile, struct finder_way *out, size_t max);

/* RESULT_OK, RESULT_LIMIT, RESULT_MEMORY. out should be BUFFER_SECRET. */
MUST_CHECK enum result profile_write(const struct profile *profile, struct slice relay_host, struct slice user, struct buffer *out);
/* Empty for what we did not write, and for another relay or user. */
void profile_read(struct profile *profile, struct slice text, struct slice relay_host, struct slice user);

#endif
