/* The uplink's session with the relay, past its proof: what it has done, what the relay's profile gains by it, and how it is to be judged at its end. A value beside the connection; what follows from
 * the judgement is the uplink's. */
#ifndef POSTERN_AGENT_SESSION_H
#define POSTERN_AGENT_SESSION_H

#include "profile.h"

#include "net/outbound.h"

struct session {
    struct outbound *outbound; /* NULL: there is none */
    struct path way;
    int64_t since_ms;          /* loop time of its proof */
    uint64_t octets, ncarried; /* of bodies handed to it, without the message under way; messages begun */
    bool is_decided;           /* the relay has decided on a message, or taken more of one than it ever had, and keeps it: the way is good for something */
    bool gets_on;              /* the relay, when it was asked, had more of a message than it ever had: the sessions before this one, on whatever way, have not died for nothing */
    bool is_stale;             /* settings have changed, or it is the agent's end: it ends when idle, and nothing of it is told or kept */
    bool is_asking;            /* the relay is being asked something: for a token, or what became of messages (inquiry.h) */
    bool has_asked;            /* for a token */
    bool is_to_be_repeated;    /* it was not let in by what the profile said, and that is forgotten: whoever wished for it wishes for the next */
    enum finder_end how;       /* as far as it is known yet: peace */
    enum path_verdict verdict; /* PATH_OPEN: nothing speaks against the way */
    bool is_brief;             /* PATH_DIED_EARLY: within a second, with nothing of a message */
    bool is_login_refused;     /* PATH_RELAY_REFUSED: the name or password */
    char words[FINDER_WORDS];
};

void session_begin(struct session *session, struct outbound *outbound, const struct path *way);
/* RFC 9422 4: the relay takes so many messages in a session, and the next in another. */
bool session_is_used_up(const struct session *session);
/* Whether the relay is asked for a token now; DEVICE and READY follow. To be called when all mail is gone: it comes first. */
bool session_ask_for_token(struct session *session, const struct profile *profile);

/* At READY: what its EHLO said, and whether our token is dead. True: the relay's profile has changed. */
bool session_learn(const struct session *session, struct profile *profile);
/* At DEVICE. True: it gave one, the profile has changed. */
bool session_keep_token(struct session *session, const struct smtp_client_event *event, struct profile *profile);

/* A failure in login or under a message. True: the relay did not keep to its profile, what failed of it is forgotten, and it is worth trying again at once. */
bool session_judge(struct session *session, const struct outbound_failure *failure, struct profile *profile);

#endif
