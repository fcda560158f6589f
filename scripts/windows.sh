#!/usr/bin/env bash
# Builds PocketVM and all its tests for Windows, runs under Wine what needs no hypervisor, and checks everything as
# macOS would build it.
#
#   scripts/windows.sh [--from-source]     (--from-source: take the second way to a standard library, see below)
#
# The targets' standard libraries come from rustup. Where its server can't be reached they are built from Debian's
# rust-src by a nightly toolchain. Where that can't be fetched either, nothing can be built, and the last lines say so.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
windows=x86_64-pc-windows-gnu
mac=aarch64-apple-darwin
cache=${POCKETVM_CACHE:-/var/tmp/pocketvm-cache}
wine=/usr/lib/wine/wine64

say() { printf '\n== %s\n' "$*"; }
not_run() { echo "NOT RUN: could not be fetched: $*"; exit 0; }

work=$(mktemp -d /var/tmp/pocketvm-windows-XXXXXX)
export WINEPREFIX=$work/prefix WINEARCH=win64 WINEDEBUG=-all WINEDLLOVERRIDES='mscoree,mshtml='
# Without a display Wine does not try to open a window.
unset DISPLAY WAYLAND_DISPLAY
clean_up() {
    # Only the programs of this prefix.
    "${wine%/*}/wineserver" --kill 2> /dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# --- standard libraries of the targets ------------------------------------------------------------------------

# Debian's rust-src, unpacked in the cache; prints the folder of the library. Nothing is installed.
fetch_rust_src() {
    local wanted=$1 apt=$work/apt options deb
    if [ ! -d "$cache/rust-src-$wanted" ]; then
        mkdir -p "$apt"/{lists/partial,archives/partial,unpacked} "$cache"
        echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian sid main" > "$apt/sid.list"
        options=(-o Dir::Etc::SourceList="$apt/sid.list" -o Dir::Etc::SourceParts=/dev/null
            -o Dir::State::Lists="$apt/lists" -o Dir::Cache="$apt" -o APT::Sandbox::User=root
            -o Acquire::Languages=none -o Acquire::Check-Valid-Until=false)
        apt-get "${options[@]}" -qq update >&2 || return 1
        (cd "$apt" && apt-get "${options[@]}" -qq download rust-src) >&2 || return 1
        deb=$(echo "$apt"/rust-src_*.deb)
        case $(dpkg-deb --field "$deb" Version) in
            "$wanted".*) ;;
            *) echo "Debian's rust-src has another version than Rust $wanted: ${deb##*/}" >&2; return 1 ;;
        esac
        dpkg-deb --extract "$deb" "$apt/unpacked"
        mv "$apt/unpacked" "$cache/rust-src-$wanted"
    fi
    echo "$cache/rust-src-$wanted"/usr/src/rustc-*/library
}

if [ "${1:-}" != --from-source ] && timeout 300 rustup target add "$windows" "$mac"; then
    cargo=(cargo) flags=()
    # Warnings of a newer compiler would be nobody's fault; those of this one are errors.
    export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUSTFLAGS="-D warnings"
    look=(clippy) strict=(-- -D warnings)
else
    version=$(rustc +nightly --version 2> /dev/null | sed -n 's/^rustc \([0-9]*\.[0-9]*\).*/\1/p')
    [ -n "$version" ] || not_run "the standard library for Windows, by rustup; there is no nightly toolchain to build it with"
    library=$(fetch_rust_src "$version") || not_run "the source of Rust's standard library, version $version"
    # Where cargo looks for it instead of in the toolchain.
    export __CARGO_TESTS_ONLY_SRC_ROOT=$library
    cargo=(cargo +nightly) flags=(-Z build-std=std,panic_abort)
    look=(check) strict=()
fi

# --- Windows --------------------------------------------------------------------------------------------------

say "Building for Windows: the program and every test"
start=$SECONDS
"${cargo[@]}" test "${flags[@]}" --locked --quiet --workspace --all-targets --no-run --target "$windows"
echo "built in $((SECONDS - start)) s"

say "Preparing Wine"
start=$SECONDS
"$wine" wineboot --init > "$work/wineboot.log" 2>&1 || { cat "$work/wineboot.log" >&2; exit 1; }
system=$WINEPREFIX/drive_c/windows/system32
if [ ! -e "$system/bcryptprimitives.dll" ]; then
    x86_64-w64-mingw32-gcc -shared -o "$system/bcryptprimitives.dll" tests/windows/bcryptprimitives.c -ladvapi32
fi
echo "$("$wine" --version), ready in $((SECONDS - start)) s"

say "Running under Wine"
start=$SECONDS
export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER=$wine
# Wine on Linux takes the time of the last change for the time when a file was made, which NTFS keeps apart.
made=(
    --skip a_file_that_is_changed_was_made_when_it_was_made
    --skip a_drive_keeps_the_id_it_got_at_its_first_use
    --skip a_copied_folder_is_another_drive_where_the_file_system_numbers_its_files
)
# The whole workspace as above, although few of its tests run: another choice of packages would be another build.
"${cargo[@]}" test "${flags[@]}" --locked --quiet --workspace --target "$windows" \
    --lib --test files --test windows -- "${made[@]}"
echo "ran in $((SECONDS - start)) s; left out, because Wine does not keep when a file was made: ${made[*]//--skip/}"

# --- macOS ----------------------------------------------------------------------------------------------------

say "Checking everything for macOS"
start=$SECONDS
# Nothing is linked, so what C there is in the dependencies need not be compiled, and no Apple compiler is needed.
CC_aarch64_apple_darwin=true AR_aarch64_apple_darwin=true \
    "${cargo[@]}" "${look[@]}" "${flags[@]}" --locked --quiet --workspace --all-targets --target "$mac" "${strict[@]}"
echo "checked in $((SECONDS - start)) s"

say "Windows and macOS: done in $SECONDS s; the program ran under Wine, without a hypervisor; none was tried on Windows"
