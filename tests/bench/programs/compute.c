/* The processor alone: no system call, little memory. */
#include <stdio.h>
#include <string.h>

#include "bench.h"

#define LIMIT  1000000 /* of the sieve: the primes below are known */
#define PRIMES 78498

static void sieve(void *context, uint64_t times)
{
	static unsigned char composite[LIMIT];

	while (times--) {
		unsigned primes = 0;

		memset(composite, 0, sizeof(composite));
		for (unsigned i = 2; i < LIMIT; i++) {
			if (composite[i])
				continue;
			primes++;
			for (uint64_t j = (uint64_t)i * i; j < LIMIT; j += i)
				composite[j] = 1;
		}
		if (primes != PRIMES)
			bench_fail("sieve");
	}
}

/* Rotations, additions and exclusive ors that depend on each other, as in a hash function. */
static void mix(void *context, uint64_t times)
{
	uint32_t a = 1, b = 2, c = 3, d = 4;

	for (uint64_t i = 0; i < times * 1000000; i++) {
		a += b;
		d = (d ^ a) << 16 | (d ^ a) >> 16;
		c += d;
		b = (b ^ c) << 12 | (b ^ c) >> 20;
	}
	*(volatile uint32_t *)context = a + b + c + d;
}

int main(void)
{
	uint32_t sink;

	bench_run("sieve", 2, sieve, NULL);
	bench_run("mix", 2, mix, &sink);
	return 0;
}
