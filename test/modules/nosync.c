/*
 * nosync.c
 *	  For LD_PRELOAD in tests: fdatasync() of a file whose path holds
 *	  "pg_vibevideo" fails, as long as there is the file named by VIBETEST_NOSYNC.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int
fdatasync(int fd)
{
	const char *flag = getenv("VIBETEST_NOSYNC");
	char link[64];
	char path[1024];
	ssize_t len;

	if (flag && access(flag, F_OK) == 0)
	{
		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		len = readlink(link, path, sizeof(path) - 1);
		path[len > 0 ? len : 0] = '\0';
		if (strstr(path, "pg_vibevideo"))
		{
			errno = EIO;
			return -1;
		}
	}
	return (int) syscall(SYS_fdatasync, fd);
}
