#!/bin/sh
# Usage: link-object.sh LD OBJCOPY NM ARCHIVE OBJECT PUBLIC
# Join all members of ARCHIVE to one relocatable OBJECT. Symbols are local but for those that
# the file PUBLIC lists, one a line. All code is in one section, so that it stays together in
# the image: pre-emption tells the kernel's code from the program's by its address.
set -eu
ld=$1 objcopy=$2 nm=$3 archive=$4 object=$5 public=$6

script=$object.ld
cat >"$script" <<'END'
SECTIONS
{
	.text.pagurus : {
		HIDDEN(pg_text_start = .);
		*(.text .text.*)
		HIDDEN(pg_text_end = .);
	}
}
END
"$ld" -r -T "$script" --whole-archive "$archive" -o "$object"
rm -f "$script"
"$objcopy" --keep-global-symbols="$public" "$object"

# The kernel must not use the application's libc by accident: its entry is all it needs.
missing=$("$nm" -u "$object" | awk '$2 != "_start" && $2 != "_GLOBAL_OFFSET_TABLE_" { print $2 }')
if [ -n "$missing" ]; then
	echo "the kernel lacks:" $missing >&2
	rm -f "$object"
	exit 1
fi

# What is listed exists.
for name in $(sed 's/#.*//' "$public"); do
	if ! "$nm" -g --defined-only "$object" | grep -q " $name\$"; then
		echo "the kernel lacks what $public lists: $name" >&2
		rm -f "$object"
		exit 1
	fi
done
