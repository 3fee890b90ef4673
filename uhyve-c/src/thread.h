/*
 * Threads of the library. They block all signals, so that the program that embeds the
 * library gets its own, and SIGPIPE and SIGXFSZ stay error codes.
 */
#ifndef UHYVE_THREAD_H
#define UHYVE_THREAD_H

#include <pthread.h>

/* Start a thread with a name of at most 15 bytes. 0 or a negative errno. */
int uhyve_thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *argument);

/*
 * The signal that interrupts a system call of a library thread: the highest real-time
 * signal nobody had a handler for when this was first called; its handler does nothing.
 * 0 if there is none: then nothing can be interrupted. Any thread.
 */
int uhyve_thread_interrupt_signal(void);

#endif
