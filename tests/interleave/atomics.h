/*
 * Force-included into what the interleaving tester runs: C11's generic atomic operations call the
 * tester. Sizes up to 8 bytes. `volatile` accesses and inline assembly are not seen.
 */
#ifndef INTERLEAVE_ATOMICS_H
#define INTERLEAVE_ATOMICS_H

#include <stdatomic.h>
#include <stdint.h>

#include "interleave.h"

#undef atomic_init
#undef atomic_load
#undef atomic_load_explicit
#undef atomic_store
#undef atomic_store_explicit
#undef atomic_exchange
#undef atomic_exchange_explicit
#undef atomic_compare_exchange_strong
#undef atomic_compare_exchange_strong_explicit
#undef atomic_compare_exchange_weak
#undef atomic_compare_exchange_weak_explicit
#undef atomic_fetch_add
#undef atomic_fetch_add_explicit
#undef atomic_fetch_sub
#undef atomic_fetch_sub_explicit
#undef atomic_fetch_or
#undef atomic_fetch_or_explicit
#undef atomic_fetch_and
#undef atomic_fetch_and_explicit
#undef atomic_fetch_xor
#undef atomic_fetch_xor_explicit
#undef atomic_thread_fence

#define INTERLEAVE_SITE(object)                                                                    \
	({                                                                                         \
		static const struct interleave_site interleave_site = { __FILE__, __LINE__,        \
									__func__, object };        \
		&interleave_site;                                                                  \
	})

/* The type without _Atomic. */
#define INTERLEAVE_TYPE(pointer) __typeof__((void)0, *(pointer))

/* Values travel as 64 bits. */
#define INTERLEAVE_PACK(type, value)                                                               \
	({                                                                                         \
		union {                                                                            \
			uint64_t bits;                                                             \
			type typed;                                                                \
		} interleave_pack = { 0 };                                                         \
		interleave_pack.typed = (value);                                                   \
		interleave_pack.bits;                                                              \
	})

#define INTERLEAVE_UNPACK(type, raw)                                                               \
	({                                                                                         \
		union {                                                                            \
			uint64_t bits;                                                             \
			type typed;                                                                \
		} interleave_unpack = { (raw) };                                                   \
		interleave_unpack.typed;                                                           \
	})

#define INTERLEAVE_CALL(kind, object, value, order)                                                \
	({                                                                                         \
		__auto_type interleave_object = (object);                                          \
		INTERLEAVE_UNPACK(                                                                 \
			INTERLEAVE_TYPE(interleave_object),                                        \
			interleave_operation(kind, (volatile void *)interleave_object,             \
					     sizeof(*interleave_object),                           \
					     INTERLEAVE_PACK(INTERLEAVE_TYPE(interleave_object),   \
							     value),                               \
					     0, order, order, INTERLEAVE_SITE(#object)));          \
	})

#define atomic_init(object, value)                                                                 \
	({                                                                                         \
		__auto_type interleave_object = (object);                                          \
		interleave_init((volatile void *)interleave_object, sizeof(*interleave_object),    \
				INTERLEAVE_PACK(INTERLEAVE_TYPE(interleave_object), value));       \
	})

#define atomic_load_explicit(object, order)                                                        \
	({                                                                                         \
		__auto_type interleave_object = (object);                                          \
		INTERLEAVE_UNPACK(INTERLEAVE_TYPE(interleave_object),                              \
				  interleave_operation(INTERLEAVE_LOAD,                            \
						       (volatile void *)interleave_object,         \
						       sizeof(*interleave_object), 0, 0, order,    \
						       order, INTERLEAVE_SITE(#object)));          \
	})

#define atomic_store_explicit(object, value, order)                                                \
	((void)INTERLEAVE_CALL(INTERLEAVE_STORE, object, value, order))
#define atomic_exchange_explicit(object, value, order)                                             \
	INTERLEAVE_CALL(INTERLEAVE_EXCHANGE, object, value, order)
#define atomic_fetch_add_explicit(object, value, order)                                            \
	INTERLEAVE_CALL(INTERLEAVE_ADD, object, value, order)
#define atomic_fetch_sub_explicit(object, value, order)                                            \
	INTERLEAVE_CALL(INTERLEAVE_SUB, object, value, order)
#define atomic_fetch_or_explicit(object, value, order)                                             \
	INTERLEAVE_CALL(INTERLEAVE_OR, object, value, order)
#define atomic_fetch_and_explicit(object, value, order)                                            \
	INTERLEAVE_CALL(INTERLEAVE_AND, object, value, order)
#define atomic_fetch_xor_explicit(object, value, order)                                            \
	INTERLEAVE_CALL(INTERLEAVE_XOR, object, value, order)

#define atomic_compare_exchange_strong_explicit(object, expected, value, order, failed)            \
	({                                                                                         \
		__auto_type interleave_object = (object);                                          \
		__auto_type interleave_expected = (expected);                                      \
		uint64_t interleave_wanted =                                                       \
			INTERLEAVE_PACK(INTERLEAVE_TYPE(interleave_object), *interleave_expected); \
		uint64_t interleave_old = interleave_operation(                                    \
			INTERLEAVE_COMPARE, (volatile void *)interleave_object,                    \
			sizeof(*interleave_object),                                                \
			INTERLEAVE_PACK(INTERLEAVE_TYPE(interleave_object), value),                \
			interleave_wanted, order, failed, INTERLEAVE_SITE(#object));               \
		if (interleave_old != interleave_wanted)                                           \
			*interleave_expected = INTERLEAVE_UNPACK(                                  \
				INTERLEAVE_TYPE(interleave_object), interleave_old);               \
		interleave_old == interleave_wanted;                                               \
	})
#define atomic_compare_exchange_weak_explicit(object, expected, value, order, failed)              \
	atomic_compare_exchange_strong_explicit(object, expected, value, order, failed)

#define atomic_thread_fence(order)                                                                 \
	((void)interleave_operation(INTERLEAVE_FENCE, NULL, 0, 0, 0, order, order,                 \
				    INTERLEAVE_SITE("fence")))

#define atomic_load(object)            atomic_load_explicit(object, memory_order_seq_cst)
#define atomic_store(object, value)    atomic_store_explicit(object, value, memory_order_seq_cst)
#define atomic_exchange(object, value) atomic_exchange_explicit(object, value, memory_order_seq_cst)
#define atomic_fetch_add(object, value)                                                            \
	atomic_fetch_add_explicit(object, value, memory_order_seq_cst)
#define atomic_fetch_sub(object, value)                                                            \
	atomic_fetch_sub_explicit(object, value, memory_order_seq_cst)
#define atomic_fetch_or(object, value) atomic_fetch_or_explicit(object, value, memory_order_seq_cst)
#define atomic_fetch_and(object, value)                                                            \
	atomic_fetch_and_explicit(object, value, memory_order_seq_cst)
#define atomic_fetch_xor(object, value)                                                            \
	atomic_fetch_xor_explicit(object, value, memory_order_seq_cst)
#define atomic_compare_exchange_strong(object, expected, value)                                    \
	atomic_compare_exchange_strong_explicit(object, expected, value, memory_order_seq_cst,     \
						memory_order_seq_cst)
#define atomic_compare_exchange_weak(object, expected, value)                                      \
	atomic_compare_exchange_weak_explicit(object, expected, value, memory_order_seq_cst,       \
					      memory_order_seq_cst)

#endif
