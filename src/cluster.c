/*
 * cluster.c
 *	  Which cluster this is: the one that initdb made, or one that began as a
 *	  copy of its data directory.
 *
 * A base backup that is started beside its original has the same system
 * identifier, the same databases and the same timeline.  But at its first
 * start it has a backup_label, which no original ever has.  It then gets its
 * own number, in a file that is copied with the data directory, so its
 * standbys, which need it, have it as well.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file_perm.h"
#include "storage/fd.h"

#include "cluster.h"
#include "ownerror.h"

#define NUMBER_FILE CLUSTER_DIR "/cluster"

void
ClusterMakeDirectory(void)
{
	if (MakePGDirectory(CLUSTER_DIR) < 0 && errno != EEXIST)
		ereport(FATAL,
				(errcode_for_file_access(),
				 errmsg("could not create directory \"%s\": %m", CLUSTER_DIR)));
}

static void
FailToStart(const char *message)
{
	ereport(FATAL,
			(errcode_for_file_access(),
			 errmsg(message, NUMBER_FILE)));
}

/* Durable before anyone can have read it. */
static void
WriteClusterNumber(uint64 number)
{
	static const char *const temporary = NUMBER_FILE ".tmp";
	int fd = BasicOpenFile(temporary, O_RDWR | O_CREAT | O_TRUNC | PG_BINARY);

	if (fd < 0)
		FailToStart("could not create file \"%s\": %m");
	errno = ENOSPC; /* if write does not set it */
	if (write(fd, &number, sizeof(number)) != sizeof(number) || pg_fsync(fd) != 0 || close(fd) != 0)
		FailToStart("could not write file \"%s\": %m");
	(void) durable_rename(temporary, NUMBER_FILE, FATAL);
}

/* 0 if there is none */
static uint64
ReadClusterNumber(void)
{
	uint64 number = 0;
	int fd = BasicOpenFile(NUMBER_FILE, O_RDONLY | PG_BINARY);

	if (fd < 0)
	{
		if (errno != ENOENT)
			FailToStart("could not open file \"%s\": %m");
		return 0;
	}
	errno = EIO; /* if the file is truncated */
	if (read(fd, &number, sizeof(number)) != sizeof(number))
		FailToStart("could not read file \"%s\": %m");
	close(fd);
	return number;
}

static bool
Exists(const char *name)
{
	struct stat st;

	return stat(name, &st) == 0;
}

/*
 * A standby keeps the identity of its primary when it is promoted.  Recovery
 * from an archive ends on a new timeline, which serves the same purpose.
 */
static bool
IsStartedCopy(void)
{
	return Exists("backup_label") && !Exists("standby.signal") && !Exists("recovery.signal");
}

uint64
ClusterNumberAtStart(void)
{
	uint64 number;

	if (IsStartedCopy())
	{
		if (!pg_strong_random(&number, sizeof(number)))
			ereport(FATAL, (errmsg("could not generate a random number for vibevideo")));
		WriteClusterNumber(number);
	}
	return ReadClusterNumber();
}
