#!/bin/sh
# Before the switch starts (the init container): puts together /run/pinion, which is memory of this pod's own.
#   - Secrets: the switch wants its local master key readable by its owner only. A Secret that another user than root
#     may read is readable by the group (fsGroup), so all of them are copied.
#   - Who this is: pinion-0 is node 1, pinion-1 is node 2. A StatefulSet never runs two pods of one name.
#   - Its trace numbers: node 1 of 8 has the first eighth. SWITCHES is another number than 8; all pods must have the same.
set -eu
umask 077
switches=${SWITCHES:-8}
number=${NODE:-$((${POD_NAME##*-} + 1))}
if [ "$number" -lt 1 ] || [ "$number" -gt "$switches" ]; then
    echo "start: $POD_NAME would be node $number; trace numbers are for $switches (SWITCHES)" >&2
    exit 78
fi
each=$((999999 / switches))
for file in "$SECRETS"/*/*; do
    install -m 0400 "$file" "$RUN/${file##*/}"
done
sed -e "s/@NAME@/$POD_NAME/" -e "s/@NODE@/$number/" \
    -e "s/@STAN_FIRST@/$(((number - 1) * each + 1))/" -e "s/@STAN_LAST@/$((number * each))/" \
    -e "s#//pinion@#//${ROLE:-pinion}@#" \
    "$CONFIG/pinion.toml" >"$RUN/pinion.toml"
