/* Taking mail in from the programs of this laptop: the policy of the localhost listener, as the handler of net/service.h.
 *
 *   AUTH         the one local name and password of the configuration, or the token of our own sendmail; needed where the configuration says so
 *   MAIL, RCPT   any full address: who may send as whom is the relay's to say
 *   body         mta/intake.h; the header is completed, never refused for its From:
 *   end of body  the store's commit, and only it, is the 250
 *   once more    the same message, submitted again by a program that did not read the 250, is answered with the first one's (retry_window)
 *
 * Two messages that are alike need not be one and its retry: a script may tell the same thing twice. What brings a Message-ID: of its own is one for as long as the window is open. What brings none is one only while
 * nobody knows that the 250 was read: as soon as its session says something more, or a program on this machine closes with nothing unread (service_is_read), the store forgets its digest. So it is with our own sendmail's as well, whatever they bring: its caller has an exit code.
 *
 * What the program or the laptop is called stands in no message. */
#ifndef POSTERN_AGENT_RECEPTION_H
#define POSTERN_AGENT_RECEPTION_H

#include "settings.h"

#include "mail/address.h"
#include "mail/date.h"
#include "mail/message_id.h"
#include "mta/intake.h"
#include "net/service.h"

enum { RECEPTION_TOKEN = 33 }; /* octets of the sendmail token with its NUL */
/* The name under which our own sendmail logs in. */
#define RECEPTION_TOKEN_USER SLICE("postern-sendmail")
/* What the agent calls itself in fields and greetings, everywhere and for everybody. */
#define AGENT_NAME SLICE("postern-agent.invalid")

struct reception_services {
    struct store_client *store;
    struct settings *settings;     /* a reference is taken */
    struct slice local_password;   /* copied; empty: no local login */
    struct slice token;            /* copied */
    const struct log *log;
    uint64_t (*next_id)(void *context);
    int64_t (*wall_lead_ms)(void *context); /* how far the wall clock has been set while we run; less than 0: back */
    void (*on_queued)(void *context, const struct intake_queued *queued);
    void *context;
};

struct reception;
struct reception *reception_new(const struct reception_services *services); /* NULL: out of memory */
void reception_free(struct reception **reception); /* after the service has stopped */
/* For sessions to come; a reference is taken. RESULT_OK; RESULT_MEMORY: all stays as it was. */
MUST_CHECK enum result reception_reload(struct reception *reception, struct settings *settings, struct slice local_password);
struct service_handler reception_handler(struct reception *reception);
/* The template for the listener's server cores. */
void reception_smtp_config(const struct settings *settings, const struct log *log, struct smtp_server_config *out);
/* How a message of this laptop is completed; slices point at the buffers given. Used by sendmail too, when it writes to the store itself. */
struct reception_stamp {
    char date[DATE_RFC5322], message_id[MESSAGE_ID_TEXT + ADDRESS_MAX + 16];
    struct buffer received;
};
MUST_CHECK enum result reception_stamp_make(struct reception_stamp *stamp, uint64_t id, struct slice sender, const char *protocol, int64_t now_ms, struct submission_config *out);
/* A Message-ID: of our making. Its right side is the sender's domain, as his mail program would write; nothing of the laptop. */
void reception_message_id(uint64_t id, struct slice sender, char *out, size_t size);
void reception_stamp_free(struct reception_stamp *stamp);

#endif
