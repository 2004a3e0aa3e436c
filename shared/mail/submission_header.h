/* The judgement of a whole header section: what submission.c does when the section has come. Internal to shared/mail. */
#ifndef POSTERN_MAIL_SUBMISSION_HEADER_H
#define POSTERN_MAIL_SUBMISSION_HEADER_H

#include "base/arena.h"
#include "base/buffer.h"
#include "mail/submission.h"

struct submission_verdict {
    enum submission_refusal refusal;
    const char *field; /* of SUBMISSION_FIELD_TWICE */
};

/* section: lines with CRLF, each of them a field or its continuation; the empty line is not part of it. Appends the rewritten section with
 * its empty line to *out and fills *facts, whose texts live in `arena`. RESULT_OK, RESULT_DENIED: see *verdict; RESULT_MEMORY. */
MUST_CHECK enum result submission_header_judge(const struct submission_config *config, struct slice section, struct arena *arena,
                                               struct buffer *out, struct submission_facts *facts, struct submission_verdict *verdict);

#endif
