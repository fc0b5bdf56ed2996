/*
 * finding.h
 *	  What one question of check_config has found: a line of it, without its name.
 */
#ifndef VIBEVIDEO_FINDING_H
#define VIBEVIDEO_FINDING_H

typedef struct Finding
{
	const char *status;
	char *detail;
	const char *hint; /* NULL if it is ok */
} Finding;

static inline Finding
Ok(char *detail)
{
	return (Finding){"ok", detail, NULL};
}

static inline Finding
Warn(char *detail, const char *hint)
{
	return (Finding){"warn", detail, hint};
}

static inline Finding
Bad(char *detail, const char *hint)
{
	return (Finding){"fail", detail, hint};
}

#endif /* VIBEVIDEO_FINDING_H */
