#include "thread.h"

#include <signal.h>
#include <stddef.h>

int uhyve_thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *argument)
{
	sigset_t all, before;
	int code;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	code = pthread_create(thread, NULL, run, argument);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (code)
		return -code;
	pthread_setname_np(*thread, name);
	return 0;
}

static int interrupt_signal;

static void do_nothing(int signal)
{
}

static void choose_signal(void)
{
	/* No SA_RESTART: the point is that the system call ends with EINTR. */
	struct sigaction action = { .sa_handler = do_nothing }, before;

	for (int number = SIGRTMAX; number >= SIGRTMIN; number--) {
		if (sigaction(number, NULL, &before) < 0 || before.sa_handler != SIG_DFL)
			continue;
		if (sigaction(number, &action, NULL) < 0)
			continue;
		interrupt_signal = number;
		return;
	}
}

int uhyve_thread_interrupt_signal(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, choose_signal);
	return interrupt_signal;
}
