#!/usr/bin/env bash
# The entry point of the Fuseki stand-in, with the image's interface: shiro.ini at the first start with ADMIN_PASSWORD (or one made up),
# and a dataset for each FUSEKI_DATASET_<n>, made through the server's own interface.
set -e
if [ ! -f "$FUSEKI_BASE/shiro.ini" ]; then
    : "${ADMIN_PASSWORD:=$(head -c 12 /dev/urandom | base64 | tr -d '+/=')}"
    sed "s/@PASSWORD@/$ADMIN_PASSWORD/" "$FUSEKI_HOME/shiro.ini" > "$FUSEKI_BASE/shiro.ini"
fi
"$@" &
until curl --silent --fail --output /dev/null 'http://localhost:3030/$/ping'; do sleep 0.5; done
env | sed -n 's/^FUSEKI_DATASET_[^=]*=//p' | while read -r dataset; do
    curl --silent --user "admin:$ADMIN_PASSWORD" --data "dbName=$dataset&dbType=tdb2" 'http://localhost:3030/$/datasets'
done
wait
