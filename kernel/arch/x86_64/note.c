/* The note by which the loader recognises an image. */
#include "abi/version.h"

static const struct {
	uint32_t name_size, size, type;
	char name[8];
	struct pg_abi_note abi;
} note __attribute__((section(".note.pagurus"), used, aligned(4))) = {
	.name_size = sizeof(PG_NOTE_NAME),
	.size = sizeof(struct pg_abi_note),
	.type = PG_NOTE_ABI,
	.name = PG_NOTE_NAME,
	.abi = { PG_ABI_MAJOR, PG_ABI_MINOR },
};
