#!/usr/bin/env bash
# Makes two installed Debian 12 systems whose initramfs holds nothing but the drivers of the disk they were installed on (virtio-blk).
#
#   debian.sh OUTDIR
#
# OUTDIR gets dep.qcow2 (initramfs-tools, MODULES=dep) and dracut.qcow2 (dracut, hostonly=yes), else equal: 2 GiB, MBR, one ext4
# partition, GRUB for a BIOS, systemd. What a running guest says on its serial port is in `debian/pocketvm-guest` beside this file.
#
# Both tools look into /sys for what the running system needs. So the system is really booted once, from virtio-blk on a machine
# without any ATA controller (q35 with sata=off), and makes its own initramfs and boot record there: `debian/make`.
#
# The result is kept in ${POCKETVM_CACHE:-/var/tmp/pocketvm-cache}, under a key that names everything it depends on. That folder may
# vanish at any time. The first build takes about three minutes, needs root and a Debian mirror.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ $# -eq 1 ] || { echo "usage: ${BASH_SOURCE[0]} OUTDIR" >&2; exit 2; }
out=$1
cache=${POCKETVM_CACHE:-/var/tmp/pocketvm-cache}
export PATH=$PATH:/usr/sbin:/sbin

say() { echo "debian: $*" >&2; }
die() { echo "debian: $*" >&2; exit 1; }

for tool in apt-cache debugfs e2fsck mke2fs mmdebstrap qemu-img qemu-system-x86_64 sfdisk truncate; do
    command -v "$tool" > /dev/null || die "$tool is missing; run: make setup"
done

# On Ubuntu apt does not know Debian's kernel: there only a change of these files makes a new build.
kernel=$(apt-cache show --no-all-versions linux-image-amd64 2> /dev/null | sed -n 's/^Version: //p' | head -n 1 || true)
key=$( { cat "${BASH_SOURCE[0]}" "$here"/debian/*; echo "$kernel"; } | sha256sum | cut -c1-24)
ready=$cache/debian-$key

deliver() {
    mkdir -p "$out"
    cp --reflink=auto --sparse=always "$ready"/{dep,dracut}.qcow2 "$out/"
    say "ready in $out"
}
if [ -f "$ready/complete" ]; then
    say "taken from $ready"
    deliver
    exit
fi
[ "$(id -u)" = 0 ] || die "the first build needs root"

mkdir -p "$cache"
work=$(mktemp -d "$cache/making.XXXXXX")
trap 'rm -rf "$work"' EXIT
say "building in $work (about three minutes, once)"
started=$SECONDS
did() { say "$1 after $((SECONDS - started)) s"; }

# --- packages -------------------------------------------------------------------------------------------------

mirror=$(awk '/^URIs:/ { print $2; exit } /^deb / { print $2; exit }' /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2> /dev/null || true)
case $mirror in */debian | */debian/) ;; *) mirror=http://deb.debian.org/debian ;; esac

# The generic kernel: the cloud one has no AHCI driver. Of its modules only those stay away that no hypervisor gives a use to;
# without the graphics ones the guest also starts faster.
options=()
for folder in doc man locale; do options+=("--dpkgopt=path-exclude=/usr/share/$folder/*"); done
for folder in sound drivers/{gpu,media,infiniband,iio,staging,comedi,net/wireless}; do
    options+=("--dpkgopt=path-exclude=/lib/modules/*/kernel/$folder/*")
done
# The initramfs of the first boot: what MODULES names comes later, from `make`.
# shellcheck disable=SC2016 # $1 is mmdebstrap's
options+=('--setup-hook=mkdir -p "$1/etc/initramfs-tools/conf.d" && printf "MODULES=list\nCOMPRESSLEVEL=1\n" > "$1/etc/initramfs-tools/conf.d/first-boot"
    printf "virtio_pci\nvirtio_blk\next4\n" > "$1/etc/initramfs-tools/modules"')
packages=systemd-sysv,udev,kmod,initramfs-tools,dracut-core,zstd,linux-image-amd64,grub-pc-bin,grub2-common,ifupdown,iproute2

root=$work/root
mmdebstrap --quiet --mode=root --variant=apt --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
    "${options[@]}" --include=$packages bookworm "$root" \
    "deb $mirror bookworm main" "deb ${mirror%/}-security bookworm-security main" > "$work/log" 2>&1 \
    || { tail -n 5 "$work/log" >&2; die "mmdebstrap failed"; }
did "packages installed"

# --- configuration --------------------------------------------------------------------------------------------

uuid=c0ffee12-57ad-4f3e-9d41-0d3b1a12d0e5
echo debian > "$root/etc/hostname"
# Without it each boot is a first boot, with all that systemd does then.
echo 7d0f9d1c2b5e4a63871f2f0a6c3e9b54 > "$root/etc/machine-id"
cat > "$root/etc/fstab" <<END
UUID=$uuid / ext4 errors=remount-ro 0 1
/dev/vda1 /media/same ext4 noauto,ro 0 0
LABEL=pocketvm-swap none swap sw,nofail 0 0
END
mkdir -p "$root/media/same"
cat > "$root/etc/network/interfaces" <<END
auto lo
iface lo inet loopback

# The name in slot 3 of QEMU's PC; the address that QEMU's user network expects.
auto ens3
iface ens3 inet static
    address 10.0.2.15/24
    gateway 10.0.2.2
END
cat > "$root/etc/default/grub" <<END
GRUB_DEFAULT=0
GRUB_TIMEOUT=0
GRUB_DISTRIBUTOR=Debian
GRUB_CMDLINE_LINUX="console=tty0 console=ttyS0,115200"
GRUB_CMDLINE_LINUX_DEFAULT="quiet loglevel=3 mitigations=off"
GRUB_TERMINAL=console
GRUB_DISABLE_OS_PROBER=true
END
mkdir -p "$root/etc/dracut.conf.d"
# The module `qemu` puts ahci, ata_piix, virtio_scsi and others into an initramfs that is made in QEMU or KVM.
cat > "$root/etc/dracut.conf.d/host.conf" <<END
hostonly=yes
compress="zstd -q -T0"
omit_dracutmodules+=" qemu "
END

install -m 755 "$here/debian/make" "$here/debian/pocketvm-guest" "$root/usr/local/sbin/"
install -m 644 "$here/debian/pocketvm-guest.service" "$root/etc/systemd/system/"
mkdir -p "$root/etc/systemd/journald.conf.d"
printf '[Journal]\nStorage=volatile\n' > "$root/etc/systemd/journald.conf.d/volatile.conf"
wants=$root/etc/systemd/system/sysinit.target.wants
mkdir -p "$wants"
ln -sf /etc/systemd/system/pocketvm-guest.service "$wants/"
ln -sf /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
for unit in getty@tty1.service serial-getty@ttyS0.service systemd-logind.service systemd-pstore.service systemd-random-seed.service \
    systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-journal-flush.service systemd-journal-catalog-update.service \
    systemd-binfmt.service proc-sys-fs-binfmt_misc.automount dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount \
    sys-kernel-tracing.mount sys-kernel-config.mount sys-fs-fuse-connections.mount modprobe@configfs.service modprobe@drm.service \
    modprobe@fuse.service modprobe@efi_pstore.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
    e2scrub_reap.service fstrim.timer systemd-tmpfiles-clean.timer systemd-ask-password-wall.path systemd-ask-password-console.path; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/var/log/* "$root/etc/resolv.conf"
: > "$root/etc/resolv.conf"

# --- disk, first boot -----------------------------------------------------------------------------------------

cp "$root"/boot/vmlinuz-* "$work/vmlinuz"
mv "$root"/boot/initrd.img-* "$work/initrd"
rm -f "$root/etc/initramfs-tools/conf.d/first-boot"
sed -i '/^[^#]/d' "$root/etc/initramfs-tools/modules"

disk=$work/disk.img partition="$work/disk.img?offset=1048576"
truncate -s 2G "$disk"
printf 'label: dos\nlabel-id: 0x706b766d\nstart=2048, type=83, bootable\n' | sfdisk -q "$disk"
mke2fs -q -F -t ext4 -L root -U $uuid -d "$root" -E "offset=1048576,hash_seed=$uuid,nodiscard,lazy_itable_init=0,lazy_journal_init=0" \
    "$disk" $(((2048 - 1) * 1024))k > /dev/null
rm -rf "$root"
did "disk filled"

timeout 600 qemu-system-x86_64 -accel tcg,thread=multi -M q35,sata=off -cpu max -smp 2 -m 1024 -nodefaults -display none -no-reboot \
    -drive "file=$disk,if=virtio,format=raw,cache=unsafe" -serial "file:$work/console" -kernel "$work/vmlinuz" -initrd "$work/initrd" \
    -append "root=/dev/vda1 rw console=ttyS0,115200 quiet mitigations=off init=/usr/local/sbin/make" < /dev/null \
    || { tail -n 20 "$work/console" >&2; die "the first boot did not end"; }
grep -q '^made' "$work/console" || { tail -n 20 "$work/console" >&2; die "the first boot failed"; }
did "initramfs made"

# --- one disk of each -----------------------------------------------------------------------------------------

# `make` left both under names of their own, /boot/NAME.initrd; debugfs changes names only, hence each keeps its one link.
release=$(debugfs -R 'ls -p /boot' "$partition" 2> /dev/null | sed -n 's|.*/vmlinuz-\([^/]*\)/.*|\1|p' | head -n 1)
change() { # change DISK COMMAND…
    local disk=$1; shift
    printf '%s\n' "$@" | debugfs -w -f - "$disk?offset=1048576" > "$work/log" 2>&1
    e2fsck -fn "$disk?offset=1048576" > "$work/log" 2>&1 || { cat "$work/log" >&2; die "the file system is damaged"; }
}
cp --sparse=always "$disk" "$work/dracut.img"
mv "$disk" "$work/dep.img"
change "$work/dep.img" "ln /boot/dep.initrd /boot/initrd.img-$release" "unlink /boot/dep.initrd" "rm /boot/dracut.initrd" "rm /usr/local/sbin/make"
change "$work/dracut.img" "ln /boot/dracut.initrd /boot/initrd.img-$release" "unlink /boot/dracut.initrd" "rm /boot/dep.initrd" "rm /usr/local/sbin/make"

mkdir "$work/result"
for name in dep dracut; do
    qemu-img convert -q -c -f raw -O qcow2 "$work/$name.img" "$work/result/$name.qcow2" &
done
wait %1
wait %2
did "images compressed"

# Complete or not there at all, also when two builds run at once. A build of other files stays for a week.
find "$cache" -maxdepth 1 -name 'debian-*' -mtime +7 -exec rm -rf {} +
touch "$work/result/complete"
if [ -d "$ready" ]; then rm -rf "$ready"; fi
mv -T "$work/result" "$ready" 2> /dev/null || true
deliver
