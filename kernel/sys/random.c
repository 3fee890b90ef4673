#include "random.h"

#include <stdbool.h>
#include <stdint.h>

#include "chacha.h"
#include "core/spinlock.h"
#include "lib/string.h"
#include "process.h"

static struct {
	struct pg_spinlock lock; /* guards the rest */
	bool seeded;
	uint8_t key[PG_CHACHA_KEY];
} generator;

static const uint32_t no_nonce[3]; /* no key is used for two streams */

_Static_assert(sizeof(((struct pg_boot *)0)->random) == PG_CHACHA_KEY, "the seed is a key");

/* So that the compiler can't see that nobody reads it again. */
static void wipe(void *secret, size_t length)
{
	memset(secret, 0, length);
	__asm__ volatile("" : : "r"(secret) : "memory");
}

/* One block gives the generator's next key, and one for the caller. */
static void take_key(uint8_t key[PG_CHACHA_KEY])
{
	uint8_t block[PG_CHACHA_BLOCK];

	pg_spin_lock(&generator.lock);
	if (!generator.seeded) {
		memcpy(generator.key, pg_boot->random, PG_CHACHA_KEY);
		generator.seeded = true;
	}
	pg_chacha_block(generator.key, 0, no_nonce, block);
	memcpy(generator.key, block, PG_CHACHA_KEY);
	pg_spin_unlock(&generator.lock);
	memcpy(key, block + PG_CHACHA_KEY, PG_CHACHA_KEY);
	wipe(block, sizeof(block));
}

void pg_random(void *buffer, size_t length)
{
	uint8_t key[PG_CHACHA_KEY], block[PG_CHACHA_BLOCK];
	uint8_t *to = buffer;
	uint32_t counter = 0;

	take_key(key);
	while (length) {
		size_t some = length < sizeof(block) ? length : sizeof(block);

		pg_chacha_block(key, counter, no_nonce, block);
		memcpy(to, block, some);
		to += some;
		length -= some;
		/* After 256 GiB. */
		if (++counter == 0)
			take_key(key);
	}
	wipe(block, sizeof(block));
	wipe(key, sizeof(key));
}
