#!/usr/bin/env bash
# Fuzzes the readers of disk images and of guests' disks: each target of crates/disk/fuzz and crates/guest/fuzz for some seconds,
# one after the other.
#
#   scripts/fuzz.sh [SECONDS [TARGET…]]          20 seconds and all targets, unless said otherwise
#   scripts/fuzz.sh --build                      builds them only
#   scripts/fuzz.sh --reproduce TARGET FILE      runs a target once, on the input that a finding left
#
# Needs a nightly toolchain or the stable one, and nothing else: libFuzzer is a crate. AddressSanitizer is there to count
# memory; neither crate has unsafe code. New inputs go to the target folder, those of the repository stay as they are.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { echo "fuzz: $*" >&2; exit 1; }
PATH=$PATH:$HOME/.cargo/bin
crates=(crates/disk/fuzz crates/guest/fuzz)
out=$(realpath -m "${CARGO_TARGET_DIR:-target}")/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')
case $host in *-linux-gnu) ;; *) fail "only Linux is handled, this is $host" ;; esac

# Memory that one input may take: at once, and in all.
limits=(-malloc_limit_mb=128 -rss_limit_mb=512 -timeout=10)
# Freed memory is given back soon, so that the limits count what is in use.
export ASAN_OPTIONS=quarantine_size_mb=8:allocator_may_return_null=0:detect_leaks=0

# --- building ---------------------------------------------------------------------------------------------------

cargo=(cargo)
if rustup toolchain list 2> /dev/null | grep -q ^nightly; then
    cargo=(cargo "+$(rustup toolchain list | sed -n 's/^\(nightly[^ ]*\).*/\1/p' | head -n 1)")
else
    # The sanitizer's flag is the only one that a stable compiler does not take.
    export RUSTC_BOOTSTRAP=1
fi
command -v c++ > /dev/null || fail "a C++ compiler is missing (package g++)"
# What cargo-fuzz sets (https://github.com/rust-fuzz/cargo-fuzz, src/project.rs). With --target, build scripts are spared.
flags=(-Zsanitizer=address --cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=1
    -Cllvm-args=-sanitizer-coverage-{level=4,inline-8bit-counters,pc-table,trace-compares}
    -Cllvm-args=-simplifycfg-branch-fold-threshold=0)
for fuzz in "${crates[@]}"; do
    RUSTFLAGS="${flags[*]}" CARGO_TARGET_DIR=$out "${cargo[@]}" build --quiet --locked --release \
        --manifest-path "$fuzz/Cargo.toml" --target "$host" --bins
done

# --- running ----------------------------------------------------------------------------------------------------

[ "${1:-}" != --build ] || exit 0
program() { echo "$out/$host/release/$1"; }
if [ "${1:-}" = --reproduce ]; then
    [ $# = 3 ] || fail "--reproduce needs a target and a file"
    exec "$(program "$2")" "${limits[@]}" "$3"
fi
seconds=${1:-20}
shift || true
# To libFuzzer 0 seconds are for ever.
[[ $seconds =~ ^[1-9][0-9]*$ ]] || fail "not a number of seconds: $seconds"
targets=("$@")
if [ $# = 0 ]; then
    mapfile -t targets < <(for fuzz in "${crates[@]}"; do basename -s .rs "$fuzz"/fuzz_targets/*.rs; done)
fi

findings=0
for target in "${targets[@]}"; do
    for fuzz in "${crates[@]}"; do [ ! -e "$fuzz/fuzz_targets/$target.rs" ] || break; done
    seeds=$fuzz/corpus/$target
    [ -d "$seeds" ] || fail "no such target, or it has no seeds: $target"
    mkdir -p "$out/corpus/$target" "$out/findings"
    log=$out/$target.log
    extra=()
    [ ! -e "$fuzz/dict/$target.dict" ] || extra=("-dict=$fuzz/dict/$target.dict")
    if "$(program "$target")" "${limits[@]}" "${extra[@]}" -max_total_time="$seconds" -max_len=262144 -print_final_stats=1 \
        -artifact_prefix="$out/findings/$target-" "$out/corpus/$target" "$seeds" > "$log" 2>&1; then
        echo "fuzz: $target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs in $seconds s," \
            "$(sed -n 's/^stat::peak_rss_mb: *//p' "$log") MiB at most, nothing found"
    else
        findings=$((findings + 1))
        grep -A 1 -E "panicked at|ERROR: |SUMMARY: " "$log" >&2 || tail -n 20 "$log" >&2
        file=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
        echo "fuzz: $target: FOUND SOMETHING (all of it: $log); to reproduce it:" >&2
        echo "    scripts/fuzz.sh --reproduce $target ${file:-(no input was left)}" >&2
    fi
done
[ "$findings" = 0 ] || fail "$findings of ${#targets[@]} targets found something"
