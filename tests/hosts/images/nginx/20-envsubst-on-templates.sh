#!/bin/sh
# /etc/nginx/templates/NAME.template becomes /etc/nginx/conf.d/NAME; only variables that exist are replaced, so nginx's own stay.
set -eu
templates=${NGINX_ENVSUBST_TEMPLATE_DIR:-/etc/nginx/templates}
suffix=${NGINX_ENVSUBST_TEMPLATE_SUFFIX:-.template}
output=${NGINX_ENVSUBST_OUTPUT_DIR:-/etc/nginx/conf.d}
[ -d "$templates" ] || exit 0
if [ ! -w "$output" ]; then
    echo "$0: $templates exists, but $output is not writable" >&2
    exit 0
fi
names=$(env | sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/${\1}/p' | tr '\n' ' ')
find "$templates" -follow -type f -name "*$suffix" | while read -r template; do
    target=$output/${template#"$templates/"}
    target=${target%"$suffix"}
    mkdir -p "$(dirname "$target")"
    envsubst "$names" < "$template" > "$target"
done
