/* Of Linux's headers Redis asks only for their version, by which it decides on sync_file_range; there is none of Linux. */
#define LINUX_VERSION_CODE 0
