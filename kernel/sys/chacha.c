#include "chacha.h"

#include "lib/string.h"

#define ROUNDS 20

static uint32_t rotate(uint32_t word, unsigned bits)
{
	return word << bits | word >> (32 - bits);
}

static void quarter_round(uint32_t *a, uint32_t *b, uint32_t *c, uint32_t *d)
{
	*a += *b;
	*d = rotate(*d ^ *a, 16);
	*c += *d;
	*b = rotate(*b ^ *c, 12);
	*a += *b;
	*d = rotate(*d ^ *a, 8);
	*c += *d;
	*b = rotate(*b ^ *c, 7);
}

void pg_chacha_block(const uint8_t key[PG_CHACHA_KEY], uint32_t counter, const uint32_t nonce[3],
		     uint8_t out[PG_CHACHA_BLOCK])
{
	/* "expand 32-byte k". x86-64 is little-endian, as ChaCha20 is. */
	uint32_t start[16] = { 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574 };
	uint32_t x[16];

	memcpy(start + 4, key, PG_CHACHA_KEY);
	start[12] = counter;
	memcpy(start + 13, nonce, 12);
	memcpy(x, start, sizeof(x));
	for (int i = 0; i < ROUNDS; i += 2) {
		for (int j = 0; j < 4; j++)
			quarter_round(x + j, x + 4 + j, x + 8 + j, x + 12 + j);
		for (int j = 0; j < 4; j++)
			quarter_round(x + j, x + 4 + (j + 1) % 4, x + 8 + (j + 2) % 4,
				      x + 12 + (j + 3) % 4);
	}
	for (int i = 0; i < 16; i++)
		x[i] += start[i];
	memcpy(out, x, sizeof(x));
}
