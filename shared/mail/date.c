#include "mail/date.h"

#include <stdio.h>

enum { SECONDS_OF_DAY = 86400, YEAR_MAX = 9999 };

struct date {
    int year, month, day; /* month 1..12 */
    int weekday;          /* 0: Sunday */
    int hour, minute, second;
};

/* Floor division: times before 1970 count down. */
static int64_t divide(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* Days since 1970 to a date, by the Gregorian calendar's cycles of 400, 100 and 4 years, with years that begin in March so that the
 * leap day is the last. */
static void set_day(struct date *date, int64_t days)
{
    int64_t since_0000 = days + 719468; /* 0000-03-01 */
    int64_t era = divide(since_0000, 146097);
    int64_t day_of_era = since_0000 - era * 146097;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t march_month = (5 * day_of_year + 2) / 153;
    date->day = (int)(day_of_year - (153 * march_month + 2) / 5 + 1);
    date->month = (int)(march_month < 10 ? march_month + 3 : march_month - 9);
    date->year = (int)(year_of_era + era * 400 + (date->month <= 2));
    date->weekday = (int)(days + 4 - divide(days + 4, 7) * 7); /* 1970-01-01 was a Thursday */
}

static struct date date_of(int64_t unix_ms)
{
    static const int64_t least = -62167219200, greatest = 253402300799; /* 0000-01-01T00:00:00Z, 9999-12-31T23:59:59Z */
    struct date date;
    int64_t seconds = divide(unix_ms, 1000);
    seconds = seconds < least ? least : seconds > greatest ? greatest : seconds;
    int64_t days = divide(seconds, SECONDS_OF_DAY);
    int of_day = (int)(seconds - days * SECONDS_OF_DAY);
    set_day(&date, days);
    date.hour = of_day / 3600;
    date.minute = of_day / 60 % 60;
    date.second = of_day % 60;
    return date;
}

/* The moduli tell compilers what fits the buffers. */
void date_format_rfc5322(int64_t unix_ms, char out[static DATE_RFC5322])
{
    static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    struct date d = date_of(unix_ms);
    snprintf(out, DATE_RFC5322, "%s, %02u %s %04u %02u:%02u:%02u +0000", days[d.weekday], (unsigned)d.day % 100, months[d.month - 1],
             (unsigned)d.year % 10000, (unsigned)d.hour % 100, (unsigned)d.minute % 100, (unsigned)d.second % 100);
}

void date_format_iso(int64_t unix_ms, char out[static DATE_ISO])
{
    struct date d = date_of(unix_ms);
    snprintf(out, DATE_ISO, "%04u-%02u-%02uT%02u:%02u:%02uZ", (unsigned)d.year % 10000, (unsigned)d.month % 100, (unsigned)d.day % 100,
             (unsigned)d.hour % 100, (unsigned)d.minute % 100, (unsigned)d.second % 100);
}
