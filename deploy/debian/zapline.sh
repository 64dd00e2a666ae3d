#!/bin/sh
# The command with the service's own settings, secrets and state, unless the caller names others.
set -eu
if [ "$(id -u)" = 0 ]; then
    [ -n "${ZAPLINE_ENV_FILE+set}" ] || [ ! -r /etc/zapline/zapline.env ] || export ZAPLINE_ENV_FILE=/etc/zapline/zapline.env
    export CREDENTIALS_DIRECTORY="${CREDENTIALS_DIRECTORY:-/etc/zapline}"
    export STATE_DIRECTORY="${STATE_DIRECTORY:-/var/lib/zapline}"
fi
exec /opt/zapline/bin/zapline "$@"
