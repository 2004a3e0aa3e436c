/* The addresses in a header field: mailbox-list and address-list of RFC 5322 3.4, with its obsolete forms (4.4) as far as mail
 * programs still write them: white space and comments between the parts, empty list items, routes, dots in names.
 *
 * What programs are known to read in different ways is refused rather than guessed, because the question asked here is "who is shown
 * as the author": two at signs without quotes, words without an address, an encoded word inside an address.
 *
 *     struct mailbox_list list = {.rest = field.value, .allow_utf8 = true};
 *     while ((result = mailbox_list_next(&list, &address)) == RESULT_OK) ... */
#ifndef POSTERN_MAIL_MAILBOX_LIST_H
#define POSTERN_MAIL_MAILBOX_LIST_H

#include "mail/address.h"

struct mailbox_list {
    struct slice rest; /* folded, without the last CRLF */
    bool allow_utf8;   /* in addresses; in names any octet above 127 is taken */
    bool is_in_group;
};

/* RESULT_OK: *out; RESULT_NOT_FOUND: the list has ended well; RESULT_SYNTAX, RESULT_LIMIT (of an address): give up. */
MUST_CHECK enum result mailbox_list_next(struct mailbox_list *list, struct mail_address *out);

#endif
