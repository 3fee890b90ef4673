#include "trace.h"

#include <errno.h>
#include <string.h>

#include "abi/ops.h"
#include "abi/trace.h"
#include "clock.h"

#define LARGE_PAGE (2ull << 20)

#define SAME(number, name, word, meaning)                                                          \
	_Static_assert((int)UHYVE_TRACE_##name == (int)PG_TRACE_##name, "as the contract");
#define UHYVE_TRACE_NONE 0
PG_TRACE_EVENTS(SAME)
#undef UHYVE_TRACE_NONE
#undef SAME

int uhyve_trace_map(struct uhyve_mmu *mmu, unsigned vcpus, uint32_t events)
{
	const uint32_t prot = PG_PROT_READ | PG_PROT_WRITE | UHYVE_PROT_SEALED;
	uint64_t size = (uint64_t)events * sizeof(struct pg_trace_event);

	/* Few events share a page with nothing. */
	size = (size + PG_PAGE_SIZE - 1) & ~(PG_PAGE_SIZE - 1ull);
	for (unsigned i = 0; size && i < vcpus; i++) {
		uhyve_gva at = { PG_VA_TRACE + (uint64_t)i * PG_TRACE_STRIDE };
		int result = size % LARGE_PAGE ? uhyve_mmu_map(mmu, at, size, prot)
					       : uhyve_mmu_map_large(mmu, at, size, prot);

		if (result)
			return result;
	}
	return 0;
}

/* Where we are in one vCPU's trace: its next event that counts, if there is one. */
struct cursor {
	uint64_t at, end; /* events, as counted by the guest               */
	uint64_t tsc;     /* of the last one: it never goes back            */
	struct pg_trace_event event;
};

/* Copied once; only the copy is looked at. */
static void copy_event(const struct uhyve_mmu *mmu, unsigned vcpu, uint64_t slot,
		       struct pg_trace_event *event)
{
	uhyve_gva va = { PG_VA_TRACE + (uint64_t)vcpu * PG_TRACE_STRIDE + slot * sizeof(*event) };
	const void *host = uhyve_mmu_at(mmu, va, sizeof(*event));

	if (host)
		memcpy(event, host, sizeof(*event));
	else
		*event = (struct pg_trace_event){ .kind = PG_TRACE_NONE };
}

/* Go to the next event of a known kind; false at the end. */
static bool advance(struct cursor *cursor, const struct uhyve_mmu *mmu, unsigned vcpu,
		    uint32_t events, uint64_t *dropped)
{
	while (cursor->at != cursor->end) {
		struct pg_trace_event *event = &cursor->event;

		copy_event(mmu, vcpu, cursor->at++ & (events - 1), event);
		if (event->kind == PG_TRACE_NONE || event->kind >= PG_TRACE_COUNT) {
			++*dropped;
			continue;
		}
		if (event->tsc < cursor->tsc)
			event->tsc = cursor->tsc;
		cursor->tsc = event->tsc;
		return true;
	}
	return false;
}

int uhyve_trace_read(const struct uhyve_mmu *mmu, const struct pg_clock *clock, unsigned vcpus,
		     uint32_t events, const uint64_t *heads,
		     int (*event)(void *context, const struct uhyve_trace_event *event),
		     void *context, struct uhyve_trace_summary *summary)
{
	struct uhyve_trace_summary sum = { 0 };
	struct cursor cursors[UHYVE_VCPUS_MAX];
	uint64_t last = 0;
	bool has[UHYVE_VCPUS_MAX];
	int result = 0;

	for (unsigned i = 0; i < vcpus; i++) {
		uint64_t count = heads[i] < events ? heads[i] : events;

		cursors[i] = (struct cursor){ .at = heads[i] - count, .end = heads[i] };
		if (events)
			sum.overwritten += heads[i] - count;
		has[i] = events && advance(&cursors[i], mmu, i, events, &sum.dropped);
	}
	while (!result) {
		unsigned first = vcpus;

		for (unsigned i = 0; i < vcpus; i++) {
			if (has[i] &&
			    (first == vcpus || cursors[i].event.tsc < cursors[first].event.tsc))
				first = i;
		}
		if (first == vcpus)
			break;

		const struct pg_trace_event *from = &cursors[first].event;
		struct uhyve_trace_event out = {
			.time = uhyve_clock_ns(clock, from->tsc),
			.vcpu = first,
			.kind = (enum uhyve_trace_kind)from->kind,
			.task = from->task,
			.arg = from->arg,
			.more = from->more,
		};
		/* Readings that the clock can't have shown are not in order as times. */
		if (out.time < last)
			out.time = last;
		last = out.time;
		result = event(context, &out);
		sum.events++;
		has[first] = advance(&cursors[first], mmu, first, events, &sum.dropped);
	}
	if (summary)
		*summary = sum;
	return result;
}
