#!/usr/bin/env bash
# Makes a drive: a folder on a stick with a manifest, the machine's disks as qcow2 bases, the template and the program.
#
#   packaging/make-stick.sh TARGET NAME SYSTEM-IMAGE [USER-IMAGE]
#
# TARGET is an empty or missing folder, best on the stick itself. The images may have any format that qemu-img reads.
# The system disk is discarded after each session, the user disk is kept; without a user disk the system disk is kept.
#
# The kept disk's file gets room behind its end, written here and now: 1024 MiB (POCKETVM_SLACK says otherwise, in MiB), but
# at most a quarter of what is free. Saving then rarely makes the file grow, which is the one thing that exFAT, FAT and NTFS
# on Linux may lose a file by when the stick is pulled in that moment.
set -euo pipefail

[ $# = 3 ] || [ $# = 4 ] || { sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 2; }
target=$1 name=$2 system=$3 user=${4:-}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
command -v qemu-img > /dev/null || { echo "make-stick: qemu-img is missing; install it with: apt install qemu-utils" >&2; exit 1; }
if [ -e "$target" ] && [ -n "$(ls -A "$target")" ]; then
    echo "make-stick: the folder is not empty: $target" >&2
    exit 1
fi

# 16 KiB clusters: scattered changes cost a quarter of what they cost with qcow2's default of 64 KiB.
base() { # base DISK IMAGE
    mkdir -p "$target/disks/$1"
    echo "writing disks/$1/base.qcow2 from $2"
    qemu-img convert -p -O qcow2 -o cluster_size=16k "$2" "$target/disks/$1/base.qcow2"
}

slack() { # slack DISK
    local free wanted=$((${POCKETVM_SLACK:-1024} << 20))
    free=$(($(df --output=avail -B1 "$target" | tail -n 1) / 4))
    [ "$wanted" -le "$free" ] || wanted=$free
    echo "writing $((wanted >> 20)) MiB of room into disks/$1/base.qcow2"
    head -c "$wanted" /dev/zero >> "$target/disks/$1/base.qcow2"
}

mkdir -p "$target/templates"
base system "$system"
[ -z "$user" ] || base user "$user"
slack "$([ -n "$user" ] && echo user || echo system)"
cp "$here/templates/qemu.yaml.hbs" "$target/templates/"

# A text of JSON is a text of YAML: quotes and backslashes in the name are safe.
quoted=$(printf '%s' "$name" | sed 's/\\/\\\\/g; s/"/\\"/g')
{
    echo "# Every key is explained in templates/pocketvm.yaml of the PocketVM sources."
    echo "schema: 1"
    echo "machine:"
    echo "  name: \"$quoted\""
    echo "disks:"
    echo "  - {name: system, file: disks/system/base.qcow2, keep: $([ -n "$user" ] && echo false || echo true)}"
    [ -z "$user" ] || echo "  - {name: user, file: disks/user/base.qcow2, keep: true}"
    echo "paging: {size: 4 GiB}"
} > "$target/pocketvm.yaml"

program=$(command -v pocketvm || true)
[ -z "$program" ] || cp "$program" "$target/"
sync -f "$target"
echo "done: $target"
echo "check it with: pocketvm check '$target'"
