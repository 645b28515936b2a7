#!/bin/sh
# Measures durable PIN changes over TCP: a release switch with generated cards, `pinion load` beside it.
#
#   benches/load.sh [postilion] [SECONDS] [CARDS]       default 20 and 100000
#
# With `postilion` the cards are those of a simulated Postilion, to which every change is forwarded: its process shares
# the machine, and the same rate straight at one of its nodes shows what the switch adds.
#
# First as fast as answers come (8 connections, 32 in flight each), then at half of that rate. Everything is made in a
# temporary directory and removed. BENCHMARKS.md says how to read the numbers. LOAD_DIR=DIR puts the store elsewhere:
# what is measured is also the disk under it. LOAD_DATABASE=URL takes an empty PostgreSQL instead of the embedded store,
# LOAD_DATABASE=new one of the machine's own binaries, made for it beside the store. LOAD_IN_FLIGHT=N keeps N instead of
# 32 in flight on each connection; LOAD_RATE=N is the fixed rate instead of half of what came out, LOAD_RUNS=N repeats it.
# LOAD_SETTING="name = value" is another line of the new cluster's configuration, and the last one counts.
set -eu

route=cms
bin=476173
if [ "${1:-}" = postilion ]; then
    route=postilion
    bin=506099
    shift
fi
seconds=${1:-20}
cards=${2:-100000}
root=$(cd "$(dirname "$0")/.." && pwd)
pinion=${PINION:-$root/target/release/pinion}
dir=$(mktemp -d "${LOAD_DIR:-${TMPDIR:-/tmp}}/pinion-load.XXXXXX")
server=
hosts=
database=
clean_up() {
    for process in $server $hosts; do
        kill "$process" 2>/dev/null || true
        wait "$process" 2>/dev/null || true
    done
    [ -z "$database" ] || "$database/pg_ctl" stop -m immediate >/dev/null 2>&1 || true
    rm -rf "$dir"
}
trap clean_up EXIT INT TERM

# A cluster as in service: buffers and WAL sizes as deploy/ advises, and WAL segments that were used before, as they are
# after a few checkpoints (a commit that makes a new one takes 10 to 40 ms).
new_database() {
    programs=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)
    mkdir "$dir/database"
    printf '#!/bin/sh\nexec setpriv --reuid=postgres --regid=postgres --clear-groups "%s/$(basename "$0")" "$@"\n' \
        "$programs" >"$dir/as-postgres"
    chmod 755 "$dir" "$dir/as-postgres"
    chown postgres "$dir/database"
    for program in initdb pg_ctl psql; do ln -s "$dir/as-postgres" "$dir/$program"; done
    export PGDATA="$dir/database" PGHOST="$dir/database" PGPORT=28599 PGUSER=postgres
    "$dir/initdb" --auth=trust >/dev/null
    printf '%s\n' "port = $PGPORT" "unix_socket_directories = '$PGHOST'" "shared_buffers = 4GB" \
        "min_wal_size = 4GB" "max_wal_size = 4GB" "${LOAD_SETTING:-}" >>"$PGDATA/postgresql.conf"
    "$dir/pg_ctl" start --wait --log="$PGDATA/log" >/dev/null
    database=$dir
    for _ in $(seq 256); do echo 'SELECT txid_current(), pg_switch_wal();'; done | "$dir/psql" --quiet >/dev/null
    "$dir/psql" --quiet --command='CHECKPOINT' --command='CREATE DATABASE pinion'
    LOAD_DATABASE=postgresql://postgres@127.0.0.1:$PGPORT/pinion
}

[ -n "${PINION:-}" ] || (cd "$root" && cargo build --release --quiet)
cp "$root/benches/pinion-load.toml" "$dir/pinion.toml"
[ "${LOAD_DATABASE:-}" != new ] || new_database
if [ -n "${LOAD_DATABASE:-}" ]; then
    lines="kind = \"postgres\"\n\n[store.postgres]\nurl = \"$LOAD_DATABASE\"\nnode = 1"
    sed -i "s|^directory = \"store\"|$lines|" "$dir/pinion.toml"
fi

# Keys of the demo world, each as two components.
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

# Waits until a file holds a word so many times.
wait_for() {
    tries=0
    until [ -f "$1" ] && [ "$(grep -c "$2" "$1")" -ge "$3" ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 300 ] || { cat "$1" >&2; exit 1; }
        sleep 0.1
    done
}
[ -z "${LOAD_DATABASE:-}" ] || "$pinion" store migrate --config "$dir/pinion.toml" >&2
if [ $route = cms ]; then
    "$pinion" cards generate --config "$dir/pinion.toml" --product visa-debit --pin 1357 "$cards" >&2
else
    cat "$root/benches/pinion-load-postilion.toml" >>"$dir/pinion.toml"
    import zpk.postilion ZPK 00302253447466960F2D4B6987A5C3E1
    # Its clear value, as the generator needs it to speak to a node itself: the sum of the two.
    echo 1F2F3D4C5B6B79890123456789ABCDEF >"$dir/zpk.postilion"
    "$pinion" sim postilion --listen 127.0.0.1:28591 --listen 127.0.0.1:28592 \
        --no-sign-on-needed --cards "$cards" --bin $bin --pin 1357 >"$dir/hosts" &
    hosts=$!
    wait_for "$dir/hosts" listens 2
fi

"$pinion" serve --config "$dir/pinion.toml" 2>"$dir/log" &
server=$!
wait_for "$dir/log" listening 1
[ $route = cms ] || wait_for "$dir/log" 'takes requests' 2

load() {
    "$pinion" load --bin $bin --count "$cards" --duration "${seconds}s" "$@"
}
# Runs one and shows it; anything but approvals fails the script at its end.
failed=0
run() {
    name=$1
    shift
    load "$@" >"$dir/$name" || failed=1
    cat "$dir/$name"
}
switch="--to 127.0.0.1:28583 --server-pid $server"
flight=${LOAD_IN_FLIGHT:-32}
echo "closed loop, 8 connections, $flight in flight each"
# shellcheck disable=SC2086 # two options with a value each
run closed $switch --connections 8 --in-flight "$flight"
half=${LOAD_RATE:-$(awk 'NR == 1 { printf "%d", $1 / 2 }' "$dir/closed")}
for _ in $(seq "${LOAD_RUNS:-1}"); do
    echo
    echo "fixed rate, $half a second"
    # shellcheck disable=SC2086
    run half $switch --connections 8 --rate "$half" --warm-up 5s
done
if [ $route = postilion ]; then
    echo
    echo "the same rate straight at one node"
    run straight --to 127.0.0.1:28591 --dialect postilion --zpk "$dir/zpk.postilion" \
        --connections 8 --rate "$half" --warm-up 5s
    awk '/^latency/ { n++; for (i = 3; i <= 9; i += 2) at[n, $i] = $(i + 1) + 0 }
        END {
            printf "\nadded by the switch, ms:"
            for (i = 1; i <= split("p50 p90 p99 p99.9", names, " "); i++)
                printf " %s %.3f", names[i], at[1, names[i]] - at[2, names[i]]
            print ""
        }' "$dir/half" "$dir/straight"
fi
awk '/^VmHWM/ { printf "\nswitch: %d MiB at most\n", $2 / 1024 }' "/proc/$server/status"
exit $failed
