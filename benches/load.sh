#!/bin/sh
# Measures durable PIN changes over TCP: a release switch with generated cards, `pinion load` beside it.
#
#   benches/load.sh [SECONDS] [CARDS]       default 20 and 100000
#
# First as fast as answers come (8 connections, 32 in flight each), then at half of that rate. Everything is made in a
# temporary directory and removed. BENCHMARKS.md says how to read the numbers. LOAD_DIR=DIR puts the store elsewhere:
# what is measured is also the disk under it.
set -eu

seconds=${1:-20}
cards=${2:-100000}
root=$(cd "$(dirname "$0")/.." && pwd)
pinion=${PINION:-$root/target/release/pinion}
dir=$(mktemp -d "${LOAD_DIR:-${TMPDIR:-/tmp}}/pinion-load.XXXXXX")
server=
clean_up() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$dir"
}
trap clean_up EXIT INT TERM

[ -n "${PINION:-}" ] || (cd "$root" && cargo build --release --quiet)
cp "$root/benches/pinion-load.toml" "$dir/pinion.toml"

# Two keys of the demo world, each as two components.
keys() {
    "$pinion" keys "$@" --keys "$dir/keys.toml" --lmk "$dir/lmk.key" --allow-test-keys >/dev/null
}
import() {
    printf '1F1F1F1F1F1F1F1F0E0E0E0E0E0E0E0E\n' >"$dir/a"
    printf '%s\n' "$3" >"$dir/b"
    keys import "$1" --type "$2" --component "$dir/a" --component "$dir/b"
}
keys init
import zpk.atm ZPK 3C0A3F938E0FB25FA6B8C9DBEBFC0C1E
import pvk.visa PVK 1E3C5A7896B4D2F0F0D2B496785A3C1E
"$pinion" cards generate --config "$dir/pinion.toml" --product visa-debit --pin 1357 "$cards" >&2

"$pinion" serve --config "$dir/pinion.toml" 2>"$dir/log" &
server=$!
tries=0
until grep -q listening "$dir/log"; do
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || { cat "$dir/log" >&2; exit 1; }
    sleep 0.1
done

load() {
    "$pinion" load --to 127.0.0.1:28583 --count "$cards" --duration "${seconds}s" \
        --server-pid "$server" "$@"
}
echo "closed loop, 8 connections, 32 in flight each"
load --connections 8 --in-flight 32 >"$dir/closed"
cat "$dir/closed"
half=$(awk 'NR == 1 { printf "%d", $1 / 2 }' "$dir/closed")
echo
echo "fixed rate, $half a second"
load --connections 8 --rate "$half"
awk '/^VmHWM/ { printf "\nswitch: %d MiB at most\n", $2 / 1024 }' "/proc/$server/status"
