/* What to do about a network: two lines for its reception, one text for who waits for mail to go. */
#include "path/network_internal.h"

#include <string.h>

static bool has_verdict(const struct network_facts *facts, enum path_verdict verdict)
{
    for (size_t i = 0; i < facts->n; i++)
        if (facts->trials[i].verdict == verdict)
            return true;
    return false;
}

/* No port is open where the relay should be, but something sends the RST: most likely the relay's machine itself. */
static bool is_nobody_there(const struct network_facts *facts)
{
    bool has_refused = false;
    for (size_t i = 0; i < facts->n; i++) {
        const struct network_trial *trial = &facts->trials[i];
        if (trial->path.via != PATH_DIRECT || trial->verdict == PATH_UNTRIED || trial->verdict == PATH_UNREACHABLE)
            continue; /* another address family may have no route */
        if (trial->verdict != PATH_REFUSED)
            return false;
        has_refused = true;
    }
    return has_refused && facts->probe != NETWORK_PROBE_CLEAR;
}

/* The first two TLS ports that were tried: nothing can be stripped there. Else the first two of all. */
static size_t ports_to_ask_for(const struct network_facts *facts, uint16_t out[static 2])
{
    size_t n = 0;
    for (int mode = PATH_TLS; mode <= PATH_STARTTLS && n == 0; mode++)
        for (size_t i = 0; i < facts->n && n < 2; i++) {
            const struct path *path = &facts->trials[i].path;
            if ((int)path->mode == mode && (n == 0 || out[0] != path->port))
                out[n++] = path->port;
        }
    return n;
}

/* "TCP port 465 or 443" */
static void say_ports_to_ask_for(struct sentence *sentence, const struct network_facts *facts)
{
    uint16_t ports[2] = {465, 443};
    size_t n = ports_to_ask_for(facts, ports);
    sentence_say(sentence, "TCP port ");
    sentence_say_number(sentence, ports[0]);
    if (n == 1)
        return;
    sentence_say(sentence, " or ");
    sentence_say_number(sentence, ports[1]);
}

/* ---- two lines for the reception ---------------------------------------------------------------------------------- */

static void summarize_refused(struct sentence *sentence, const char *relay)
{
    sentence_say(sentence, "The network lets mail through, but ");
    sentence_say(sentence, relay);
    sentence_say(sentence, " itself refuses it.\nPlease ask whoever runs ");
    sentence_say(sentence, relay);
    sentence_say(sentence, "; the network is not at fault.\n");
}

/* Nobody at a reception can tell which of the two it is. */
static void summarize_strange_key(struct sentence *sentence, const struct network_facts *facts, const char *relay)
{
    sentence_say(sentence, "What answers as ");
    sentence_say(sentence, relay);
    sentence_say(sentence, facts->is_pinned ? " has another key than the configured one, wherever anything answers: either the relay has a new key, or this network intercepts.\n"
                                            : " does not prove by its certificate that it is, wherever anything answers: either the relay's certificate is not good, or this network intercepts.\n");
    sentence_say(sentence, "Please ask whoever runs ");
    sentence_say(sentence, relay);
    sentence_say(sentence, facts->is_pinned ? " what `postern-relay key show` tells; if it is a new key, give it to `postern-agent setup --replace` with --pin, else use another network.\n"
                                            : " whether its certificate is new or has run out; if it has not, use another network.\n");
}

static void summarize_intercepted(struct sentence *sentence, const struct network_facts *facts, const char *relay)
{
    sentence_say(sentence, "Something on this network opens encrypted connections to ");
    sentence_say(sentence, relay);
    sentence_say(sentence, ", so mail is held back.\nPlease let ");
    say_ports_to_ask_for(sentence, facts);
    sentence_say(sentence, " to ");
    sentence_say(sentence, relay);
    sentence_say(sentence, " through without inspection.\n");
}

static void summarize_closed(struct sentence *sentence, const struct network_facts *facts, const char *relay)
{
    bool may_be_down = is_nobody_there(facts);
    sentence_say(sentence, "This network lets no mail through to ");
    sentence_say(sentence, relay);
    sentence_say(sentence, may_be_down ? ", or the relay is not running.\nPlease open " : ".\nPlease open ");
    say_ports_to_ask_for(sentence, facts);
    sentence_say(sentence, " to ");
    sentence_say(sentence, relay);
    sentence_say(sentence, may_be_down ? ", or ask whoever runs the relay.\n" : ".\n");
}

static void summarize_blocked(struct sentence *sentence, const struct network_facts *facts, const char *relay)
{
    if (has_verdict(facts, PATH_RELAY_REFUSED))
        summarize_refused(sentence, relay);
    else if (network_is_key_strange(facts))
        summarize_strange_key(sentence, facts, relay);
    else if (has_verdict(facts, PATH_WRONG_CERTIFICATE))
        summarize_intercepted(sentence, facts, relay);
    else
        summarize_closed(sentence, facts, relay);
}

static void summarize_offline(struct sentence *sentence, const struct network_facts *facts, const char *relay)
{
    if (!facts->is_down && has_verdict(facts, PATH_DNS)) {
        sentence_say(sentence, "This network does not find the name ");
        sentence_say(sentence, relay);
        sentence_say(sentence, ".\nPlease check that the network is connected to the Internet and resolves names.\n");
        return;
    }
    sentence_say(sentence, "This computer has no connection to the Internet here.\nPlease check the cable, or the Wi-Fi and its password.\n");
}

static void summarize_online(struct sentence *sentence, const struct network_facts *facts)
{
    sentence_say(sentence, "Mail gets through on this network, over ");
    sentence_say_way(sentence, network_open_way(facts));
    sentence_say(sentence, facts->has_trouble ? ".\nNothing needs to be done about the network, but mail waits all the same.\n" : ".\nNothing needs to be done.\n");
}

enum result network_summary(const struct network_facts *facts, struct slice relay_host, struct buffer *out)
{
    struct sentence sentence = {.out = out};
    char relay[256];
    if (!slice_to_cstr(relay_host, relay, sizeof relay))
        return RESULT_LIMIT;
    switch (network_conclude(facts)) {
    case NETWORK_ONLINE:
        summarize_online(&sentence, facts);
        break;
    case NETWORK_CAPTIVE:
        sentence_say(&sentence, "This network shows its login page instead of letting mail through.\nPlease log in on the network's web page first.\n");
        break;
    case NETWORK_BLOCKED:
        summarize_blocked(&sentence, facts, relay);
        break;
    case NETWORK_OFFLINE:
        summarize_offline(&sentence, facts, relay);
        break;
    }
    return sentence.result;
}

/* ---- for who waits ------------------------------------------------------------------------------------------------ */

static const char *advice_of(const struct network_facts *facts)
{
    if (has_verdict(facts, PATH_RELAY_REFUSED))
        return " Ask whoever runs the relay.";
    if (network_is_key_strange(facts))
        return facts->is_pinned ? " Ask whoever runs the relay what `postern-relay key show` tells; if it is a new key, run: postern-agent setup --replace with --pin. Else mail waits for another network."
                                : " Ask whoever runs the relay; if its certificate is good, mail waits for another network.";
    return is_nobody_there(facts) ? " Mail waits for another network, or the relay is not running." : " Mail waits for another network.";
}

enum result network_trouble(const struct network_facts *facts, struct buffer *out)
{
    switch (network_conclude(facts)) {
    case NETWORK_ONLINE:
        return RESULT_OK;
    case NETWORK_CAPTIVE:
        return buffer_append_cstr(out, "This network wants you to log in first: open any web page in a browser, and log in there; mail goes by itself then.");
    case NETWORK_OFFLINE:
        if (facts->is_down || facts->n == 0)
            return buffer_append_cstr(out, "There is no network; mail goes by itself when there is one.");
        break;
    case NETWORK_BLOCKED:
        break;
    }
    enum result result = network_describe(facts, NULL, out);
    return result == RESULT_OK ? buffer_append_cstr(out, advice_of(facts)) : result;
}
