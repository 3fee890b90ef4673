/*
 * Errors inside the library: a negative errno, and the one sentence a person
 * will read. The place that knows best what went wrong writes the sentence;
 * nobody else rewords it, and nothing is printed before the edge (the CLI).
 */
#ifndef UHYVE_ERROR_H
#define UHYVE_ERROR_H

#include "uhyve-c/uhyve.h"

/*
 * Record a failure: `code` is a negative errno, the rest makes the sentence
 * (no full stop, no newline; say what to do where that is known). Returns
 * `code`. `error` may be NULL. The first failure recorded is kept.
 */
int uhyve_fail(struct uhyve_error *error, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
