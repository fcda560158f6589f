#!/usr/bin/env bash
# Runs every test: cargo-nextest where it is installed, else cargo's own runner. Arguments go to the runner.
#
# The end-to-end tests mount loop devices and FUSE file systems and therefore run as root; without root they are
# run through sudo, with the tests already built. Making the Debians and VirtualBox's folder, once, needs root itself.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The guest's images are the same for all tests: built once, before the clock of any of them runs.
images=$(mktemp -d)
trap 'rm -rf "$images"' EXIT
tests/guest/build.sh "$images"
export POCKETVM_TEST_GUEST=$images
tests/guest/debian.sh "$images/debian"
export POCKETVM_TEST_DEBIAN=$images/debian

# VirtualBox is not in Debian 12: it comes from another suite, into a folder outside of the clone, for which root is needed once.
# Only that may fail for want of a server; then the last line says what was not run.
without_virtualbox=
if virtualbox=$(scripts/virtualbox.sh); then
    export POCKETVM_TEST_VIRTUALBOX=$virtualbox
else
    case $? in
        3) without_virtualbox=yes ;;
        *) exit 1 ;;
    esac
fi

runner=()
if [ "$(id -u)" != 0 ]; then
    command -v sudo > /dev/null || { echo "test: the end-to-end tests need root; run: make test as root" >&2; exit 1; }
    runner=(--config "target.'cfg(unix)'.runner=['sudo', '-E']")
fi
if cargo nextest --version > /dev/null 2>&1; then
    filter=()
    if [ "$without_virtualbox" ]; then
        filter=(-E 'not (binary(virtualbox) | (kind(test) & test(/virtualbox|libvirt/)))')
    fi
    cargo nextest run --locked --workspace "${runner[@]}" "${filter[@]}" "$@"
    # nextest does not run documentation tests.
    cargo test --locked --workspace --doc --quiet
else
    [ ! "$without_virtualbox" ] || { echo "test: only cargo-nextest can leave tests out: install it" >&2; exit 1; }
    # Two at a time: each end-to-end test runs whole virtual machines.
    cargo test --locked --workspace "${runner[@]}" "$@" -- --test-threads 2
fi
if [ "$without_virtualbox" ]; then
    echo "NOT RUN: VirtualBox could not be fetched, and libvirt with it: the tests that need them were left out"
fi
