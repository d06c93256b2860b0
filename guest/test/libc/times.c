/* times.c: calendar time in UTC. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int main(void)
{
	static const time_t when[] = {0, 1, 86399, 951782400, 1078012799, 1700000000, 2147483647, 4102444800, -1, -86400 * 365L};
	char buf[300];
	struct tm tm, back;

	setenv("TZ", "UTC0", 1);
	tzset();
	for (size_t i = 0; i < sizeof(when) / sizeof(*when); i++) {
		gmtime_r(&when[i], &tm);
		strftime(buf, sizeof(buf), "%Y-%m-%d %H:%M:%S %a %A %b %B %j %U %W %u %w %y %C %e %I %p %D %F %T %R %G-%V %%", &tm);
		printf("%ld: %s\n", (long)when[i], buf);
		back = tm;
		printf("  %ld %ld %s", (long)timegm(&back), (long)mktime(&tm), asctime(&tm));
	}
	memset(&tm, 0, sizeof(tm));
	tm.tm_year = 124, tm.tm_mon = 13, tm.tm_mday = 35, tm.tm_hour = 25;
	printf("%ld", (long)mktime(&tm));
	strftime(buf, sizeof(buf), "%c|%x|%X|%n%t|%s", &tm);
	printf(" %s\n", buf);
	memset(&tm, 0, sizeof(tm));
	printf("%s\n", strptime("2024-02-29 12:34:56", "%Y-%m-%d %H:%M:%S", &tm) ? "parsed" : "not parsed");
	printf("%d %d %d %d %d %d\n", tm.tm_year, tm.tm_mon, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
	printf("%.0f\n", difftime(100, 40));
	setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
	tzset();
	for (time_t t = 1700000000; t < 1735000000; t += 5000000) {
		localtime_r(&t, &tm);
		strftime(buf, sizeof(buf), "%F %T %z %Z", &tm);
		printf("%s %d %ld\n", buf, tm.tm_isdst, (long)mktime(&tm));
	}
	return 0;
}
