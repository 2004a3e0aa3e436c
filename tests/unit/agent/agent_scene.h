/* What the scenes of the agent have in common: a relay that lets anna in, the agent's settings for it, and the end of its uplink. */
#ifndef POSTERN_TESTS_UNIT_AGENT_AGENT_SCENE_H
#define POSTERN_TESTS_UNIT_AGENT_AGENT_SCENE_H

#include "uplink.h"

#include "net/service.h"
#include "support/netloop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static inline void say(struct service_session *session, struct smtp_reply reply)
{
    service_answer(session, &reply);
}

static inline void answer_login(struct service_session *session, bool is_refused)
{
    if (is_refused)
        say(session, SMTP_REPLY(535, 5, 7, 8, "wrong"));
    else if (smtp_server_set_user(service_core(session), SLICE("anna")) == RESULT_OK)
        say(session, SMTP_REPLY(235, 2, 7, 0, "welcome"));
    else
        say(session, SMTP_REPLY(454, 4, 7, 0, "out of memory"));
}

/* more: further lines, at first of [relay]. */
static inline struct settings *settings_of_relay(const struct sockaddr_storage *address, const char *more)
{
    struct settings *settings = NULL;
    struct dirs dirs = {0};
    struct config_error error;
    char text[600];
    snprintf(text, sizeof text, "[relay]\nhost = 127.0.0.1\nuser = anna\npassword_file = /nowhere\nway = %u tls\n%s", net_address_port((const struct net_address *)(const void *)address), more);
    if (settings_load_text(&settings, &dirs, "agent.conf", slice_from_cstr(text), &error) != RESULT_OK)
        fail_msg("%s", error.text);
    return settings;
}

static inline enum uplink_state state_of_uplink(const struct uplink *uplink)
{
    struct uplink_status status;
    uplink_status(uplink, &status);
    return status.state;
}

static inline void on_uplink_stopped(void *context)
{
    *(bool *)context = true;
}

/* Waits until it has stopped; then it may be freed. */
static inline void stop_uplink(struct netloop *net, struct uplink *uplink)
{
    bool is_stopped = false;
    uplink_stop(uplink, on_uplink_stopped, &is_stopped);
    NET_UNTIL(net, is_stopped);
}

#endif
