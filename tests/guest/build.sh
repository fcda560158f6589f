#!/usr/bin/env bash
# Builds PocketVM's test guest from Debian or Ubuntu packages, without mounts and without root.
#
#   tests/guest/build.sh OUTDIR
#
# OUTDIR gets system.img (BIOS boot record, FAT16, syslinux, kernel, initramfs), user.img (ext4), both raw and
# sparse, and system.qcow2 and user.qcow2 with 16 KiB clusters. What the guest does is in `init` beside this file.
#
# The kernel package and the result are kept in ${POCKETVM_CACHE:-/var/tmp/pocketvm-cache}, under a key that names
# everything they depend on. That folder may vanish at any time.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ $# -eq 1 ] || { echo "usage: ${BASH_SOURCE[0]} OUTDIR" >&2; exit 2; }
out=$1
cache=${POCKETVM_CACHE:-/var/tmp/pocketvm-cache}

say() { echo "guest: $*" >&2; }
die() { echo "guest: $*" >&2; exit 1; }

for tool in apt-get apt-cache as busybox cpio dpkg gzip mcopy mformat mke2fs qemu-img strip syslinux truncate; do
    PATH=$PATH:/usr/sbin:/sbin command -v "$tool" > /dev/null || die "$tool is missing; run: make setup"
done
export PATH=$PATH:/usr/sbin:/sbin

mbr=
for candidate in /usr/lib/syslinux/mbr/mbr.bin /usr/lib/SYSLINUX/mbr.bin; do
    [ ! -f "$candidate" ] || { mbr=$candidate; break; }
done
[ -n "$mbr" ] || die "syslinux's boot record is missing; run: make setup"

# --- which kernel ---------------------------------------------------------------------------------------------

# The generic kernel: the cloud one has no AHCI driver. On Ubuntu the modules are a package of their own.
packages=$(apt-cache depends linux-image-amd64 2> /dev/null | sed -n 's/.*Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -n 1)
if [ -z "$packages" ]; then
    image=$(apt-cache depends linux-image-generic 2> /dev/null | sed -n 's/.*Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -n 1)
    [ -n "$image" ] || die "apt knows no kernel package; run: apt-get update"
    packages="$image linux-modules-${image#linux-image-}"
fi
versions=
for package in $packages; do
    version=$(apt-cache show --no-all-versions "$package" | sed -n 's/^Version: //p' | head -n 1)
    versions="$versions $package=$version"
done

key=$( { cat "$here"/{build.sh,unpack-kernel.sh,entry.S,init} "$mbr" "$(command -v busybox)" "$(command -v syslinux)"; echo "$versions"; } | sha256sum | cut -c1-24)
ready=$cache/guest-$key

deliver() {
    mkdir -p "$out"
    cp --sparse=always "$ready"/{system,user}.img "$ready"/{system,user}.qcow2 "$out/"
    say "ready in $out"
}
if [ -f "$ready/complete" ]; then
    say "taken from $ready"
    deliver
    exit
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# --- kernel and modules ---------------------------------------------------------------------------------------

# In the order of their dependencies; one that a kernel has built in, or does not have, is left out.
modules='scsi_common scsi_mod crc64 crc64-rocksoft crct10dif_common crct10dif_generic crc-t10dif t10-pi sd_mod
    libata libahci ahci ata_piix
    virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk virtio_scsi
    nvme-common nvme-core nvme
    fat vfat nls_cp437 nls_ascii nls_iso8859-1 nls_utf8
    crc16 crc32c_generic libcrc32c mbcache jbd2 ext4
    button evdev pvpanic pvpanic-mmio pvpanic-pci dmi-sysfs'

mkdir -p "$cache" "$work/kernel"
pattern="boot/vmlinuz-|/($(echo $modules | tr ' ' '|'))\.ko(\.zst|\.xz)?\$"
for entry in $versions; do
    package=${entry%%=*}
    file=$cache/$(echo "$entry" | tr -c 'A-Za-z0-9.\n-' _).deb
    if [ ! -f "$file" ]; then
        say "fetching $package"
        # apt's own sandbox user can't write to a private folder; the package's signature is checked all the same.
        (cd "$work" && apt-get -qq -o APT::Sandbox::User="$(id -un)" download "$package")
        mv "$work/$package"_*.deb "$file.$$" && mv "$file.$$" "$file"
    fi
    dpkg --fsys-tarfile "$file" > "$work/package.tar" || { rm -f "$file"; die "$file is damaged; run this again"; }
    tar -tf "$work/package.tar" | grep -E "$pattern" > "$work/list" || die "$package holds no kernel module"
    tar -C "$work/kernel" -xf "$work/package.tar" -T "$work/list"
    rm "$work/package.tar"
done

root=$work/root
mkdir -p "$root/bin" "$root/modules"
for module in $modules; do
    found=$(find "$work/kernel" -name "$module.ko*" | head -n 1)
    case $found in
        *.ko)     cp "$found" "$root/modules/$module.ko" ;;
        *.ko.zst) zstd -dqo "$root/modules/$module.ko" "$found" ;;
        *.ko.xz)  xz -dc "$found" > "$root/modules/$module.ko" ;;
        *)        continue ;;
    esac
    echo "$module" >> "$root/modules/order"
done
# Strips the signatures too: checking them costs an emulated processor more than everything else in a module.
strip --strip-debug "$root"/modules/*.ko

"$here/unpack-kernel.sh" "$(find "$work/kernel/boot" -name 'vmlinuz-*' | head -n 1)" "$work/vmlinuz"

# --- initramfs ------------------------------------------------------------------------------------------------

cp "$(command -v busybox)" "$root/bin/busybox"
ln -s busybox "$root/bin/sh"
cp "$here/init" "$root/init"
chmod 755 "$root/init" "$root/bin/busybox"
(cd "$root" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0) | gzip -1n > "$work/initrd.img"

# --- system disk: boot record, one active FAT16 partition at 1 MiB ----------------------------------------------

system=$work/system.img
first=2048 sectors=194560
le32() { printf '\\x%02x\\x%02x\\x%02x\\x%02x' $(($1 & 255)) $(($1 >> 8 & 255)) $(($1 >> 16 & 255)) $(($1 >> 24 & 255)); }
truncate -s $(((first + sectors) * 512)) "$system"
dd if="$mbr" of="$system" bs=440 count=1 conv=notrunc status=none
# Active, type 0x0e (FAT16, LBA); the CHS fields say "use LBA".
printf "\\x80\\xfe\\xff\\xff\\x0e\\xfe\\xff\\xff$(le32 $first)$(le32 $sectors)" | dd of="$system" bs=1 seek=446 conv=notrunc status=none
printf '\x55\xaa' | dd of="$system" bs=1 seek=510 conv=notrunc status=none

cat > "$work/syslinux.cfg" <<END
DEFAULT guest
PROMPT 0
LABEL guest
KERNEL vmlinuz
INITRD initrd.img
APPEND console=tty0 console=ttyS0,115200 quiet loglevel=3 tsc=unstable no_timer_check cryptomgr.notests mitigations=off audit=0 nokaslr 8250.nr_uarts=1
END
# Noise that is the same in every build, so that what the guest writes can be told in advance.
perl -e '$x = 20261122; for (1 .. 524288) { $x = ($x * 69069 + 12345) % 4294967296; print pack("n", $x >> 16) }' > "$work/noise.bin"

export MTOOLS_SKIP_CHECK=1
partition=$system@@1M
mformat -i "$partition" -T $sectors -h 16 -s 63 -H $first -N 50564d31 -v PVMSYSTEM ::
mcopy -i "$partition" "$work/vmlinuz" ::vmlinuz
mcopy -i "$partition" "$work/initrd.img" "$work/syslinux.cfg" "$work/noise.bin" ::
syslinux --install --offset $((first * 512)) "$system"

# --- user disk: a file system on the whole disk ------------------------------------------------------------------

mke2fs -q -F -t ext4 -L pocketvm-user -U 6f1c2c6e-8d0b-4c55-9b7e-3a1f0d2e4b11 \
    -E hash_seed=6f1c2c6e-8d0b-4c55-9b7e-3a1f0d2e4b12,nodiscard "$work/user.img" 512M > /dev/null

for disk in system user; do
    qemu-img convert -q -f raw -O qcow2 -o cluster_size=16k,lazy_refcounts=off "$work/$disk.img" "$work/$disk.qcow2"
done

# Complete or not there at all, also when two builds run at once.
mkdir "$work/result"
mv "$work"/{system,user}.img "$work"/{system,user}.qcow2 "$work/result/"
touch "$work/result/complete"
if [ -d "$ready" ]; then rm -rf "$ready"; fi
cp -r --sparse=always "$work/result" "$ready.$$"
mv -T "$ready.$$" "$ready" 2> /dev/null || rm -rf "$ready.$$"
deliver
