/* Against the C library's own calendar over four centuries, and at the borders. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <time.h>

#include "mail/date.h"

static void knows_dates(void **state)
{
    static const struct {
        int64_t ms;
        const char *rfc5322, *iso;
    } rows[] = {
        {0, "Thu, 01 Jan 1970 00:00:00 +0000", "1970-01-01T00:00:00Z"},
        {999, "Thu, 01 Jan 1970 00:00:00 +0000", "1970-01-01T00:00:00Z"},
        {-1, "Wed, 31 Dec 1969 23:59:59 +0000", "1969-12-31T23:59:59Z"},
        {1795289097000, "Sat, 21 Nov 2026 19:24:57 +0000", "2026-11-21T19:24:57Z"},
        {951782400000, "Tue, 29 Feb 2000 00:00:00 +0000", "2000-02-29T00:00:00Z"},
        {951868800000, "Wed, 01 Mar 2000 00:00:00 +0000", "2000-03-01T00:00:00Z"},
        {4107542400000, "Mon, 01 Mar 2100 00:00:00 +0000", "2100-03-01T00:00:00Z"},
        {INT64_MAX, "Fri, 31 Dec 9999 23:59:59 +0000", "9999-12-31T23:59:59Z"},
        {INT64_MIN, "Sat, 01 Jan 0000 00:00:00 +0000", "0000-01-01T00:00:00Z"},
    };
    char out[DATE_RFC5322], iso[DATE_ISO];
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        date_format_rfc5322(rows[i].ms, out);
        date_format_iso(rows[i].ms, iso);
        assert_string_equal(out, rows[i].rfc5322);
        assert_string_equal(iso, rows[i].iso);
    }
}

static void agrees_with_the_c_library(void **state)
{
    (void)state;
    for (int64_t seconds = -5000000000; seconds < 9000000000; seconds += 86400 * 3 + 12347) {
        char ours[DATE_RFC5322], theirs[64];
        time_t when = (time_t)seconds;
        struct tm tm;
        assert_non_null(gmtime_r(&when, &tm));
        strftime(theirs, sizeof theirs, "%a, %d %b %Y %H:%M:%S +0000", &tm);
        date_format_rfc5322(seconds * 1000, ours);
        assert_string_equal(ours, theirs);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(knows_dates), cmocka_unit_test(agrees_with_the_c_library)};
    return cmocka_run_group_tests_name("mail/date", tests, NULL, NULL);
}
