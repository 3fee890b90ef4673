/* Threads that meet at barriers and share a counter under a mutex. Prints the sum. */
#include <pthread.h>
#include <stdio.h>

#define THREADS 6
#define ROUNDS  10
#define STEPS   1000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t barrier;
static unsigned long sum;

static void *work(void *argument)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		for (unsigned j = 0; j < STEPS; j++) {
			pthread_mutex_lock(&lock);
			sum++;
			pthread_mutex_unlock(&lock);
		}
		pthread_barrier_wait(&barrier);
	}
	return NULL;
}

int main(void)
{
	pthread_t threads[THREADS];

	pthread_barrier_init(&barrier, NULL, THREADS);
	for (unsigned i = 0; i < THREADS; i++) {
		if (pthread_create(&threads[i], NULL, work, NULL))
			return 1;
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	printf("%lu\n", sum);
	return 0;
}
