#!/usr/bin/env bash
# The main job, for real: a stick with a Linux machine on it, used twice on this PC.
#
# The first session writes to both disks and uses the paging disk; the second reads what was kept. As root the
# stick is an exFAT file system on a loop device; otherwise it is a folder. Everything is removed at the end.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=$PATH:/usr/sbin:/sbin

work=$(mktemp -d /var/tmp/pocketvm-demo-XXXXXX)
loop=
clean_up() {
    local result=$?
    if [ -n "$loop" ]; then
        umount "$work/stick" 2> /dev/null || umount --lazy "$work/stick" 2> /dev/null || true
        losetup --detach "$loop" 2> /dev/null || true
    fi
    rm -rf "$work"
    [ $result = 0 ] || echo "demo: FAILED" >&2
    exit $result
}
trap clean_up EXIT
trap 'exit 130' INT TERM

title() { printf '\n== %s\n' "$*"; }
# The value of a key in a JSON line, text or number; the lines are ours and flat enough for that.
field() { sed -n -e 's/.*"'"$1"'":"\([^"]*\)".*/\1/p' -e 's/.*"'"$1"'":\([0-9.]*\)[,}].*/\1/p'; }

title "Building the program and the guest"
target=${CARGO_TARGET_DIR:-target}
cargo build --locked --quiet
program=$target/debug/pocketvm
tests/guest/build.sh "$work/guest"

title "Making the stick"
stick=$work/stick
mkdir "$stick"
if [ "$(id -u)" = 0 ]; then
    truncate -s 512M "$work/stick.img"
    mkfs.exfat -L STICK "$work/stick.img" > /dev/null
    loop=$(losetup --find --show "$work/stick.img")
    mount.exfat-fuse "$loop" "$stick" > /dev/null
    echo "exFAT on $loop"
else
    echo "a folder, because an exFAT file system can only be mounted by root"
fi
drive="$stick/Mein Gerät"
mkdir -p "$drive/disks/system" "$drive/disks/user" "$drive/templates"
cp "$work/guest/system.qcow2" "$drive/disks/system/base.qcow2"
cp "$work/guest/user.qcow2" "$drive/disks/user/base.qcow2"
cp templates/qemu.yaml.hbs "$drive/templates/"

manifest() { # manifest COMMAND-OF-THE-GUEST
    cat > "$drive/pocketvm.yaml" <<END
schema: 1
machine:
  name: Demo
memory: {min: 256 MiB, max: 512 MiB}
cpus: {min: 1, max: 1}
disks:
  - {name: system, file: disks/system/base.qcow2, keep: false}
  - {name: user, file: disks/user/base.qcow2, keep: true}
paging: {size: 256 MiB}
scratch: {room: 256 MiB, plain: accepted}
hypervisors:
  qemu:
    template: templates/qemu.yaml.hbs
    variables:
      oem: "pocketvm:$1"
END
}

# Sectors that the stick's device has taken so far.
written() { if [ -n "$loop" ]; then awk '{ printf "%.0f\n", $7 * 512 }' "/sys/block/${loop##*/}/stat"; else echo 0; fi; }
mib() { awk -v bytes="$1" 'BEGIN { printf "%.1f MiB", bytes / 1048576 }'; }

export POCKETVM_SCRATCH=$work/pc
mkdir "$POCKETVM_SCRATCH"
guest_seconds=0

# Runs the machine once and tells its events as they come, with what the guest says on its serial port between them.
session() { # session COMMAND-OF-THE-GUEST
    local before start=$SECONDS line unsaved= listener= launcher result=0
    manifest "$1"
    sync -f "$stick"; before=$(written)
    rm -f "$work/events"; mkfifo "$work/events"
    "$program" run "$drive" --headless --json > "$work/events" &
    launcher=$!
    while read -r line; do
        case $line in
            *'"event":"session"'*)
                # The open file outlives its name, which is wiped with the session.
                tail --lines=+1 --follow=descriptor --retry --sleep-interval=0.1 --pid=$launcher "$(field scratch <<< "$line")/serial.log" 2> /dev/null \
                    | sed -un 's/^POCKETVM-GUEST /  guest: /p' &
                listener=$! ;;
            *'"event":"phase"'*'"state":"done"'*)
                printf '  %-8s %6.1f s\n' "$(field phase <<< "$line")" "$(field seconds <<< "$line")" ;;
            *'"event":"notice"'*) echo "  notice: $(field text <<< "$line")" ;;
            *'"event":"figures"'*) unsaved=$(sed 's/.*"unsaved":{\([^}]*\)}.*/\1/' <<< "$line") ;;
            *'"event":"merged"'*)
                echo "  bytes in the overlays: $unsaved"
                echo "  bytes to the drive:    $(sed 's/.*"disks":\[{\(.*\)}\].*/\1/' <<< "$line")" ;;
            *'"event":"error"'*) echo "  error: $line" >&2 ;;
            *'"event":"done"'*) echo "  $(field text <<< "$line")" ;;
        esac
    done < "$work/events"
    wait "$launcher" || result=$?
    [ -z "$listener" ] || wait "$listener" || true
    [ $result = 0 ] || { echo "the session ended with exit code $result" >&2; exit 1; }
    guest_seconds=$((guest_seconds + SECONDS - start))
    if [ -n "$loop" ]; then
        sync -f "$stick"
        echo "  the stick's device took $(mib $(($(written) - before))), the file system's own writes included"
    fi
}

title "The drive, as pocketvm sees it on this PC"
manifest show
"$program" plan "$drive" --headless

title "First session: writes to both disks and pages memory out"
session "marker written in the first session;system-marker on the disk that is not kept;write 32;swap"

title "Second session: reads what the first wrote"
session "show"

title "The bases on the stick"
for disk in system user; do
    echo "$disk:"
    qemu-img check -f qcow2 "$drive/disks/$disk/base.qcow2" | sed 's/^/  /'
done

title "The drive's state, and what is left on this PC"
"$program" status "$drive"
find "$POCKETVM_SCRATCH" -mindepth 1 | sed 's/^/  left: /'
[ -z "$(find "$POCKETVM_SCRATCH" -type f)" ] || { echo "scratch is not empty" >&2; exit 1; }
echo "  scratch is empty"

title "Done: two sessions of a real guest in $guest_seconds s"
