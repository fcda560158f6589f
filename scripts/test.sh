#!/usr/bin/env bash
# Runs every test: cargo-nextest where it is installed, else cargo's own runner. Arguments go to the runner.
#
# The end-to-end tests mount loop devices and FUSE file systems and therefore run as root; without root they are
# run through sudo, with the tests already built.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The guest's images are the same for all tests: built once, before the clock of any of them runs.
images=$(mktemp -d)
trap 'rm -rf "$images"' EXIT
tests/guest/build.sh "$images"
export POCKETVM_TEST_GUEST=$images

runner=()
if [ "$(id -u)" != 0 ]; then
    command -v sudo > /dev/null || { echo "test: the end-to-end tests need root; run: make test as root" >&2; exit 1; }
    runner=(--config "target.'cfg(unix)'.runner=['sudo', '-E']")
fi
if cargo nextest --version > /dev/null 2>&1; then
    cargo nextest run --locked --workspace "${runner[@]}" "$@"
    # nextest does not run documentation tests.
    cargo test --locked --workspace --doc --quiet
else
    # Two at a time: each end-to-end test runs whole virtual machines.
    cargo test --locked --workspace "${runner[@]}" "$@" -- --test-threads 2
fi
