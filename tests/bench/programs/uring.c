/*
 * What ring.c does in the guest, done by a Linux process with io_uring: the nearest thing
 * to compare with. Usage: uring PATH.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>

#include "bench.h"

#define PAGE       4096
#define FILE_PAGES 256
#define DEPTH      32

static struct io_uring ring;
static char buffers[DEPTH][PAGE];
static int fd;

struct flow {
	bool read;
	unsigned depth;
};

static void prepare(const struct flow *flow, uint64_t number)
{
	struct io_uring_sqe *entry = io_uring_get_sqe(&ring);

	if (flow->read)
		io_uring_prep_read(entry, fd, buffers[number % DEPTH], PAGE,
				   number % FILE_PAGES * PAGE);
	else
		io_uring_prep_nop(entry);
}

/* `depth` at a time: one system call submits them and waits for all. */
static void flow_through(void *context, uint64_t times)
{
	const struct flow *flow = context;
	struct io_uring_cqe *completions[DEPTH];

	for (uint64_t done = 0; done < times; done += flow->depth) {
		for (unsigned i = 0; i < flow->depth; i++)
			prepare(flow, done + i);
		if (io_uring_submit_and_wait(&ring, flow->depth) < 0)
			bench_fail("io_uring");
		if (io_uring_peek_batch_cqe(&ring, completions, DEPTH) != flow->depth)
			bench_fail("completions");
		for (unsigned i = 0; i < flow->depth; i++) {
			errno = -completions[i]->res;
			if (completions[i]->res != (flow->read ? PAGE : 0))
				bench_fail("operation");
		}
		io_uring_cq_advance(&ring, flow->depth);
	}
}

int main(int argc, char **argv)
{
	errno = -io_uring_queue_init(DEPTH, &ring, 0);
	if (errno)
		bench_fail("io_uring_queue_init");
	fd = argc > 1 ? open(argv[1], O_RDONLY) : -1;
	if (fd < 0)
		bench_fail("open");

	bench_run("ring_nop", 5000, flow_through, &(struct flow){ false, 1 });
	bench_run("ring_nop_32", 32000, flow_through, &(struct flow){ false, DEPTH });
	bench_run("ring_read", 5000, flow_through, &(struct flow){ true, 1 });
	bench_run("ring_read_32", 16000, flow_through, &(struct flow){ true, DEPTH });
	io_uring_queue_exit(&ring);
	return 0;
}
