#!/usr/bin/env bash
# The entry point of the PostgreSQL stand-in: written for the test bed, with the official image's interface.
# POSTGRES_PASSWORD, _USER, _DB, _INITDB_ARGS (each also as <name>_FILE), POSTGRES_HOST_AUTH_METHOD, PGDATA,
# and /docker-entrypoint-initdb.d/*.{sh,sql,sql.gz,sql.xz,sql.zst}, run once, when the data directory is empty.
set -Eeuo pipefail

complain() { printf 'Error: %s\n' "$*" >&2; exit 1; }

# from_file NAME DEFAULT: NAME from the environment or from the file that NAME_FILE names; both is a mistake.
from_file() {
    local name=$1 default=${2:-} file_name=${1}_FILE
    if [ -n "${!name:-}" ] && [ -n "${!file_name:-}" ]; then
        complain "both $name and $file_name are set, only one may be"
    elif [ -n "${!file_name:-}" ]; then
        default=$(< "${!file_name}")
    elif [ -n "${!name:-}" ]; then
        default=${!name}
    fi
    export "$name=$default"
    unset "$file_name"
}

# sql ARGUMENT...: psql against the server that runs during initialisation, reachable through its socket only.
sql() {
    PGHOST='' PGHOSTADDR='' PGPASSWORD="$POSTGRES_PASSWORD" \
        psql --variable=ON_ERROR_STOP=1 --username "$POSTGRES_USER" --no-password --no-psqlrc "$@"
}

create_cluster() {
    local -a arguments
    eval "arguments=(${POSTGRES_INITDB_ARGS:-})"
    initdb --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") "${arguments[@]}"
    local method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
    printf '\nhost all all all %s\n' "$method" >> "$PGDATA/pg_hba.conf"
}

run_init_file() {
    local file=$1
    case "$file" in
        *.sh)
            if [ -x "$file" ]; then
                printf '%s: running %s\n' "$0" "$file"; "$file"
            else
                printf '%s: sourcing %s\n' "$0" "$file"; . "$file"
            fi ;;
        *.sql)     printf '%s: running %s\n' "$0" "$file"; sql --dbname "$POSTGRES_DB" --file "$file"; echo ;;
        *.sql.gz)  printf '%s: running %s\n' "$0" "$file"; gunzip -c "$file" | sql --dbname "$POSTGRES_DB"; echo ;;
        *.sql.xz)  printf '%s: running %s\n' "$0" "$file"; xzcat "$file" | sql --dbname "$POSTGRES_DB"; echo ;;
        *.sql.zst) printf '%s: running %s\n' "$0" "$file"; zstd -dc "$file" | sql --dbname "$POSTGRES_DB"; echo ;;
        *)         printf '%s: ignoring %s\n' "$0" "$file" ;;
    esac
}

initialise() {
    if [ -z "${POSTGRES_PASSWORD:-}" ] && [ "${POSTGRES_HOST_AUTH_METHOD:-}" != trust ]; then
        complain "Database is uninitialized and superuser password is not specified.
       You must specify POSTGRES_PASSWORD to a non-empty value for the
       superuser, or POSTGRES_HOST_AUTH_METHOD=trust to let everybody in."
    fi
    create_cluster
    local options="-c listen_addresses='' -p ${PGPORT:-5432}"
    if [ $# -gt 1 ]; then
        options+=" $(printf '%q ' "${@:2}")"
    fi
    pg_ctl --pgdata="$PGDATA" --options="$options" --wait start
    if [ "$POSTGRES_DB" != postgres ]; then
        sql --dbname postgres --set db="$POSTGRES_DB" <<< 'CREATE DATABASE :"db" ;'
        echo
    fi
    local file
    for file in /docker-entrypoint-initdb.d/*; do
        [ ! -e "$file" ] || run_init_file "$file"
    done
    pg_ctl --pgdata="$PGDATA" --mode=fast --wait stop
    printf '\nPostgreSQL init process complete; ready for start up.\n\n'
}

main() {
    if [ "${1:0:1}" = '-' ]; then
        set -- postgres "$@"
    fi
    local wants_help=
    case " $* " in *" -? "*|*" --help "*|*" --describe-config "*|*" -V "*|*" --version "*) wants_help=1 ;; esac

    if [ "${1:-}" = postgres ] && [ -z "$wants_help" ]; then
        mkdir -p "$PGDATA"; chmod 0700 "$PGDATA" 2>/dev/null || :
        if [ "$(id -u)" = 0 ]; then
            find "$PGDATA" /var/run/postgresql \! -user postgres -exec chown postgres '{}' +
            export HOME=/var/lib/postgresql
            exec setpriv --reuid=postgres --regid=postgres --init-groups "$BASH_SOURCE" "$@"
        fi
        from_file POSTGRES_PASSWORD
        from_file POSTGRES_USER postgres
        from_file POSTGRES_DB "$POSTGRES_USER"
        from_file POSTGRES_INITDB_ARGS
        : "${POSTGRES_HOST_AUTH_METHOD:=}"
        if [ -s "$PGDATA/PG_VERSION" ]; then
            printf '\nPostgreSQL Database directory appears to contain a database; Skipping initialization\n\n'
        else
            initialise "$@"
        fi
        unset PGPASSWORD
    fi
    exec "$@"
}

main "$@"
