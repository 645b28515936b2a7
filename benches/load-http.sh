#!/bin/sh
# Measures durable pinBlockChange requests at the door firstvision-apac: a release switch with cards of its own, wrk
# (Debian's package) beside it, keep-alive.
#
#   benches/load-http.sh [SECONDS] [CARDS] [CONNECTIONS]       default 15, 20000 and 128
#
# Needs wrk, and Python with the package psec (target/venv, which `make test` makes). Everything is made in a temporary
# directory and removed. BENCHMARKS.md says how to read the numbers.
set -eu

seconds=${1:-15}
cards=${2:-20000}
connections=${3:-128}
root=$(cd "$(dirname "$0")/.." && pwd)
pinion=${PINION:-$root/target/release/pinion}
python=${PYTHON:-$root/target/venv/bin/python3}
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
cat >>"$dir/pinion.toml" <<'END'
[http]
listen = "127.0.0.1:28080"
clients = "clients.toml"
END
cat >"$dir/clients.toml" <<END
[[client]]
name = "load"
doors = ["firstvision-apac"]
token_sha256 = "$(printf load | sha256sum | cut -d' ' -f1)"
rights = ["change"]
zpk = "zpk.atm"
per_second = 1000000
burst = 1000000
END
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
"$python" "$root/benches/http_deck.py" "$cards" "$dir"
"$pinion" cards import --config "$dir/pinion.toml" "$dir/cards.csv" >&2

"$pinion" serve --config "$dir/pinion.toml" 2>"$dir/log" &
server=$!
tries=0
until curl -s -o "$dir/ready" http://127.0.0.1:29090/ready && grep -q '"ready":true' "$dir/ready"; do
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || { cat "$dir/log" >&2; exit 1; }
    sleep 0.1
done

# Processor time of the switch, in clock ticks, and changes it has made.
ticks() { awk '{ print $14 + $15 }' "/proc/$server/stat"; }
approved() {
    curl -s http://127.0.0.1:29090/metrics | awk '/^pinion_requests_total.*code="200"/ { n += $2 } END { printf "%d", n }'
}
before=$(ticks)
wrk --threads 2 --connections "$connections" --duration "${seconds}s" --latency \
    --script "$root/benches/load-http.lua" http://127.0.0.1:28080 -- "$dir/deck" 2
after=$(ticks)
done=$(approved)
awk -v ticks=$((after - before)) -v done="$done" -v seconds="$seconds" -v hz="$(getconf CLK_TCK)" 'BEGIN {
    printf "\n%.0f changes/s approved, switch: %.2f µs of processor time a change\n", done / seconds, ticks / hz / done * 1e6
}'
