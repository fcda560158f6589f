#!/usr/bin/env bash
# Makes a bzImage whose kernel is not compressed: tests/guest/unpack-kernel.sh BZIMAGE RESULT. See entry.S for why.
#
# Offsets are those of the setup header, Documentation/arch/x86/boot.rst of Linux.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
image=$1 result=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

header() { od -An -t "u$2" -j "$1" -N "$2" "$image" | tr -d ' '; }
set_header() { # set_header OFFSET BYTES VALUE, little endian
    local value=$3 n
    for ((n = 0; n < $2; n++)); do printf "\\x$(printf %02x $((value >> (8 * n) & 255)))"; done \
        | dd of="$result" bs=1 seek="$1" conv=notrunc status=none
}

[ "$(od -An -c -j 514 -N 4 "$image" | tr -d ' ')" = HdrS ] || { echo "no bzImage: $image" >&2; exit 1; }
setup=$((($(header 497 1) + 1) * 512))
payload=$((setup + $(header 584 4))) length=$(header 588 4)

# All but gzip are followed by the unpacked size in 4 bytes, which their tools do not expect.
cut_payload() { dd if="$image" iflag=skip_bytes,count_bytes skip=$payload count=$((length - $1)) bs=64K status=none; }
case $(od -An -t x1 -j $payload -N 4 "$image" | tr -d ' ') in
    fd377a58) cut_payload 4 | xz -dc ;;
    28b52ffd) cut_payload 4 | zstd -dcq ;;
    02214c18) cut_payload 4 | lz4 -dcq ;;
    1f8b*)    cut_payload 0 | gzip -dc ;;
    *)        echo "unknown compression: $image" >&2; exit 1 ;;
esac > "$work/vmlinux"

# As it lies in memory. What is zero at its end need not be loaded, only cleared.
objcopy -O binary "$work/vmlinux" "$work/flat"
total=$((($(stat -c %s "$work/flat") + 7) / 8 * 8))
used=$(perl -e '
    open my $file, "<:raw", $ARGV[0] or die $!;
    my ($at, $used, $block) = (0, 0);
    while (my $got = read $file, $block, 65536) { $used = $at + $got if $block =~ /[^\0]/; $at += $got }
    print int(($used + 7) / 8) * 8' "$work/flat")
truncate -s "$used" "$work/flat"

as --64 --defsym LENGTH="$used" --defsym ZEROES=$((total - used)) -o "$work/entry.o" "$here/entry.S"
objcopy -O binary "$work/entry.o" "$work/entry"
{ head -c "$setup" "$image"; cat "$work/entry" "$work/flat"; } > "$result"
truncate -s %16 "$result"
set_header 500 4 $((($(stat -c %s "$result") - setup) / 16)) # syssize
set_header 564 1 0                                           # relocatable_kernel: stay at 1 MiB
