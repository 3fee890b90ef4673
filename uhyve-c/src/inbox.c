#include "inbox.h"

#include <unistd.h>

void uhyve_inbox_wake(struct uhyve_inbox *inbox)
{
	uint64_t one = 1;

	/* Fails only when the counter is full: then the engine is being woken anyway. */
	ssize_t ignored = write(inbox->wake_fd, &one, sizeof(one));
	(void)ignored;
}

void uhyve_inbox_put(struct uhyve_inbox *inbox, struct uhyve_request *request)
{
	struct uhyve_request *head = atomic_load_explicit(&inbox->head, memory_order_relaxed);

	do
		request->next = head;
	while (!atomic_compare_exchange_weak(&inbox->head, &head, request));
	/* The request is the engine's from here on. */
	if (atomic_load(&inbox->asleep))
		uhyve_inbox_wake(inbox);
}

struct uhyve_request *uhyve_inbox_take(struct uhyve_inbox *inbox)
{
	struct uhyve_request *newest, *oldest = NULL;

	/* The look before the exchange keeps the line shared while nothing comes. */
	if (!atomic_load_explicit(&inbox->head, memory_order_relaxed))
		return NULL;
	newest = atomic_exchange(&inbox->head, NULL);
	while (newest) {
		struct uhyve_request *next = newest->next;

		newest->next = oldest;
		oldest = newest;
		newest = next;
	}
	return oldest;
}
