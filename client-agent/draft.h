/* A message as a program dictates it to our sendmail: through the header rules into a temporary file (sealed: draft_file.h), whence it is handed over whole. Nothing of it is kept in memory but its header.
 *
 *     draft_begin -> draft_read (standard input, lines as the system ends them) or draft_feed (SMTP, lines end in CRLF) -> draft_end -> its spool is read -> draft_drop
 *
 * Each returns an exit code of sysexits; when it is not EX_OK, draft->trouble says why, as a reply. After that only draft_drop may follow.
 * A body line that is longer than SMTP's 998 octets (RFC 5322 2.1.1) is broken in two, the second part begun with a blank, as sendmail and Postfix do: its sender, a program, cannot
 * be asked. */
#ifndef POSTERN_AGENT_DRAFT_H
#define POSTERN_AGENT_DRAFT_H

#include "mail/submission.h"
#include "smtp/reply.h"

#include <stdio.h>

struct draft_config {
    struct slice from;       /* for a message without From:; may be empty */
    bool collects_recipients;
    bool allow_utf8;
    uint64_t size_max_octets;
};

/* {0} is a draft that has not begun. */
struct draft {
    struct submission *submission; /* its facts are whole after draft_end */
    FILE *spool;                   /* lines end in CRLF */
    uint64_t size_max_octets;
    struct smtp_reply trouble;
    char words[160];
};

int draft_begin(struct draft *draft, const struct draft_config *config);
/* To the end of the file, or with dot_ends to a line with a lone dot. A line ends in LF, CRLF or CR. */
int draft_read(struct draft *draft, FILE *in, bool dot_ends);
int draft_feed(struct draft *draft, struct slice octets);
int draft_end(struct draft *draft);
void draft_drop(struct draft *draft);

#endif
