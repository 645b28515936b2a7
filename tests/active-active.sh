#!/bin/sh
# Runs each scenario of tests/faults/active_active.rs that many times: tests/active-active.sh 20
set -eu
cd "$(dirname "$0")/.."
PINION_TEST_ROUNDS=${1:-20} exec cargo test --locked --test faults -- --nocapture --test-threads=1 active_active
