#!/usr/bin/env bash
# The entry point of the MongoDB stand-in: options go to mongod, and root becomes the user mongodb, as in the official image.
set -Eeuo pipefail
if [ "${1:0:1}" = '-' ]; then
    set -- mongod "$@"
fi
if [ "$1" = mongod ] && [ "$(id -u)" = 0 ]; then
    find /data/db /data/configdb \! -user mongodb -exec chown mongodb '{}' +
    exec setpriv --reuid=mongodb --regid=mongodb --init-groups "${BASH_SOURCE[0]}" "$@"
fi
if [ "$1" = mongod ]; then
    # The official one listens on all addresses unless it is told otherwise.
    case " $* " in *" --bind_ip"*) ;; *) set -- "$@" --bind_ip_all ;; esac
fi
exec "$@"
