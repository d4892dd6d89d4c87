#!/bin/sh
set -e
# deb says remove, upgrade or purge, rpm how many versions are left.
case ${1-} in
remove | purge | 0) rm -rf /run/ambit ;;
esac
if [ "${1-}" = purge ]; then
	rm -rf /var/lib/ambit /etc/ambit
	rm -f /etc/systemd/system/multi-user.target.wants/ambit.service /etc/systemd/system/multi-user.target.wants/ambit-agent.service
fi
[ -d /run/systemd/system ] && systemctl daemon-reload
exit 0
