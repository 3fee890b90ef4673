/*
 * The devices that only make or swallow bytes. They live in the kernel, and are there
 * whatever the user has mapped: /dev/null, zero, full, random, urandom.
 */
#ifndef PG_DEVICE_H
#define PG_DEVICE_H

#include <stdint.h>

struct pg_file_ops;
struct pg_statx;

struct pg_device {
	const char *name;
	uint32_t minor;
	const struct pg_file_ops *ops;
};

/* What an absolute path names, or NULL. */
const struct pg_device *pg_device_find(const char *path);

void pg_device_stat(const struct pg_device *device, struct pg_statx *to);

#endif
