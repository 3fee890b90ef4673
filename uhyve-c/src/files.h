/*
 * Path and metadata operations. Decoded on the engine thread; carried out there too if
 * the host has everything cached, by a worker otherwise. What a worker needs is in the
 * request's work: it never looks at guest memory.
 *
 * Every lookup goes beneath the mount's descriptor. What the guest may open: regular
 * files, directories, FIFOs and the devices that only make or swallow bytes (null, zero,
 * full, random, urandom). Other devices and terminals only if the user has mapped that
 * very file.
 */
#ifndef UHYVE_FILES_H
#define UHYVE_FILES_H

#include "operation.h"

/* A guest path, found among the mounts. */
struct uhyve_place {
	int dirfd; /* the mount's, borrowed                                  */
	bool read_only;
	bool is_file; /* dirfd is the file itself                            */
	char rest[PG_PATH_MAX + 1];
};

struct uhyve_work {
	struct uhyve_place place[2]; /* the second one: only for renames      */
	uint64_t flags;
	uint64_t mode;    /* or mask, by operation                         */
	uhyve_gva buffer; /* where the data goes when the work is done     */
	size_t size;      /* bytes of data                                 */
	char data[];
};

/* As uhyve_operation_start(), for one of the operations that name a path. */
int64_t uhyve_files_start(struct uhyve_guest *guest, struct uhyve_request *request,
			  const struct pg_sqe *entry);

/* The same for GETDENTS; request->handle is set. */
int64_t uhyve_files_start_getdents(struct uhyve_guest *guest, struct uhyve_request *request,
				   const struct pg_sqe *entry);

/* Carry out request->work. May block. Any thread. An opened file: its descriptor. */
int64_t uhyve_files_run(struct uhyve_request *request);

/* Turn the result of the work into the operation's: give out a handle, copy data out. */
int64_t uhyve_files_finish(struct uhyve_guest *guest, struct uhyve_request *request,
			   int64_t result);

#endif
