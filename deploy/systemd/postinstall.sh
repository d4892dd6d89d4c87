#!/bin/sh
# Nothing is started that was not running: whether this machine is watched alone or for others is for its owner to say.
set -e
[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload
for unit in ambit.service ambit-agent.service; do
	systemctl try-restart "$unit"
done
