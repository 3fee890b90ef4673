/* What uhyve_config_* collected. VMs share it, counted, and don't change it. */
#ifndef UHYVE_CONFIG_H
#define UHYVE_CONFIG_H

#include <stdatomic.h>
#include <stddef.h>

#include "abi/boot.h"
#include "engine.h"
#include "mounts.h"

struct uhyve_config {
	_Atomic unsigned references; /* the user's, and one per VM          */
	uint64_t memory;             /* bytes                               */
	unsigned vcpus;
	struct uhyve_mounts *mounts; /* owned                               */
	char **env;                  /* owned strings                       */
	size_t env_count;
	int console[3];
	uint64_t spin_ns;
	uint64_t turn_ns;
	enum pg_dispatch dispatch;
	uint32_t trace_events; /* per vCPU, a power of two, or 0             */
	enum uhyve_backend backend;
};

#endif
