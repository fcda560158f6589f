#!/usr/bin/env bash
# Makes the images and the seeds of the targets "initramfs", "linux" and "texts" again. Needs cpio, bzip2, e2fsprogs, gzip, kmod, lz4,
# xz-utils and zstd.
#
#   crates/guest/fuzz/linux-seeds.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p images corpus/{initramfs,linux,texts}

# archive FOLDER: all that is in it, the same each time.
archive() { (cd "$1" && find . -mindepth 1 | sort | cpio --quiet -o -H newc --reproducible -R 0:0); }

# What the target appends.
mkdir -p "$work/added/lib/modules/fuzz"
echo module > "$work/added/lib/modules/fuzz/fuzzed.ko"
archive "$work/added" > images/extension.cpio

# --- initramfs --------------------------------------------------------------------------------------------------

mkdir -p "$work/early/kernel/x86/microcode" "$work/main/usr/lib/modules/6.1/kernel" "$work/main/conf" "$work/main/scripts"
head -c 600 /dev/zero | tr '\0' 'm' > "$work/early/kernel/x86/microcode/GenuineIntel.bin"
for name in libahci libata virtio_blk; do echo "$name" > "$work/main/usr/lib/modules/6.1/kernel/$name.ko"; done
ln -s usr/lib "$work/main/lib"
printf 'ext4\nvirtio_blk\n' > "$work/main/conf/modules"
touch "$work/main/scripts/functions"
# Enough of something for the decoders to have work.
seq 1 2000 > "$work/main/numbers"
archive "$work/early" > "$work/early.cpio"
archive "$work/main" > "$work/main.cpio"
for packer in cat "gzip -nc" "bzip2 -c" "xz -c --check=crc32" "zstd -qc" "zstd -qc -19" "lz4 -lqc"; do
    name=$(echo "$packer" | tr -dc a-z0-9)
    $packer < "$work/main.cpio" > "corpus/initramfs/$name"
    cat "$work/early.cpio" "corpus/initramfs/$name" > "corpus/initramfs/early-$name"
done
cat corpus/initramfs/gzipnc <(head -c 9 /dev/zero) corpus/initramfs/zstdqc > corpus/initramfs/two

# --- linux ------------------------------------------------------------------------------------------------------

root=$work/root tree=$work/root/usr/lib/modules/6.1
mkdir -p "$tree/kernel" "$root"/{boot/grub,etc/netplan,etc/systemd/network,usr/bin}
printf 'kernel/ahci.ko: kernel/libahci.ko kernel/libata.ko\nkernel/libahci.ko: kernel/libata.ko\nkernel/libata.ko:\n' > "$tree/modules.dep"
for name in ahci libahci libata; do echo "$name" > "$tree/kernel/$name.ko"; done
echo kernel/sd_mod.ko > "$tree/modules.builtin"
printf 'alias pci:v*d*sv*sd*bc01sc06i01* ahci\n' > "$tree/modules.alias"
ln -s usr/lib "$root/lib"; ln -s usr/bin "$root/bin"; ln -s "$(printf '../%.0s' {1..30})usr/lib/os-release" "$root/etc/os-release"
printf 'ID=debian\nVERSION_ID=12\n' > "$root/usr/lib/os-release"
printf '\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0' > "$root/usr/bin/sh"
printf '/dev/sda1 / ext4 defaults 0 1\n' > "$root/etc/fstab"
printf 'network:\n  ethernets:\n    ens3: {}\n' > "$root/etc/netplan/1.yaml"
printf "menuentry 'x' {\n linux /boot/vmlinuz-6.1 ro resume=UUID=1\n}\n" > "$root/boot/grub/grub.cfg"
echo kernel > "$root/boot/vmlinuz-6.1"
zstd -qc "$work/main.cpio" > "$root/boot/initrd.img-6.1"
find "$root" -exec touch -h -d @0 {} +
# No checksums, and a folder that is indexed.
mke2fs -q -F -t ext4 -b 1024 -N 128 -I 128 -O ^metadata_csum,^has_journal,^resize_inode -U 00000000-0000-0000-0000-000000000001 \
    -E hash_seed=00000000-0000-0000-0000-000000000002,root_owner=0:0 -d "$root" "$work/root.ext4" 1M
gzip -9nc "$work/root.ext4" > images/root.ext4.gz
printf '' > corpus/linux/none
printf '\x03\0\x05\x02\xff\xff' > corpus/linux/one
printf '\0\0\x3a\x02\0\0\x20\0\x00\x01\x05' > corpus/linux/two

# --- texts ------------------------------------------------------------------------------------------------------

printf '\0# x\n/dev/sda1 / ext4 defaults 0 1\n/dev/nvme0n1p2\t/home ext4\nLABEL=swap none swap sw\n' > corpus/texts/fstab
printf '\1kernel/drivers/ahci.ko: kernel/libahci.ko\nkernel/libahci.ko.xz:\n' > corpus/texts/modules
printf '\2set default="1>0"\nsubmenu "a" --id x {\nmenuentry "b" --id y {\nlinux /vmlinuz ro resume=UUID=1\ninitrd /i\n}\n}\n' \
    > corpus/texts/grub
printf '\2title x\nlinux /vmlinuz\noptions $kernelopts quiet\nkernelopts=ro\n' > corpus/texts/entry
printf '\3network:\n  ethernets:\n    lan:\n      match:\n        macaddress: "52:54"\n      set-name: lan0\n' > corpus/texts/netplan
printf '\3[Match]\nName=en*\n[connection]\ninterface-name=ens3\nDEVICE=eth0\niface ens3 inet dhcp\n' > corpus/texts/sections
printf '\3SUBSYSTEM=="net", ATTR{address}=="52:54", NAME="eth0"\n' > corpus/texts/udev
printf '\4enp0s3' > corpus/texts/name
