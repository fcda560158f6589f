#!/usr/bin/env bash
# Installs what building, the demo and the tests need, only what is missing, and says what it installs.
#
#   scripts/setup.sh [build] [demo] [test] [bench] [windows] [fuzz]     (default: build demo test)
#
# For Debian 12 or later and Ubuntu 22.04 or later. Needs root or sudo only when something is missing.
set -euo pipefail

say() { echo "setup: $*"; }
die() { echo "setup: $*" >&2; exit 1; }
PATH=$PATH:/usr/sbin:/sbin:$HOME/.cargo/bin

[ $# -gt 0 ] || set -- build demo test

# --- what is missing ------------------------------------------------------------------------------------------

packages=()
why=()
# have WHAT-PROVES-IT: a command, a library, or a file when it starts with a slash.
have() {
    case $1 in
        /*)        [ -e "$1" ] ;;
        lib*.so.*) ldconfig -p | grep -qF "$1 " ;;
        *)         command -v "$1" > /dev/null ;;
    esac
}
# need WHAT-PROVES-IT PACKAGE…
need() {
    local proof=$1; shift
    have "$proof" && return 0
    packages+=("$@"); why+=("$proof")
}
rust=no deny=no

need_guest() {
    # The guest has no shared libraries: a busybox linked against them is as good as none.
    if ! command -v busybox > /dev/null || ldd "$(command -v busybox)" > /dev/null 2>&1; then
        packages+=(busybox-static); why+=(busybox)
    fi
    need cpio cpio
    need mcopy mtools
    need mke2fs e2fsprogs
    need perl perl-base
    need strip binutils
    need syslinux syslinux
    need /usr/lib/syslinux/mbr/mbr.bin syslinux-common
    need xz xz-utils
    need zstd zstd
}
# A desktop without a screen, where windows are drawn by the processor, and a machine that opens one.
need_desktop() {
    need libEGL.so.1 libegl1
    need libGL.so.1 libgl1
    need libX11-xcb.so.1 libx11-xcb1
    need libXcursor.so.1 libxcursor1
    need libXi.so.6 libxi6
    need libXrandr.so.2 libxrandr2
    need libXrender.so.1 libxrender1
    need libxkbcommon-x11.so.0 libxkbcommon-x11-0
    need libvulkan.so.1 libvulkan1
    need "/usr/share/vulkan/icd.d/lvp_icd.$(uname -m).json" mesa-vulkan-drivers
    need "/usr/lib/$(uname -m)-linux-gnu/dri/swrast_dri.so" libgl1-mesa-dri
    need "/usr/lib/$(uname -m)-linux-gnu/qemu/ui-gtk.so" qemu-system-gui
    need Xvfb xvfb
    need dbus-daemon dbus
    need import imagemagick
    need openbox openbox
    need xdotool xdotool
    need zenity zenity
    need /usr/libexec/at-spi-bus-launcher at-spi2-core
}
need_qemu() {
    need qemu-system-x86_64 qemu-system-x86
    need qemu-img qemu-utils
}
for group in "$@"; do
    case $group in
        build)
            rust=yes
            need cc gcc libc6-dev
            ;;
        demo)
            need_qemu; need_guest
            need mkfs.exfat exfatprogs
            need mount.exfat-fuse exfat-fuse
            ;;
        test)
            need_qemu; need_guest
            need mkfs.exfat exfatprogs
            need mount.exfat-fuse exfat-fuse
            need ntfs-3g ntfs-3g
            need mkfs.vfat dosfstools
            need mount util-linux
            need_desktop
            # VirtualBox, from another suite, in a folder of its own.
            need debootstrap debootstrap
            # An installed Debian.
            need mmdebstrap mmdebstrap
            need sfdisk fdisk
            # What makes and judges other guests' disks.
            need cmp diffutils
            need sgdisk gdisk
            need hivexget libhivex-bin
            need hivexregedit libwin-hivex-perl
            need reglookup reglookup
            need lsinitramfs initramfs-tools-core
            need lz4 lz4
            need bzip2 bzip2
            need umount mount
            need depmod kmod
            need cc gcc libc6-dev
            need bsdcpio libarchive-tools
            need /usr/share/OVMF/OVMF_CODE_4M.fd ovmf
            need swtpm swtpm
            need as binutils
            deny=yes
            ;;
        windows)
            need x86_64-w64-mingw32-gcc gcc-mingw-w64-x86-64-win32
            need /usr/lib/wine/wine64 wine64
            ;;
        bench)
            need_qemu
            need mke2fs e2fsprogs
            need mkfs.exfat exfatprogs
            need mount.exfat-fuse exfat-fuse
            need mount util-linux
            need losetup mount
            need_desktop
            ;;
        fuzz)
            need c++ g++
            ;;
        *)  die "unknown group; the groups are build, demo, test, bench, windows and fuzz: $group" ;;
    esac
done

# --- packages -------------------------------------------------------------------------------------------------

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo > /dev/null; then sudo "$@"
    else die "this needs root and there is no sudo; run as root: $*"; fi
}
apt_install() { as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" > /dev/null; }

if [ ${#packages[@]} -gt 0 ]; then
    command -v apt-get > /dev/null || die "only Debian and Ubuntu are handled; install what provides: ${why[*]}"
    mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)
    say "installing with apt: ${packages[*]}"
    as_root apt-get update -qq
    # A qemu-utils from another suite (backports) breaks the suite's own qemu-system-x86: apt then removes it to
    # install the emulator. The matching one follows in a second step, which is why the check comes again.
    apt_install "${packages[@]}"
    if ! command -v qemu-img > /dev/null && command -v qemu-system-x86_64 > /dev/null; then
        say "installing with apt: qemu-utils (the one that matches qemu-system-x86)"
        apt_install qemu-utils
    fi
    for proof in "${why[@]}"; do
        have "$proof" || die "apt ended well, but this is missing: $proof"
    done
fi
# The guest is made from kernel packages: apt must know them, even if nothing was to be installed.
case " $* " in *" demo "* | *" test "*)
    if ! apt-cache show linux-image-amd64 > /dev/null 2>&1 && ! apt-cache show linux-image-generic > /dev/null 2>&1; then
        say "fetching apt's package lists"
        as_root apt-get update -qq
    fi ;;
esac

# --- Rust -----------------------------------------------------------------------------------------------------

if [ $rust = yes ]; then
    command -v cargo > /dev/null \
        || die "Rust is missing; install it as yourself (not as root) from https://rustup.rs, then run this again"
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$(dirname "${BASH_SOURCE[0]}")/../Cargo.toml" | head -n 1)
    found=$(rustc --version | cut -d' ' -f2)
    [ "$(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -n 1)" = "$wanted" ] \
        || die "Rust $wanted or later is needed, this is $found; run: rustup update stable"
fi
if [ $deny = yes ] && ! command -v cargo-deny > /dev/null; then
    say "building cargo-deny with cargo (about five minutes, once)"
    # Outside the project's target folder, which nothing else should share.
    env -u CARGO_TARGET_DIR cargo install --quiet --locked cargo-deny --version 0.18.9
fi

say "everything is there for: $*"
