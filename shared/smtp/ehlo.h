/* What a peer announced in its reply to EHLO (RFC 5321 4.1.1.1). */
#ifndef POSTERN_SMTP_EHLO_H
#define POSTERN_SMTP_EHLO_H

#include "smtp/client.h"

/* text: of the reply, lines separated by "\n". Keywords in any case; unknown ones and bad parameters are passed over, since the
 * peer's extensions are its own affair. AUTH counts in its old form "AUTH=" too. peer->name, peer->epoch and peer->ways point into text.
 * XOUTCOME with other parameters than link.md has counts as not offered.
 * *is_starttls_masked (may be NULL): a word as long as STARTTLS, but made of one character, stands where a keyword should. */
void smtp_ehlo_parse(struct slice text, struct smtp_peer *peer, bool *is_starttls_masked);

#endif
