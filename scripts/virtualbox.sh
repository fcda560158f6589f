#!/usr/bin/env bash
# Provides a real VirtualBox for the tests, without installing anything and without its kernel module; prints the folder of its
# programs.
#
#   scripts/virtualbox.sh [FOLDER]        (default: the cache of PocketVM)
#
# VirtualBox is not in Debian 12. Its packages come from Debian's sid, into a folder with a minimal system of its own; the
# programs in FOLDER/bin run there, in a mount namespace in which the folders of this PC that tests use are the same.
# Without the kernel module a machine only runs in VirtualBox's own interpreter: enough for a guest of two kilobytes.
set -euo pipefail

folder=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/pocketvm/virtualbox}
root=$folder/root
# Raise it when what is built below changes.
edition=5
say() { echo "virtualbox: $*" >&2; }
not_run() { say "NOT RUN: could not be fetched: $*"; exit 3; }

if [ "$(cat "$folder/ready" 2> /dev/null)" = $edition ]; then
    echo "$folder/bin"
    exit
fi
[ "$(id -u)" = 0 ] || { say "building the folder needs root"; exit 1; }
command -v debootstrap > /dev/null || { say "debootstrap is missing: scripts/setup.sh test"; exit 1; }

say "building VirtualBox in $folder (about a minute, once)"
mkdir -p "$folder"
mirror=$(awk '/^URIs:/ { print $2; exit } /^deb / { print $2; exit }' /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2> /dev/null || true)
mirror=${mirror:-http://deb.debian.org/debian}
if [ ! -x "$root/usr/lib/virtualbox/VBoxManage" ]; then
    rm -rf "$root"
    # sid moves while it is read: one more try, then it is really not to be had.
    for attempt in 1 2; do
        debootstrap --variant=minbase sid "$root" "$mirror" > "$folder/log" 2>&1 && break
        rm -rf "$root"
        [ $attempt = 1 ] || { tail -n 5 "$folder/log" >&2; not_run "a minimal Debian sid"; }
    done
    echo "deb $mirror sid main contrib" > "$root/etc/apt/sources.list"
    printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
    chmod +x "$root/usr/sbin/policy-rc.d"
    # virtualbox wants its kernel module, which needs a kernel to be built for.
    dummy=$(mktemp -d)
    mkdir "$dummy/DEBIAN"
    printf '%s\n' 'Package: pocketvm-no-modules' 'Version: 1' 'Architecture: all' 'Maintainer: nobody <nobody@example.invalid>' \
        'Provides: virtualbox-modules' 'Description: stands in for the kernel module' > "$dummy/DEBIAN/control"
    dpkg-deb --build "$dummy" "$root/root/no-modules.deb" > /dev/null
    rm -rf "$dummy"
    cp /etc/resolv.conf "$root/etc/"
    install_all() {
        unshare --mount sh -c 'mount -t proc proc "$1/proc" && exec chroot "$1" sh -ec "
            export DEBIAN_FRONTEND=noninteractive LC_ALL=C
            apt-get -o Acquire::Check-Valid-Until=false update -qq
            apt-get install -y -qq --no-install-recommends /root/no-modules.deb systemd-standalone-sysusers virtualbox virtualbox-qt \
                libvirt-clients
            apt-get clean"' sh "$root" > "$folder/log" 2>&1
    }
    install_all || install_all || { tail -n 5 "$folder/log" >&2; rm -rf "$root"; not_run "the packages of VirtualBox"; }
    rm -rf "$root"/var/lib/apt/lists/*
fi

# A program of the folder as one of this PC: same process, same paths, another system below it.
mkdir -p "$folder/bin"
cat > "$folder/bin/.run" <<'RUN'
#!/bin/sh
# Runs a program of the other system. Its mounts vanish with it.
self=$(readlink -f "$0"); root=${self%/bin/.run}/root
program=$1; shift
export POCKETVM_OTHER_ROOT="$root" POCKETVM_OTHER_PROGRAM="$program" POCKETVM_OTHER_FOLDER="$PWD"
exec unshare --mount --propagation slave sh -c '
    top=/$(echo "$POCKETVM_OTHER_FOLDER" | cut -d/ -f2)
    for folder in /tmp /var/tmp /root /home /mnt /media /run /dev /proc /sys "$top"; do
        case $folder in /usr | /lib* | /bin | /sbin | /etc | /opt | /var | /) continue ;; esac
        [ -d "$folder" ] || continue
        mkdir -p "$POCKETVM_OTHER_ROOT$folder"
        mount --rbind "$folder" "$POCKETVM_OTHER_ROOT$folder" || exit 125
    done
    exec chroot "$POCKETVM_OTHER_ROOT" /bin/sh -c '\''
        cd "$POCKETVM_OTHER_FOLDER" 2> /dev/null || cd /
        program=$POCKETVM_OTHER_PROGRAM
        unset POCKETVM_OTHER_ROOT POCKETVM_OTHER_PROGRAM POCKETVM_OTHER_FOLDER
        exec "$program" "$@"'\'' sh "$@"' sh "$@"
RUN
chmod +x "$folder/bin/.run"
for program in VBoxManage VBoxHeadless VirtualBoxVM; do
    printf '#!/bin/sh\nexec "$(dirname "$(readlink -f "$0")")/.run" /usr/lib/virtualbox/%s "$@"\n' $program > "$folder/bin/$program"
done
# libvirt reads the configurations of VMware; before that it asks VMware's program, at a place that is built in, for its version.
printf '#!/bin/sh\nexec "$(dirname "$(readlink -f "$0")")/.run" /usr/bin/virsh "$@"\n' > "$folder/bin/virsh"
for program in vmrun vmplayer vmware; do
    printf '#!/bin/sh\necho "VMware Player 17.0.0 build-20800274"\n' > "$root/usr/bin/$program"
    chmod +x "$root/usr/bin/$program"
done
chmod +x "$folder"/bin/*
"$folder/bin/VBoxManage" --version > "$folder/log" 2>&1 || { cat "$folder/log" >&2; exit 1; }
say "$(tail -n 1 "$folder/log") is in $folder/bin"
echo $edition > "$folder/ready"
echo "$folder/bin"
