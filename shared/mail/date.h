/* Dates in text, from milliseconds since 1970 in UTC. Pure arithmetic: no clock, no time zone of the machine, which
 * would tell where the traveller is. Years 0 to 9999; a time outside is written as the nearest inside. */
#ifndef POSTERN_MAIL_DATE_H
#define POSTERN_MAIL_DATE_H

#include <stdint.h>

enum {
    DATE_RFC5322 = 32, /* octets of "Sat, 21 Nov 2026 19:24:57 +0000" with the NUL */
    DATE_ISO = 21,     /* octets of "2026-11-21T19:24:57Z" with the NUL */
};

void date_format_rfc5322(int64_t unix_ms, char out[static DATE_RFC5322]);
void date_format_iso(int64_t unix_ms, char out[static DATE_ISO]);

#endif
