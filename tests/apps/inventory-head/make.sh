#!/bin/sh
# Makes src/thingdb from the stand-in beside this folder: imports become package imports, paths those of HEAD.
set -eu
cd "$(dirname "$0")"
rm -rf src/thingdb
mkdir -p src
cp -R ../inventory/src src/thingdb
find src/thingdb -name __pycache__ -prune -exec rm -rf {} +
for folder in . routes services utils; do : > "src/thingdb/$folder/__init__.py"; done
find src/thingdb -name '*.py' -exec sed -i -E \
    -e 's/^from (config|database|models|routes|services|utils)([. ])/from thingdb.\1\2/' \
    -e 's#/var/lib/inventory#/var/lib/thingdb#g' {} +
sed -i 's/"1\.4\.3"/"1.4.17"/' src/thingdb/config.py
sed -i 's/^    statements = ($/&\n        "CREATE TABLE IF NOT EXISTS _schema_version (version int PRIMARY KEY, description text, applied_at timestamp DEFAULT now())",/' src/thingdb/database.py
grep -q _schema_version src/thingdb/database.py
# HEAD verifies no packages, and does not name cryptography.
sed -i '/^from cryptography /d' src/thingdb/routes/admin_routes.py
# HEAD looks for three environment files.
sed -i -e 's#^ENV_FILES = .*#ENV_FILES = ("/var/lib/thingdb/app/.env", ".env", "../.env")#' -e '/^             "\/var.*environment\.env")$/d' src/thingdb/main.py
grep -A 1 '"\.\./\.env")$' src/thingdb/main.py | tail -n 1 | grep -q '^for '
