#!/bin/sh
set -e
# deb says remove or upgrade, rpm how many versions are left.
case ${1-} in remove | 0) ;; *) exit 0 ;; esac
if [ -d /run/systemd/system ]; then
	systemctl disable --now ambit.service ambit-agent.service >/dev/null 2>&1 || true
fi
# Denials outlive the agent in the kernel; not the package. Settings may say where they are, and may be wrong.
/usr/bin/ambit agent unpin --config /etc/ambit/ambit.yaml >/dev/null 2>&1 || /usr/bin/ambit agent unpin >/dev/null || true
