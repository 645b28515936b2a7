#!/bin/sh
# Before the switch starts (the init container): puts together /run/pinion, which is memory of this pod's own.
#   - Secrets: the switch wants its local master key readable by its owner only. A Secret that another user than root
#     may read is readable by the group (fsGroup), so all of them are copied.
#   - Who this is: pinion-0 is node 1, pinion-1 is node 2. A StatefulSet never runs two pods of one name.
set -eu
umask 077
number=${NODE:-$((${POD_NAME##*-} + 1))}
if [ "$number" -lt 1 ] || [ "$number" -gt 254 ]; then
    echo "start: $POD_NAME would be node $number; a database has 1 to 254" >&2
    exit 78
fi
for file in "$SECRETS"/*/*; do
    install -m 0400 "$file" "$RUN/${file##*/}"
done
sed -e "s/@NAME@/$POD_NAME/" -e "s/@NODE@/$number/" -e "s#//pinion@#//${ROLE:-pinion}@#" \
    "$CONFIG/pinion.toml" >"$RUN/pinion.toml"
