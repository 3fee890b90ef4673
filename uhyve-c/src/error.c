#include "error.h"

#include <stdarg.h>
#include <stdio.h>

int uhyve_fail(struct uhyve_error *error, int code, const char *format, ...)
{
	if (!error || error->code)
		return code;

	va_list args;
	va_start(args, format);
	error->code = code;
	(void)vsnprintf(error->text, sizeof(error->text), format, args);
	va_end(args);
	return code;
}
