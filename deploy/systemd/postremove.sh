#!/bin/sh
set -e
if [ "${1-}" = purge ]; then
	rm -rf /var/lib/ambit /etc/ambit
fi
[ -d /run/systemd/system ] && systemctl daemon-reload
exit 0
