/* What the runners of server transcripts share: events in the words of tests/transcript/README.md, replies out of acts, a core's configuration out
 * of options. */
#ifndef POSTERN_TESTS_SUPPORT_TRANSCRIPT_SERVER_H
#define POSTERN_TESTS_SUPPORT_TRANSCRIPT_SERVER_H

#include "smtp/server.h"
#include "support/transcript.h"

/* Appends "NAME words", or "BODY " and the octets as they are. */
void transcript_say_server_event(const struct smtp_server *server, const struct smtp_server_event *event, struct buffer *out);
/* "250 2.1.0 words", "354 go". False: no reply. The text is a slice of the argument. */
bool transcript_parse_reply(struct slice text, struct smtp_reply *out);
/* "held 655360 2": 355, with so many octets and recipients known; "whole 2": 250 in its place. False: neither. */
struct transcript_resume {
    bool is_told, is_over;
    uint64_t held_octets;
    size_t nrcpt;
};
bool transcript_parse_resume(struct slice text, struct transcript_resume *out);
bool transcript_has(const struct transcript_dialogue *dialogue, const char *key);
enum smtp_server_binding transcript_binding(const struct transcript_dialogue *dialogue);
struct smtp_server_config transcript_server_config(const struct transcript_dialogue *dialogue);

#endif
