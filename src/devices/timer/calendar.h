/* Days and dates of the Gregorian calendar, counted from 1970-01-01. No limits but those of `int` years. */
#ifndef RING3_DEVICES_TIMER_CALENDAR_H
#define RING3_DEVICES_TIMER_CALENDAR_H

#include "base/types.h"

struct date {
    int year;
    unsigned month; /* 1..12 */
    unsigned day;   /* 1..31 */
};

/* A year that begins in March ends with its leap day; 400 years have 146097 days. */
static inline s64 days_from_date(struct date d)
{
    s64 year = d.month > 2 ? d.year : d.year - 1;
    s64 era = (year >= 0 ? year : year - 399) / 400;
    s64 year_of_era = year - era * 400;
    s64 day_of_year = (153 * (d.month > 2 ? (s64)d.month - 3 : (s64)d.month + 9) + 2) / 5 + d.day - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

static inline struct date date_from_days(s64 days)
{
    days += 719468;
    s64 era = (days >= 0 ? days : days - 146096) / 146097;
    s64 day_of_era = days - era * 146097;
    s64 year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    s64 day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    s64 month = (5 * day_of_year + 2) / 153;
    struct date d = {
        .year = (int)(year_of_era + era * 400 + (month >= 10)),
        .month = (unsigned)(month < 10 ? month + 3 : month - 9),
        .day = (unsigned)(day_of_year - (153 * month + 2) / 5 + 1),
    };
    return d;
}

#endif
