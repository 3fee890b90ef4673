#include <criterion/criterion.h>
#include <string.h>

#include "sys/chacha.h"
#include "sys/process.h"
#include "sys/random.h"

static struct pg_boot boot;
const struct pg_boot *pg_boot = &boot;

/* RFC 8439, 2.3.2. */
Test(random, chacha_block)
{
	static const uint8_t expected[PG_CHACHA_BLOCK] = {
		0x10, 0xf1, 0xe7, 0xe4, 0xd1, 0x3b, 0x59, 0x15, 0x50, 0x0f, 0xdd, 0x1f, 0xa3,
		0x20, 0x71, 0xc4, 0xc7, 0xd1, 0xf4, 0xc7, 0x33, 0xc0, 0x68, 0x03, 0x04, 0x22,
		0xaa, 0x9a, 0xc3, 0xd4, 0x6c, 0x4e, 0xd2, 0x82, 0x64, 0x46, 0x07, 0x9f, 0xaa,
		0x09, 0x14, 0xc2, 0xd7, 0x05, 0xd9, 0x8b, 0x02, 0xa2, 0xb5, 0x12, 0x9c, 0xd1,
		0xde, 0x16, 0x4e, 0xb9, 0xcb, 0xd0, 0x83, 0xe8, 0xa2, 0x50, 0x3c, 0x4e,
	};
	/* 00:00:00:09:00:00:00:4a:00:00:00:00 */
	const uint32_t nonce[3] = { 0x09000000, 0x4a000000, 0 };
	uint8_t key[PG_CHACHA_KEY], out[PG_CHACHA_BLOCK];

	for (unsigned i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t)i;
	pg_chacha_block(key, 1, nonce, out);
	cr_assert_eq(memcmp(out, expected, sizeof(out)), 0);
}

/* RFC 8439, A.1, test vector 1: all zero. */
Test(random, chacha_zero_block)
{
	static const uint8_t start[8] = { 0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90 };
	const uint8_t key[PG_CHACHA_KEY] = { 0 };
	const uint32_t nonce[3] = { 0 };
	uint8_t out[PG_CHACHA_BLOCK];

	pg_chacha_block(key, 0, nonce, out);
	cr_assert_eq(memcmp(out, start, sizeof(start)), 0);
}

/* What pg_random() must give next if the generator's key is `key`; `key` moves on. */
static void model(uint8_t key[PG_CHACHA_KEY], uint8_t *to, size_t length)
{
	const uint32_t nonce[3] = { 0 };
	uint8_t first[PG_CHACHA_BLOCK], block[PG_CHACHA_BLOCK];

	pg_chacha_block(key, 0, nonce, first);
	memcpy(key, first, PG_CHACHA_KEY);
	for (size_t i = 0; i < length; i++) {
		if (i % sizeof(block) == 0)
			pg_chacha_block(first + PG_CHACHA_KEY, (uint32_t)(i / sizeof(block)), nonce,
					block);
		to[i] = block[i % sizeof(block)];
	}
}

Test(random, each_call_has_a_key_of_its_own)
{
	static const size_t lengths[] = { 1, 64, 65, 200, 0, 16, 4096 };
	uint8_t key[PG_CHACHA_KEY], expected[4096], got[4096 + 1];

	for (unsigned i = 0; i < sizeof(key); i++)
		key[i] = boot.random[i] = (uint8_t)(200 - i);
	for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		memset(got, 0xee, sizeof(got));
		model(key, expected, lengths[i]);
		pg_random(got, lengths[i]);
		cr_assert_eq(memcmp(got, expected, lengths[i]), 0, "length %zu", lengths[i]);
		cr_assert_eq(got[lengths[i]], 0xee, "length %zu", lengths[i]);
	}
	/* The seed is gone from the generator: it is not used again. */
	pg_random(got, 32);
	model(boot.random, expected, 32);
	cr_assert_neq(memcmp(got, expected, 32), 0);
}
