#!/bin/sh
# Before the switch starts (the init container): copies Secrets into /run/pinion, which is memory of this pod's own,
# readable by nobody else. The sealed key file goes to the volume once and stays there: the switch writes exchanged zone
# keys into it. To bring a new one, edit it in place (kubectl exec, `pinion keys`).
set -eu
umask 077
for file in "$SECRETS"/*/*; do
    install -m 0400 "$file" "$RUN/${file##*/}"
done
if [ ! -e "$STATE/keys.toml" ]; then
    install -m 0600 "$RUN/keys.toml" "$STATE/keys.toml"
fi
install -m 0400 "$CONFIG/pinion.toml" "$RUN/pinion.toml"
