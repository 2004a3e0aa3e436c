/* What the uplink tells of itself. */
#include "uplink_internal.h"

const char *uplink_state_name(enum uplink_state state)
{
    switch (state) {
    case UPLINK_RESTING: return "resting";
    case UPLINK_SEARCHING: return "searching";
    case UPLINK_LOGIN: return "login";
    case UPLINK_READY: return "ready";
    case UPLINK_SENDING: return "sending";
    case UPLINK_LEAVING: return "leaving";
    case UPLINK_WAITING: return "waiting";
    case UPLINK_STOPPED: return "stopped";
    }
    return "unknown";
}

static enum network_state network_of(const struct uplink *uplink)
{
    bool is_known;
    if (!uplink->search)
        return NETWORK_ONLINE;
    enum network_state network = finder_network(search_finder(uplink->search), &is_known);
    return uplink->session.outbound || uplink->is_relay_reached || !is_known ? NETWORK_ONLINE : network;
}

void uplink_status(const struct uplink *uplink, struct uplink_status *out)
{
    enum network_state network = network_of(uplink);
    struct smtp_peer peer;
    bool is_known = profile_peer(&uplink->config.recall->profile, &peer);
    *out = (struct uplink_status){
        .has_names = uplink->config.naming && is_known && (peer.capabilities & SMTP_CAP_CHECKPOINT),
        .state = uplink->state,
        .network = network,
        .has_way = uplink->session.outbound != NULL,
        .way = uplink->session.way,
        .trials = uplink->findings.trials,
        .ntrials = uplink->findings.n,
        .since_ms = uplink->findings.at_ms,
        .next_search_ms = uplink->state == UPLINK_WAITING ? uplink->next_search_ms : 0,
        .trouble = uplink->trouble[0] ? uplink->trouble : network == NETWORK_OFFLINE ? "There is no network; mail goes by itself when there is one." : NULL,
        .is_untold = is_known && !inquiry_is_told_by(&peer),
        .nawaited = inquiry_count(uplink->inquiry),
        .sending = uplink->consignment.message,
        .sent_octets = consignment_octets(&uplink->consignment),
        .sending_octets = uplink->consignment.message ? uplink->consignment.size_octets : 0,
    };
}

bool uplink_progress(const struct uplink *uplink, uint64_t message, uint64_t *octets, uint64_t *of)
{
    return consignment_progress(&uplink->consignment, message, octets, of);
}

int64_t uplink_question_at_ms(const struct uplink *uplink, uint64_t message)
{
    return inquiry_question_at_ms(uplink->inquiry, message);
}

enum result uplink_describe(const struct uplink *uplink, struct buffer *out)
{
    if (!uplink->search)
        return RESULT_OK;
    return findings_describe(&uplink->findings, uplink->search, uplink->config.settings, uplink->session.outbound ? &uplink->session.way : NULL, out);
}
