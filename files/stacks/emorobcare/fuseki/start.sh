# Starts Fuseki with one persistent dataset and with our rules of access. Read by the image's bash, as uid 1000.
#
# The rules: ping for everybody (who is in the network `graph`); the dataset for the users admin and api; all else, the pages and the
# administration below /$/, for admin. Without this file Fuseki writes one that lets everybody read.
set -eu
umask 077

# secret NAME: a password, or the end. A comma, a line break or the like would end it early in shiro.ini.
secret() {
    local file=/run/secrets/$1 value
    value=$(< "$file") || { echo "emorobcare: $file cannot be read" >&2; exit 1; }
    if [[ ! $value =~ ^[A-Za-z0-9_.~+/=-]{16,}$ ]]; then
        echo "emorobcare: $file: found a password that is too short or has other characters than letters, digits and _.~+/=-; needed 16 or more of these" >&2
        exit 1
    fi
    printf '%s' "$value"
}

admin=$(secret fuseki_admin_password)
api=$(secret fuseki_api_password)
base=${FUSEKI_BASE:-/fuseki}
mkdir -p "$base/databases/emorobcare"
# Written beside its place and renamed into it; printf is part of bash, so no command line has a password.
printf '%s\n' \
    '# Written at each start by the stack emorobcare.' \
    '[main]' \
    'ssl.enabled = false' \
    'plainMatcher = org.apache.shiro.authc.credential.SimpleCredentialsMatcher' \
    'iniRealm.credentialsMatcher = $plainMatcher' \
    '[users]' \
    "admin = $admin, administration, data" \
    "api = $api, data" \
    '[roles]' \
    '[urls]' \
    '/$/ping = anon' \
    '/emorobcare = authcBasic, roles[data]' \
    '/emorobcare/** = authcBasic, roles[data]' \
    '/** = authcBasic, roles[administration]' \
    > "$base/shiro.ini.new"
mv "$base/shiro.ini.new" "$base/shiro.ini"
unset admin api
exec "${FUSEKI_HOME:-/jena-fuseki}/fuseki-server" --update --tdb2 "--loc=$base/databases/emorobcare" /emorobcare
