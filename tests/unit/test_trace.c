/* Reading the traces: order, what was overwritten, and a guest that writes anything. */
#include <criterion/criterion.h>
#include <stdint.h>

#include "abi/layout.h"
#include "abi/trace.h"
#include "mmu.h"
#include "trace.h"

#define VCPUS 3
#define MAX   4096

/* A tick is a nanosecond, from 1000 on. */
static const struct pg_clock tick = { .base_tsc = 1000, .base_ns = 1000, .mult = 1ull << 32 };

static struct uhyve_memory memory;
static struct uhyve_mmu mmu;
static uint32_t slots;
static uint64_t heads[VCPUS];
static struct uhyve_trace_summary sum;

/* What was handed out. */
static struct uhyve_trace_event got[MAX];
static unsigned got_count, stop_after;

static void begin(uint32_t events)
{
	slots = events;
	cr_assert_eq(uhyve_memory_init(&memory, 64 << 20, NULL), 0);
	cr_assert_eq(uhyve_mmu_init(&mmu, &memory, NULL), 0);
	cr_assert_eq(uhyve_trace_map(&mmu, VCPUS, events), 0);
}

static void end(void)
{
	uhyve_mmu_free(&mmu);
	uhyve_memory_free(&memory);
}

TestSuite(trace, .fini = end, .timeout = 30);

/* As the kernel does it. */
static void record(unsigned vcpu, uint64_t tsc, uint32_t kind, uint64_t task)
{
	uint64_t slot = heads[vcpu]++ & (slots - 1);
	struct pg_trace_event event = { tsc, task, kind, (uint32_t)task + 1, task + 2 };
	uhyve_gva at = { PG_VA_TRACE + (uint64_t)vcpu * PG_TRACE_STRIDE + slot * sizeof(event) };

	cr_assert_eq(uhyve_mmu_copy_to(&mmu, at, &event, sizeof(event)), 0, "not mapped");
}

static int take(void *context, const struct uhyve_trace_event *event)
{
	cr_assert_eq(context, &memory);
	if (stop_after && got_count == stop_after)
		return -42;
	cr_assert_lt(got_count, MAX);
	got[got_count++] = *event;
	return 0;
}

static int read_all(void)
{
	got_count = 0;
	return uhyve_trace_read(&mmu, &tick, VCPUS, slots, heads, take, &memory, &sum);
}

Test(trace, none)
{
	begin(0);
	cr_assert_eq(uhyve_mmu_query(&mmu, (uhyve_gva){ PG_VA_TRACE }), -2);
	heads[0] = 1000; /* that the guest says so makes no difference */
	cr_assert_eq(read_all(), 0);
	cr_assert_eq(got_count, 0);
	cr_assert_eq(sum.overwritten, 0);
}

Test(trace, in_the_order_of_time)
{
	begin(64);
	record(0, 1010, PG_TRACE_RUN, 1);
	record(0, 1030, PG_TRACE_DONE, 1);
	record(2, 1020, PG_TRACE_SPIN, 0);
	record(1, 1005, PG_TRACE_NAME, 7);
	record(1, 1040, PG_TRACE_WORK, 0);
	cr_assert_eq(read_all(), 0);
	cr_assert_eq(got_count, 5);

	static const struct {
		uint64_t time;
		unsigned vcpu;
		enum uhyve_trace_kind kind;
	} expected[] = {
		{ 1005, 1, UHYVE_TRACE_NAME }, { 1010, 0, UHYVE_TRACE_RUN },
		{ 1020, 2, UHYVE_TRACE_SPIN }, { 1030, 0, UHYVE_TRACE_DONE },
		{ 1040, 1, UHYVE_TRACE_WORK },
	};
	for (unsigned i = 0; i < 5; i++) {
		cr_assert_eq(got[i].time, expected[i].time);
		cr_assert_eq(got[i].vcpu, expected[i].vcpu);
		cr_assert_eq(got[i].kind, expected[i].kind);
	}
	cr_assert_eq(got[0].task, 7);
	cr_assert_eq(got[0].arg, 8);
	cr_assert_eq(got[0].more, 9);
	cr_assert_eq(sum.events, 5);
	cr_assert_eq(sum.overwritten, 0);
	cr_assert_eq(sum.dropped, 0);
}

Test(trace, the_newest_events_are_kept)
{
	begin(64);
	for (uint64_t i = 0; i < 100; i++)
		record(1, 2000 + i, PG_TRACE_RUN, i);
	cr_assert_eq(read_all(), 0);
	cr_assert_eq(got_count, 64);
	for (uint64_t i = 0; i < 64; i++)
		cr_assert_eq(got[i].task, 36 + i);
	cr_assert_eq(sum.overwritten, 36);
}

/* Many pages, and large ones. */
Test(trace, all_sizes)
{
	static const uint32_t sizes[] = { 1, 2, 128, 256, 65536, 131072 };

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		begin(sizes[i]);
		for (unsigned vcpu = 0; vcpu < VCPUS; vcpu++) {
			/* The last slot, and the first one again. */
			heads[vcpu] = sizes[i] - 1;
			record(vcpu, 5000, PG_TRACE_PARK, 1);
			record(vcpu, 5001, PG_TRACE_UNPARK, 1);
		}
		cr_assert_eq(read_all(), 0);
		cr_assert_eq(got_count, sizes[i] == 1 ? 3 : 6, "%u: %u", sizes[i], got_count);
		end();
		memset(heads, 0, sizeof(heads));
	}
	begin(1);
}

Test(trace, as_many_as_there_may_be)
{
	begin(64);
	end();
	cr_assert_eq(uhyve_memory_init(&memory, 64 << 20, NULL), 0);
	cr_assert_eq(uhyve_mmu_init(&mmu, &memory, NULL), 0);
	cr_assert_eq(uhyve_trace_map(&mmu, VCPUS, PG_TRACE_MAX), 0);
	cr_assert_neq(uhyve_trace_map(&mmu, VCPUS, 1), 0, "something is there");
	end();
	cr_assert_eq(uhyve_memory_init(&memory, 8 << 20, NULL), 0);
	cr_assert_eq(uhyve_mmu_init(&mmu, &memory, NULL), 0);
	cr_assert_eq(uhyve_trace_map(&mmu, VCPUS, PG_TRACE_MAX), -12, "no memory");
}

Test(trace, ended_by_the_callback)
{
	begin(64);
	for (uint64_t i = 0; i < 10; i++)
		record(0, 1000 + i, PG_TRACE_RUN, i);
	stop_after = 4;
	cr_assert_eq(read_all(), -42);
	cr_assert_eq(got_count, 4);
}

Test(trace, a_guest_that_writes_anything)
{
	static const uint64_t counts[] = { 0, 1, 63, 64, 65, 1ull << 32, UINT64_MAX };
	uint64_t seed = 88172645463325252ull;

	begin(64);
	for (unsigned round = 0; round < 200; round++) {
		unsigned written = 0;

		for (unsigned i = 0; i < VCPUS * 64; i++) {
			seed ^= seed << 13;
			seed ^= seed >> 7;
			seed ^= seed << 17;
			record(i % VCPUS, seed & 1 ? seed : seed % 10000,
			       seed & 2 ? (uint32_t)(seed >> 32) : (uint32_t)(seed >> 32) % 16,
			       seed);
		}
		for (unsigned i = 0; i < VCPUS; i++) {
			heads[i] = counts[(seed >> (8 * i)) % 7];
			written += heads[i] < 64 ? (unsigned)heads[i] : 64;
		}
		cr_assert_eq(read_all(), 0);
		cr_assert_eq(sum.events, got_count);
		cr_assert_eq(sum.events + sum.dropped, written);
		for (unsigned i = 0; i < got_count; i++) {
			cr_assert(got[i].kind >= UHYVE_TRACE_NAME &&
				  got[i].kind <= UHYVE_TRACE_WORK);
			cr_assert_lt(got[i].vcpu, VCPUS);
			cr_assert(i == 0 || got[i].time >= got[i - 1].time);
		}
	}
}
