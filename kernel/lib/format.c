#include "lib/format.h"

#include <stdbool.h>
#include <stdint.h>

struct output {
	char *at;
	size_t size;
	size_t length; /* of the text so far, also what didn't fit */
};

/* A conversion: %[0][width][length]letter */
struct spec {
	bool zero;
	bool wide; /* 64 bits */
	unsigned width;
	char letter;
};

static void put(struct output *out, char c)
{
	if (out->length < out->size)
		out->at[out->length] = c;
	out->length++;
}

static void pad(struct output *out, char c, unsigned width, size_t length)
{
	for (; width > length; width--)
		put(out, c);
}

static void put_text(struct output *out, const struct spec *spec, const char *text, size_t length)
{
	pad(out, ' ', spec->width, length);
	for (size_t i = 0; i < length; i++)
		put(out, text[i]);
}

static void put_number(struct output *out, const struct spec *spec, const char *prefix,
		       uint64_t value, unsigned base)
{
	char digits[20]; /* 2^64 has twenty in base 10, the smallest */
	unsigned count = 0, prefix_length = 0;

	do {
		digits[count++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	while (prefix[prefix_length])
		prefix_length++;

	if (!spec->zero)
		pad(out, ' ', spec->width, prefix_length + count);
	for (unsigned i = 0; i < prefix_length; i++)
		put(out, prefix[i]);
	if (spec->zero)
		pad(out, '0', spec->width, prefix_length + count);
	while (count)
		put(out, digits[--count]);
}

static size_t text_length(const char *text)
{
	size_t length = 0;

	while (text[length])
		length++;
	return length;
}

/* Reads what follows '%'; returns where the format goes on. */
static const char *parse(const char *format, struct spec *spec)
{
	*spec = (struct spec){ 0 };
	for (; *format == '0'; format++)
		spec->zero = true;
	for (; *format >= '0' && *format <= '9'; format++) {
		spec->width = spec->width * 10 + (unsigned)(*format - '0');
		if (spec->width > PG_FORMAT_WIDTH)
			spec->width = PG_FORMAT_WIDTH;
	}
	for (; *format == 'l' || *format == 'z'; format++)
		spec->wide = true;
	spec->letter = *format;
	return spec->letter ? format + 1 : format;
}

int pg_format(char *buffer, size_t size, const char *format, va_list args)
{
	struct output out = { .at = buffer, .size = size };

	while (*format) {
		const char *start = format;
		struct spec spec;

		if (*format != '%') {
			put(&out, *format++);
			continue;
		}
		format = parse(format + 1, &spec);
		switch (spec.letter) {
		case '%':
			put(&out, '%');
			break;
		case 'c': {
			const char c = (char)va_arg(args, int);

			put_text(&out, &spec, &c, 1);
			break;
		}
		case 's': {
			const char *text = va_arg(args, const char *);

			if (!text)
				text = "(null)";
			put_text(&out, &spec, text, text_length(text));
			break;
		}
		case 'd': {
			const int64_t value = spec.wide ? va_arg(args, int64_t) : va_arg(args, int);

			/* Negated as unsigned: INT64_MIN has no positive counterpart. */
			put_number(&out, &spec, value < 0 ? "-" : "",
				   value < 0 ? -(uint64_t)value : (uint64_t)value, 10);
			break;
		}
		case 'u':
		case 'x': {
			const uint64_t value =
				spec.wide ? va_arg(args, uint64_t) : va_arg(args, unsigned);

			put_number(&out, &spec, "", value, spec.letter == 'x' ? 16 : 10);
			break;
		}
		case 'p':
			put_number(&out, &spec, "0x", (uintptr_t)va_arg(args, void *), 16);
			break;
		default:
			/* Nobody knows what the arguments are from here on. */
			for (format = start; *format; format++)
				put(&out, *format);
		}
	}
	if (size)
		buffer[out.length < size ? out.length : size - 1] = '\0';
	return (int)out.length;
}

int pg_formatf(char *out, size_t size, const char *format, ...)
{
	va_list args;
	int length;

	va_start(args, format);
	length = pg_format(out, size, format, args);
	va_end(args);
	return length;
}
