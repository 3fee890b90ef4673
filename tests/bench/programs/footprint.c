/*
 * What a blocked thread takes of the host's memory: start that many, and end. The runner looks at
 * what the whole run took. Outside a guest it says so itself.
 * Usage: footprint THREADS
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t never = PTHREAD_COND_INITIALIZER, changed = PTHREAD_COND_INITIALIZER;
static unsigned arrived;

static void *block(void *argument)
{
	pthread_mutex_lock(&mutex);
	arrived++;
	pthread_cond_signal(&changed);
	for (;;)
		pthread_cond_wait(&never, &mutex);
	return argument;
}

int main(int argc, char **argv)
{
	unsigned count = argc > 1 ? (unsigned)atoi(argv[1]) : 0;
	long pages = 0, resident = 0;
	pthread_t thread;
	FILE *statm;

	for (unsigned i = 0; i < count; i++)
		if ((errno = pthread_create(&thread, NULL, block, NULL)))
			bench_fail("pthread_create");
	pthread_mutex_lock(&mutex);
	while (arrived < count)
		pthread_cond_wait(&changed, &mutex);
	pthread_mutex_unlock(&mutex);
	statm = fopen("/proc/self/statm", "r");
	if (statm && fscanf(statm, "%ld %ld", &pages, &resident) == 2)
		bench_report("resident", (double)resident * (double)sysconf(_SC_PAGESIZE));
	return 0;
}
