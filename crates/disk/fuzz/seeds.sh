#!/usr/bin/env bash
# Makes the seed corpus again: small images by QEMU, and what the engine makes of them. Needs qemu-utils.
#
#   crates/disk/fuzz/seeds.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
images=$(mktemp -d)
trap 'rm -rf "$images"' EXIT

# change IMAGE COMMAND…: qemu-io commands.
change() {
    local image=$1 arguments=(); shift
    for command in "$@"; do arguments+=(-c "$command"); done
    qemu-io -d unmap -f qcow2 "${arguments[@]}" "$image" > "$images/log" || { cat "$images/log" >&2; exit 1; }
    ! grep -i error "$images/log" >&2
}
# The file without the zeroes at its end: seeds are to be small.
trim() { perl -i -0777 -pe 's/\0+\z//' "$1"; }
# pair NAME SIZE BASE-OPTIONS OVERLAY-OPTIONS [GROWN]: a base that is filled, and an overlay that changes it.
pair() {
    local base=$images/$1.base overlay=$images/$1.overlay
    qemu-img create -q -f qcow2 -o "$3" "$base" "$2"
    case $3 in *compression*) ;; *) fill "$base" ;; esac
    above "$base" "$overlay" "$4" "${5:-$2}"
}
fill() { change "$1" "write -q -P 1 512 2560" "write -q -P 2 8192 1024" "write -q -z 12288 512" "discard -q 1024 512"; }
above() {
    # A relative name, so that the seed does not say where it was made.
    (cd "$images" && qemu-img create -q -f qcow2 -F qcow2 -b "$(basename "$1")" -o "$3" "$2" "$4")
    change "$2" "write -q -P 3 1024 1024" "write -q -z 8192 512" "write -q -z -u 2048 512" "write -q -P 4 10240 512" \
        "discard -q 4096 512"
    # What is set aside for data is there to its end.
    [ "$(basename "$1")" = prepared.base ] || trim "$1"
    trim "$2"
}
packed() {
    qemu-img create -q -f qcow2 -o cluster_size=512 "$images/plain" 32k
    fill "$images/plain"
    change "$images/plain" "write -q -P 5 16384 8192" "write -q -P 6 24576 300" "write -q -P 7 25000 100"
    qemu-img convert -c -f qcow2 -O qcow2 -o "compression_type=$1,$2" "$images/plain" "$images/$1.base"
    above "$images/$1.base" "$images/$1.overlay" "cluster_size=512" 32k
}

pair plain 32k cluster_size=512 cluster_size=512
pair old 32k cluster_size=512,compat=0.10 cluster_size=512
pair narrow 32k cluster_size=512,refcount_bits=1 cluster_size=512
pair wide 32k cluster_size=512,refcount_bits=64 cluster_size=512
pair grown 31232 cluster_size=1k cluster_size=512 150k
pair prepared 16k cluster_size=512,preallocation=metadata cluster_size=512,lazy_refcounts=on
pair subclusters 32k cluster_size=16k,extended_l2=on cluster_size=16k,extended_l2=on
packed zlib cluster_size=2k
packed zstd cluster_size=1k

# A base over a layer of its own.
pair plain-lower 16k cluster_size=512 cluster_size=512
mv "$images/plain-lower.base" "$images/lower"
rm "$images/plain-lower.overlay"
(cd "$images" && above lower layered.base cluster_size=512 32k)
(cd "$images" && above layered.base layered.overlay cluster_size=512 32k)
mv "$images/lower" "$images/layered.lower"

# The base of the target hashes is compiled in.
mkdir -p images
rm -f images/empty.qcow2
qemu-img create -q -f qcow2 -o cluster_size=512 images/empty.qcow2 64k

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-../../../target}/fuzz
rm -rf corpus
cargo run --quiet --locked --release --bin seeds -- "$images" corpus
du -sb corpus/*
