#!/bin/sh
# Builds probe.bin from probe.S. Needs binutils for x86 (as, ld, objcopy). A test compares the result with the
# committed file, so: run this after every change of probe.S and commit both.
#
# usage: build.sh [OUTPUT]
set -eu
cd "$(dirname "$0")"
out=${1:-probe.bin}
object=$(mktemp)
trap 'rm -f "$object" "$object.elf"' EXIT
as --64 -o "$object" probe.S
# Linked at 0 so that every address in the source is spelled out there.
ld -m elf_x86_64 -Ttext 0 -e 0 -o "$object.elf" "$object"
objcopy -O binary -j .text "$object.elf" "$out"
