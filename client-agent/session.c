#include "session.h"

#include <inttypes.h>
#include <stdio.h>

static int64_t now_of(const struct session *session)
{
    return loop_now_ms(outbound_loop(session->outbound));
}

void session_begin(struct session *session, struct outbound *outbound, const struct path *way)
{
    *session = (struct session){.outbound = outbound, .way = *way, .how = FINDER_END_PEACE, .verdict = PATH_OPEN};
    session->since_ms = now_of(session);
}

static const struct smtp_peer *peer_of(const struct session *session)
{
    return smtp_client_peer(outbound_core(session->outbound));
}

bool session_is_used_up(const struct session *session)
{
    const struct smtp_peer *peer = peer_of(session);
    return peer->transactions_max > 0 && session->ncarried >= peer->transactions_max;
}

/* ---- the profile ------------------------------------------------------------------------------------------------ */

bool session_ask_for_token(struct session *session, const struct profile *profile)
{
    struct smtp_client *core = outbound_core(session->outbound);
    if (session->has_asked || session->is_stale || profile_device(profile).len > 0 || !(peer_of(session)->capabilities & SMTP_CAP_XDEVICE))
        return false;
    session->has_asked = session->is_asking = true;
    /* Not the laptop's name: that leaves nowhere. */
    smtp_client_ask_device(core, SLICE("laptop"), now_of(session));
    outbound_pump(session->outbound);
    return true;
}

bool session_learn(const struct session *session, struct profile *profile)
{
    const struct smtp_client *core = outbound_core(session->outbound);
    bool is_refused = smtp_client_is_token_refused(core) && profile_device(profile).len > 0;
    if (session->is_stale)
        return false;
    if (is_refused)
        profile_forget_device(profile);
    /* Until EHLO is answered the facts are the profile's own. */
    return (!smtp_client_is_early(core) && profile_learn(profile, peer_of(session))) || is_refused;
}

bool session_keep_token(struct session *session, const struct smtp_client_event *event, struct profile *profile)
{
    session->is_asking = false;
    return !session->is_stale && profile_keep_device(profile, event->device, event->token);
}

/* ---- the judgement ---------------------------------------------------------------------------------------------- */

static void conclude(struct session *session, enum finder_end how, enum path_verdict verdict, const char *words)
{
    session->how = how;
    session->verdict = verdict;
    snprintf(session->words, sizeof session->words, "%.*s", (int)sizeof session->words - 1, words);
}

enum { BRIEF_MS = 1000, WHY_MAX = 130 }; /* octets that the numbers leave of FINDER_WORDS */

static void conclude_death(struct session *session, const char *why)
{
    char words[FINDER_WORDS];
    int64_t age_ms = now_of(session) - session->since_ms, tenths = age_ms / 100;
    session->is_brief = session->octets == 0 && age_ms < BRIEF_MS;
    if (session->is_brief)
        snprintf(words, sizeof words, "died at once: %.*s", WHY_MAX, why);
    else
        snprintf(words, sizeof words, "died after %" PRIu64 " octets and %" PRId64 ".%" PRId64 " s: %.*s", session->octets, tenths / 10, tenths % 10, WHY_MAX, why);
    conclude(session, session->is_decided ? FINDER_END_CARRIED : session->gets_on ? FINDER_END_CUT : FINDER_END_DIED, PATH_DIED_EARLY, words);
}

/* What the relay said the last time holds no more, or the token is dead: without it no session is early, and this one is worth trying again. */
static void forget_what_failed(const struct session *session, struct profile *profile)
{
    if (smtp_client_is_token_refused(outbound_core(session->outbound)))
        profile_forget_device(profile);
    else
        profile_forget_peer(profile);
}

bool session_judge(struct session *session, const struct outbound_failure *failure, struct profile *profile)
{
    if (failure->smtp == SMTP_FAIL_EARLY && !session->is_stale) {
        forget_what_failed(session, profile);
        conclude(session, FINDER_END_CARRIED, PATH_OPEN, failure->words);
        return true;
    }
    switch (failure->verdict) {
    case PATH_DIED_EARLY:
    case PATH_DROPPED:
    case PATH_TLS_FAILED:
        conclude_death(session, failure->words);
        break;
    case PATH_RELAY_REFUSED:
        session->is_login_refused = failure->smtp == SMTP_FAIL_AUTH_REFUSED;
        conclude(session, session->is_decided ? FINDER_END_CARRIED : FINDER_END_REFUSED, PATH_RELAY_REFUSED, failure->words);
        break;
    default: /* our own doing */
        conclude(session, FINDER_END_REFUSED, PATH_OPEN, failure->words);
        break;
    }
    return false;
}
