/* The ChaCha20 block function (RFC 8439, section 2.3). Constant time. */
#ifndef PG_CHACHA_H
#define PG_CHACHA_H

#include <stdint.h>

#define PG_CHACHA_KEY   32
#define PG_CHACHA_BLOCK 64

/* `nonce`: three words, as read from its bytes, little-endian. */
void pg_chacha_block(const uint8_t key[PG_CHACHA_KEY], uint32_t counter, const uint32_t nonce[3],
		     uint8_t out[PG_CHACHA_BLOCK]);

#endif
