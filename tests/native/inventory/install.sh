#!/usr/bin/env bash
# Installs the application natively, as its own deploy scripts do: install.sh rc8|head, as root on a bookworm test host.
# ../README.md says what stands in for what. A second run keeps the database, its data and the secrets.
set -euo pipefail

usage() { echo "usage: install.sh rc8|head" >&2; exit 2; }
die() { echo "install.sh: $1" >&2; exit 1; }

layout=${1:-}
case $layout in
rc8)
    root=/var/lib/inventory unit=inventory-app.service user=inventory database=inventory_db role=inventory url=https://127.0.0.1
    ;;
head)
    root=/var/lib/thingdb unit=thingdb.service user=thingdb database=thingdb role=thingdb url=https://127.0.0.1:5000
    ;;
*) usage ;;
esac
[ "$(id -u)" = 0 ] || die "must run as root"
. /etc/os-release
[ "${VERSION_CODENAME:-}" = bookworm ] || die "this is ${PRETTY_NAME:-an unknown system}; the native layouts are made on Debian 12 (bookworm)"

here=$(cd "$(dirname "$0")" && pwd)
tests=$(dirname "$(dirname "$here")")
source=$tests/apps/inventory
locale=${NATIVE_LOCALE:-en_GB.UTF-8}
tunnel=6f1b0c52-2f7e-4b0e-9d3a-5f0c1d2e3a4b
hostname=things.native.test
marker=/etc/dockyard-native-test
for needed in "$source/src/main.py" "$tests/hosts/images/cloudflared/cloudflared.py"; do
    [ -e "$needed" ] || die "$needed is not there; ../bring copies it"
done
app=$root/app
venv=$app/venv

step() { echo "$EPOCHREALTIME $began $1" | awk '{printf "%5.1f s ", $1 - $2; $1 = $2 = ""; print}'; }
began=$EPOCHREALTIME

export DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes

# ---- packages ------------------------------------------------------------------------------------------------------
packages=(postgresql-15 python3-venv python3-yaml openssl)
# HEAD serves TLS by itself.
[ "$layout" != rc8 ] || packages+=(nginx-light)
installed() { [ "$(dpkg-query -W -f '${Status}\n' "$@" 2>/dev/null | grep -c '^install ok installed$')" = $# ]; }
if ! installed "${packages[@]}" locales; then
    apt-get update -qq
    # The cluster is made with the language of the moment: locales first, else it would be SQL_ASCII.
    apt-get install -qq -y --no-install-recommends locales >/dev/null
    sed -i "s/^# *\(${locale/./\\.} .*\)/\1/" /etc/locale.gen
    locale-gen >/dev/null 2>&1
    update-locale LANG="$locale"
    LANG=$locale apt-get install -qq -y --no-install-recommends "${packages[@]}" >/dev/null
fi
deb=$(find "$tests/native/packages" -name 'postgresql-15-pgvector_*.deb' -print -quit 2>/dev/null || true)
[ -z "$deb" ] || installed postgresql-15-pgvector || dpkg --install "$deb" >/dev/null
step "packages"

# ---- user, places --------------------------------------------------------------------------------------------------
id "$user" >/dev/null 2>&1 || useradd -r -s /bin/false -d "/home/$user" "$user"
install -d -m 0755 "$root" "$app" "$root/images" "$root/cache" "$root/cache/models" "$root/backups" "$root/ssl"
install -d -m 0755 -o "$user" -g "$user" "/home/$user"
if [ "$layout" = rc8 ]; then
    install -d -m 0755 "$root/config" "$root/ml_cache" /etc/inventory
fi
printf 'layout=%s\nroot=%s\nunit=%s\nuser=%s\ndatabase=%s\nrole=%s\nurl=%s\n' "$layout" "$root" "$unit" "$user" "$database" "$role" "$url" > "$marker"

# ---- the application -----------------------------------------------------------------------------------------------
if [ "$layout" = rc8 ]; then
    cp -R "$source/src/." "$app/"
    cp -R "$source/requirements" "$app/"
else
    sh "$tests/apps/inventory-head/make.sh"
    cp -R "$tests/apps/inventory-head/src" "$tests/apps/inventory-head/pyproject.toml" "$app/"
fi
find "$app" -name __pycache__ -prune -exec rm -rf {} +
if [ ! -x "$venv/bin/gunicorn" ]; then
    python3 -m venv "$venv"
    # What its list for ML names besides torch; without torch the application runs, semantic search is off.
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$source/requirements/base-requirements.txt" psutil==7.0.0 numpy==2.2.6
fi
step "application"

# ---- secrets and the environment file ------------------------------------------------------------------------------
if [ "$layout" = rc8 ]; then
    password=inventory_pi_2024
    cat > "$root/config/environment.env" <<END
# Inventory System Environment Configuration
POSTGRES_HOST=localhost
POSTGRES_PORT=5432
POSTGRES_USER=$role
POSTGRES_PASSWORD=$password
POSTGRES_DB=$database

FLASK_ENV=production
SECRET_KEY=inventory_production_secret_key_change_in_production
RELEASE_CANDIDATE=RC8

IMAGE_STORAGE_METHOD=filesystem
IMAGE_DIR=$root/images

TRANSFORMERS_CACHE=$root/ml_cache
HF_HOME=$root/ml_cache

CF_WORKER_URL=https://register.native.test
CF_DEVICE_CERT_PATH=/etc/inventory/device.crt
END
    chmod 0644 "$root/config/environment.env"
else
    if [ -f "$app/.env" ]; then
        password=$(sed -n 's/^POSTGRES_PASSWORD=//p' "$app/.env")
    else
        password=$(openssl rand -hex 16)
        cat > "$app/.env" <<END
# ThingDB configuration
POSTGRES_HOST=localhost
POSTGRES_PORT=5432
POSTGRES_USER=$role
POSTGRES_PASSWORD=$password
POSTGRES_DB=$database
SECRET_KEY=$(openssl rand -hex 32)
FLASK_DEBUG=0
IMAGE_STORAGE_METHOD=filesystem
IMAGE_DIR=$root/images
END
    fi
    chmod 0644 "$app/.env"
fi

# ---- certificates --------------------------------------------------------------------------------------------------
if [ ! -f "$root/ssl/cert.pem" ]; then
    (umask 077 && openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj "/C=US/O=Inventory System/CN=$(hostname)" \
        -addext "subjectAltName=DNS:$(hostname),DNS:localhost,IP:127.0.0.1" -keyout "$root/ssl/key.pem" -out "$root/ssl/cert.pem" 2>/dev/null)
    chmod 0644 "$root/ssl/cert.pem"
    [ "$layout" = rc8 ] || date -u +%FT%TZ > "$root/ssl/.thingdb_marker"
fi

# ---- the model's cache, in the shape of huggingface_hub's: blobs, and snapshots that link to them -------------------
model=$root/cache/models/models--sentence-transformers--all-MiniLM-L6-v2
if [ ! -d "$model" ]; then
    snapshot=$model/snapshots/c9745ed1d9f207416be6d2e6f8de32d1f16199bf
    mkdir -p "$model/blobs" "$model/refs" "$snapshot/1_Pooling"
    printf 'c9745ed1d9f207416be6d2e6f8de32d1f16199bf' > "$model/refs/main"
    number=0
    for file in config.json modules.json tokenizer.json model.safetensors 1_Pooling/config.json; do
        number=$((number + 1))
        blob=$(printf '%040d' "$number")
        size=$((number * 400)); [ "$file" != model.safetensors ] || size=$((4 * 1024 * 1024))
        # Bytes that are the same each time
        openssl enc -aes-128-ctr -K "$(printf '%032d' "$number")" -iv "$(printf '%032d' 0)" -in /dev/zero 2>/dev/null \
            | head -c "$size" > "$model/blobs/$blob" || true
        if [ "${file%/*}" = "$file" ]; then up=../..; else up=../../..; fi
        ln -s "$up/blobs/$blob" "$snapshot/$file"
    done
fi
chown -R "$user:$user" "$app" "$root/images" "$root/cache" "$root/backups" "$root/ssl"
if [ "$layout" = rc8 ]; then
    chown -R "$user:$user" "$root/config" "$root/ml_cache"
fi
chmod 0600 "$root/ssl/key.pem"

# ---- database ------------------------------------------------------------------------------------------------------
systemctl start postgresql
sql() { (cd / && runuser -u postgres -- psql -X -q -v ON_ERROR_STOP=1 "$@"); }
for attempt in $(seq 50); do
    sql -c 'SELECT 1' >/dev/null 2>&1 && break
    [ "$attempt" != 50 ] || die "PostgreSQL does not answer on its socket; journalctl -u postgresql@15-main"
    sleep 0.2
done
# By standard input: a command line can be read by everybody.
sql <<END
SELECT format('CREATE ROLE %I LOGIN', '$role') WHERE NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '$role') \gexec
ALTER ROLE $role PASSWORD '$password';
SELECT 'CREATE DATABASE $database OWNER $role' WHERE NOT EXISTS (SELECT 1 FROM pg_database WHERE datname = '$database') \gexec
END
step "database"

# ---- the application's unit ----------------------------------------------------------------------------------------
if [ "$layout" = rc8 ]; then
    description="Inventory Management System"
    environment="EnvironmentFile=$root/config/environment.env"
    start="$venv/bin/gunicorn --preload --workers 2 --bind 127.0.0.1:8000 main:app"
else
    description="ThingDB"
    environment="Environment=PYTHONPATH=$app/src"
    start="$venv/bin/gunicorn --workers 2 --timeout 600 --preload --bind 0.0.0.0:5000"
    start+=" --certfile $root/ssl/cert.pem --keyfile $root/ssl/key.pem thingdb.main:app"
fi
cat > "/etc/systemd/system/$unit" <<END
[Unit]
Description=$description
After=network.target postgresql.service
Wants=postgresql.service

[Service]
User=$user
Group=$user
WorkingDirectory=$app
Environment=PATH=$venv/bin:/usr/bin:/bin
$environment
ExecStart=$start
Restart=always
RestartSec=3
StandardOutput=journal
StandardError=journal

[Install]
WantedBy=multi-user.target
END

# ---- nginx with TLS before it, and the tunnel ----------------------------------------------------------------------
if [ "$layout" = rc8 ]; then
    cat > /etc/nginx/sites-available/inventory <<END
server {
    listen 80 default_server;
    server_name _;
    return 301 https://\$host\$request_uri;
}
server {
    listen 443 ssl default_server;
    server_name _;
    ssl_certificate $root/ssl/cert.pem;
    ssl_certificate_key $root/ssl/key.pem;
    ssl_protocols TLSv1.2 TLSv1.3;
    client_max_body_size 25M;
    location /images/ {
        alias $root/images/;
    }
    location / {
        proxy_pass http://127.0.0.1:8000;
        proxy_set_header Host \$host;
        proxy_set_header X-Real-IP \$remote_addr;
        proxy_set_header X-Forwarded-For \$proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto \$scheme;
        proxy_read_timeout 300s;
    }
}
END
    ln -sf ../sites-available/inventory /etc/nginx/sites-enabled/inventory
    rm -f /etc/nginx/sites-enabled/default
    origin=https://localhost:443
else
    origin=https://localhost:5000
fi
{ echo '#!/usr/bin/python3 -BI'; cat "$tests/hosts/images/cloudflared/cloudflared.py"; } > /usr/local/bin/cloudflared.new
chmod 0755 /usr/local/bin/cloudflared.new && mv /usr/local/bin/cloudflared.new /usr/local/bin/cloudflared
install -d -m 0755 /etc/cloudflared
install -d -m 0700 -o "$user" -g "$user" "/home/$user/.cloudflared"
credentials=/home/$user/.cloudflared/$tunnel.json
if [ ! -f "$credentials" ]; then
    (umask 077 && printf '{"AccountTag":"%s","TunnelSecret":"%s","TunnelID":"%s"}\n' \
        699d98642c564d2e855e9661899b7252 "$(openssl rand -base64 32)" "$tunnel" > "$credentials")
    chown "$user:$user" "$credentials"
fi
cat > /etc/cloudflared/config.yml <<END
tunnel: $tunnel
credentials-file: $credentials
ingress:
  - hostname: $hostname
    service: $origin
    originRequest:
      noTLSVerify: true
  - service: http_status:404
END
cat > /etc/systemd/system/cloudflared.service <<END
[Unit]
Description=cloudflared
After=network-online.target
Wants=network-online.target

[Service]
# TUNNEL_EDGE, where a test has an edge for the stand-in
EnvironmentFile=-/etc/default/cloudflared
ExecStart=/usr/local/bin/cloudflared --no-autoupdate --config /etc/cloudflared/config.yml tunnel run
Restart=on-failure
RestartSec=5

[Install]
WantedBy=multi-user.target
END
if [ "$layout" = rc8 ]; then
    printf '{"tunnel_id": "%s", "hostname": "%s", "device": "pi-10000000abcdef01"}\n' "$tunnel" "$hostname" > "$root/tunnel_config.json"
    chown "$user:$user" "$root/tunnel_config.json"
    [ -f /etc/inventory/device.crt ] || openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj "/CN=pi-10000000abcdef01" \
        -keyout /dev/null -out /etc/inventory/device.crt 2>/dev/null
fi

# ---- start ---------------------------------------------------------------------------------------------------------
systemctl daemon-reload
units=("$unit" cloudflared.service)
[ "$layout" != rc8 ] || units+=(nginx.service)
systemctl enable --quiet "${units[@]}"
systemctl restart "${units[@]}"
for attempt in $(seq 100); do
    answer=$(curl -ks --max-time 5 "$url/health" || true)
    case $answer in *'"healthy"'*) break ;; esac
    [ "$attempt" != 100 ] || { journalctl -u "$unit" -n 40 --no-pager >&2; die "$url/health does not say healthy after 20 s: ${answer:-no answer}"; }
    sleep 0.2
done
step "serving: $url/health"
