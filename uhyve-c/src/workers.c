#include "workers.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "operation.h"
#include "thread.h"

#define INTERRUPT_PERIOD_NS 1000000

struct worker {
	pthread_t thread;
	struct uhyve_workers *owner;
	bool gone; /* its thread touches nothing any more                    */
};

struct uhyve_workers {
	struct uhyve_inbox *inbox;
	pthread_mutex_t lock; /* guards all below                            */
	pthread_cond_t work;  /* the queue has grown, or it is time to stop   */
	pthread_cond_t exit;  /* a worker is gone; CLOCK_MONOTONIC            */
	struct uhyve_queue queue;
	unsigned queued, idle, count, gone;
	bool stopping;
	struct worker worker[UHYVE_WORKERS_MAX];
};

static void allow_interrupts(void)
{
	int number = uhyve_thread_interrupt_signal();
	sigset_t set;

	if (number == 0)
		return;
	sigemptyset(&set);
	sigaddset(&set, number);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void *worker_main(void *argument)
{
	struct worker *self = argument;
	struct uhyve_workers *workers = self->owner;

	allow_interrupts();
	pthread_mutex_lock(&workers->lock);
	for (;;) {
		struct uhyve_request *request = workers->queue.first;

		if (request) {
			uhyve_queue_remove(&workers->queue, request);
			workers->queued--;
			pthread_mutex_unlock(&workers->lock);
			request->result = uhyve_operation_run(request);
			uhyve_inbox_put(workers->inbox, request);
			pthread_mutex_lock(&workers->lock);
			continue;
		}
		if (workers->stopping)
			break;
		workers->idle++;
		pthread_cond_wait(&workers->work, &workers->lock);
		workers->idle--;
	}
	self->gone = true;
	workers->gone++;
	pthread_cond_signal(&workers->exit);
	pthread_mutex_unlock(&workers->lock);
	return NULL;
}

struct uhyve_workers *uhyve_workers_new(struct uhyve_inbox *inbox)
{
	struct uhyve_workers *workers = calloc(1, sizeof(*workers));
	pthread_condattr_t attributes;

	if (!workers)
		return NULL;
	workers->inbox = inbox;
	pthread_mutex_init(&workers->lock, NULL);
	pthread_cond_init(&workers->work, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&workers->exit, &attributes);
	pthread_condattr_destroy(&attributes);
	return workers;
}

static void add_worker(struct uhyve_workers *workers)
{
	struct worker *worker = &workers->worker[workers->count];

	worker->owner = workers;
	if (uhyve_thread_start(&worker->thread, "uhyve-worker", worker_main, worker) == 0)
		workers->count++;
}

void uhyve_workers_submit(struct uhyve_workers *workers, struct uhyve_request *request)
{
	pthread_mutex_lock(&workers->lock);
	uhyve_queue_add(&workers->queue, request);
	workers->queued++;
	if (workers->queued > workers->idle && workers->count < UHYVE_WORKERS_MAX)
		add_worker(workers);
	if (workers->count == 0) {
		/* The host gives us no thread at all. */
		uhyve_queue_remove(&workers->queue, request);
		workers->queued--;
		request->result = -ENOMEM;
		uhyve_inbox_put(workers->inbox, request);
	}
	pthread_cond_signal(&workers->work);
	pthread_mutex_unlock(&workers->lock);
}

/* The lock is held. */
static void take_back(struct uhyve_workers *workers, struct uhyve_request *request)
{
	uhyve_queue_remove(&workers->queue, request);
	workers->queued--;
	request->result = -ECANCELED;
	uhyve_inbox_put(workers->inbox, request);
}

bool uhyve_workers_cancel(struct uhyve_workers *workers, struct uhyve_request *request)
{
	bool found;

	pthread_mutex_lock(&workers->lock);
	found = uhyve_queue_has(&workers->queue, request);
	if (found)
		take_back(workers, request);
	pthread_mutex_unlock(&workers->lock);
	return found;
}

/*
 * Until all are gone: a signal that arrives just before the system call it is meant for
 * is lost, so it is sent again and again. The lock is held.
 */
static void wait_for_workers(struct uhyve_workers *workers)
{
	int number = uhyve_thread_interrupt_signal();

	while (workers->gone < workers->count) {
		struct timespec until;

		for (unsigned i = 0; number && i < workers->count; i++)
			if (!workers->worker[i].gone)
				pthread_kill(workers->worker[i].thread, number);
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += INTERRUPT_PERIOD_NS;
		if (until.tv_nsec >= 1000000000) {
			until.tv_nsec -= 1000000000;
			until.tv_sec++;
		}
		pthread_cond_timedwait(&workers->exit, &workers->lock, &until);
	}
}

void uhyve_workers_stop(struct uhyve_workers *workers)
{
	if (!workers)
		return;
	pthread_mutex_lock(&workers->lock);
	workers->stopping = true;
	while (workers->queue.first)
		take_back(workers, workers->queue.first);
	pthread_cond_broadcast(&workers->work);
	wait_for_workers(workers);
	pthread_mutex_unlock(&workers->lock);
	for (unsigned i = 0; i < workers->count; i++)
		pthread_join(workers->worker[i].thread, NULL);
	pthread_cond_destroy(&workers->exit);
	pthread_cond_destroy(&workers->work);
	pthread_mutex_destroy(&workers->lock);
	free(workers);
}
