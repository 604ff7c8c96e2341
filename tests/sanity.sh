#!/usr/bin/env bash
# What others will ask of the collection: tests/sanity.sh [--fresh]
# Builds it, looks at what is inside, and runs ansible-test sanity (also on the newest ansible-core where a Python for
# it is on the machine, with the unit tests), galaxy-importer and antsibull-docs on it. Prints only what is wrong.
# A second run on the same content answers from .cache/sanity/green; --fresh runs everything again.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$PWD/.venv/bin
cache=$PWD/.cache/sanity
home=$cache/ansible_collections/dockyard/fleet
import_venv=$PWD/.cache/importer-venv
newest_venv=$PWD/.cache/newest-core-venv
days_to_keep_newest=7
failed=0

mkdir -p "$cache/logs"
exec 9>"$cache/lock" </dev/null
flock 9
export ANSIBLE_HOME=$PWD/.cache/ansible PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONWARNINGS=ignore
unset ANSIBLE_CONFIG

# say_wrong LABEL LOG PATTERN: the lines of the log that name problems; the end of it when there are none
say_wrong() {
    failed=1
    echo "sanity: $1 (log: ${2#"$PWD"/})"
    grep -E "$3" "$2" || tail -n 25 "$2"
}

# environment FOLDER PYTHON REQUIREMENTS: a venv that holds exactly what the file says, made again when the file changes
environment() {
    local wanted
    wanted=$(cat "$3" <("$2" --version) | sha256sum)
    [ "$(cat "$1/.ready" 2>/dev/null)" = "$wanted" ] && return
    rm -rf "$1"
    "$2" -m venv "$1" && "$1/bin/python" -m pip install --quiet --requirement "$3" && echo "$wanted" >"$1/.ready"
}

# The Pythons at hand, in a folder of their own: pyenv's shims stand in PATH for versions that then refuse to run.
pythons() {
    local minor candidate found
    local versions=${PYENV_ROOT:-$HOME/.pyenv}/versions
    if command -v pyenv >/dev/null; then versions=$(pyenv root)/versions; fi
    rm -rf "$cache/pythons" && mkdir -p "$cache/pythons"
    for minor in 9 10 11 12 13 14; do
        for candidate in $(type -ap "python3.$minor") $(printf '%s\n' "$versions/3.$minor."*/bin/python3."$minor" | sort -rV); do
            if found=$("$candidate" -c 'import ensurepip, ssl, sys, venv; print(sys._base_executable)' 2>/dev/null); then
                ln -s "$found" "$cache/pythons/python3.$minor"
                echo "3.$minor"
                break
            fi
        done
    done
}

# ansible-test fetches get-pip.py from one host of its own, which not every network reaches. The same file is made here
# from the wheel of the pip version that it names, unless it is already there.
get_pip() {
    local python=$1 version target
    shift
    for version in $("$python" - "$@" <<'PY'
import sys
import types
from ansible_test._internal.python_requirements import get_venv_packages
print(*sorted({get_venv_packages(types.SimpleNamespace(version=version))["pip"] for version in sys.argv[1:]}))
PY
    ); do
        target=$HOME/.ansible/test/cache/get_pip_${version//./_}.py
        [ -e "$target" ] && continue
        mkdir -p "${target%/*}" "$cache/wheels"
        "$python" -m pip download --quiet --no-deps --only-binary :all: --dest "$cache/wheels" "pip==$version" 2>>"$cache/logs/get-pip"
        "$python" - "$cache/wheels/pip-$version-py3-none-any.whl" "$target" <<'PY'
import base64
import os
import sys

wheel, target = sys.argv[1:]
with open(wheel, "rb") as file:
    data = base64.b64encode(file.read()).decode()
text = f'''"""Installs pip from the wheel inside this file, as get-pip.py does. Written by tests/sanity.sh of dockyard.fleet."""
import atexit
import base64
import os
import shutil
import sys
import tempfile

WHEEL = "{data}"

folder = tempfile.mkdtemp()
atexit.register(shutil.rmtree, folder, True)
path = os.path.join(folder, "{os.path.basename(wheel)}")
with open(path, "wb") as file:
    file.write(base64.b64decode(WHEEL))
sys.path.insert(0, path)
arguments = [a for a in sys.argv[1:] if a not in ("--no-setuptools", "--no-wheel") and not a.startswith("pip==")]
from pip._internal.cli.main import main

sys.exit(main(["install", *arguments, path]))
'''
with open(target + ".new", "w") as file:
    file.write(text)
os.replace(target + ".new", target)
PY
    done
}

# ansible-test hands none of pip's variables on, so what this machine needs (an index, a CA, a proxy) goes into a pip.conf
# of a home folder made for it; its own caches stay in the real one.
pip_home() {
    mkdir -p "$cache/home/.config/pip" "$HOME/.ansible"
    ln -sfn "$HOME/.ansible" "$cache/home/.ansible"
    "$bin/python" -m pip config list | "$bin/python" -c '
import ast
import os
import re
import sys

found = {}
for line in sys.stdin:
    match = re.match(r"(global|:env:)\.([a-z-]+)=(.*)$", line.strip())
    if match and match[2] not in ("config-file", "no-input"):
        found[match[2]] = ast.literal_eval(match[3])
for option, names in (("cert", ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")), ("proxy", ("HTTPS_PROXY", "https_proxy"))):
    value = next((os.environ[name] for name in names if os.environ.get(name)), None)
    if value:
        found.setdefault(option, value)
print("[global]")
for option, value in found.items():
    print(option, "=", value.replace("\n", "\n    "))
' >"$cache/home/.config/pip/pip.conf"
}

# ansible_test LABEL BIN
ansible_test() {
    local log=$cache/logs/$1
    if ! (cd "$home" && HOME="$cache/home" PATH="$cache/pythons:$2:$PATH" "$2/ansible-test" sanity --local --color no --truncate 0 >"$log" 2>&1); then
        say_wrong "ansible-test, $1" "$log" '^(ERROR|FATAL)'
    fi
    # A Python that is not there is no news: those that are get named.
    { grep -E 'Skipping sanity test|Required program' "$log" | grep -v 'could not be found' || true; } >"$log.skipped"
}

# 1. The tarball, built as a user builds it: in the work tree with everything that lies there.
build=$cache/build
rm -rf "$build" && mkdir -p "$build"
if ! "$bin/ansible-galaxy" collection build --force --output-path "$build" . >"$cache/logs/build" 2>&1; then
    say_wrong "the collection can't be built" "$cache/logs/build" '^ERROR|\[ERROR\]'
    exit 1
fi
tarball=$(ls "$build"/*.tar.gz)
tar -tzf "$tarball" | grep -v '/$' | sort >"$cache/content"
git ls-files -co --exclude-standard | sort >"$cache/known"
strangers=$(comm -23 "$cache/content" "$cache/known" | grep -vxE 'MANIFEST.json|FILES.json' || true)
strangers+=$(grep -E '(^|/)(\.venv[^/]*|\.git|\.ci|\.cache|\.ansible|\.dockyard|\.pytest_cache|__pycache__)(/|$)|^tests/output/' "$cache/content" | sed 's/^/\n/' || true)
if [ -n "$strangers" ]; then
    failed=1
    echo "sanity: the built collection holds what does not belong there; add it to build_ignore in galaxy.yml:"
    echo "$strangers" | grep . | sort -u | head -n 20
fi
for needed in README.md LICENSE meta/runtime.yml meta/execution-environment.yml changelogs/changelog.yaml; do
    grep -qxF "$needed" "$cache/content" || { failed=1; echo "sanity: the built collection has no $needed"; }
done

# 2. The newest core that a Python of this machine can run.
available=$(pythons)
newest_python=$(echo "$available" | awk -F. '$2 >= 12' | tail -n 1)
core=$("$bin/python" -c 'import ansible.release as r; print(r.__version__)')
newest=
if [ -n "$newest_python" ]; then
    if [ -z "$(find "$newest_venv/.ready" -mtime "-$days_to_keep_newest" -newer requirements.txt 2>/dev/null)" ] ||
        [ ! -x "$newest_venv/bin/python$newest_python" ]; then
        if [ ! -x "$newest_venv/bin/python$newest_python" ]; then
            rm -rf "$newest_venv"
            "$cache/pythons/python$newest_python" -m venv "$newest_venv"
        fi
        mapfile -t needed < <(grep -E '^(pytest|pytest-xdist|jsonschema|boto3|moto.*|Flask|flask-cors)==' requirements.txt)
        if "$newest_venv/bin/python" -m pip install --quiet --upgrade ansible-core "${needed[@]}" >"$cache/logs/newest-core-pip" 2>&1; then
            touch "$newest_venv/.ready"
        elif [ ! -e "$newest_venv/.ready" ]; then
            say_wrong "the newest ansible-core can't be installed" "$cache/logs/newest-core-pip" '^ERROR'
        fi
    fi
    mkdir -p "$newest_venv/lib/python$newest_python/site-packages/ansible_collections/dockyard"
    ln -sfn "$PWD" "$newest_venv/lib/python$newest_python/site-packages/ansible_collections/dockyard/fleet"
    newest=$("$newest_venv/bin/python" -c 'import ansible.release as r; print(r.__version__)' 2>/dev/null || true)
fi
[ "$newest" != "$core" ] || newest=

# 3. Nothing to do when this content was found good by these tools.
key=$( (tar -xOzf "$tarball" MANIFEST.json FILES.json; cat "$0" requirements.txt requirements-importer.txt; echo "$available $core $newest") | sha256sum)
if [ "${1:-}" != --fresh ] && [ "$failed" = 0 ] && [ "$(head -n 1 "$cache/green" 2>/dev/null)" = "$key" ]; then
    tail -n +2 "$cache/green" | sed 's/$/ (same content as at its last run)/'
    exit 0
fi
rm -f "$cache/green"

# 4. Unpacked as a git repository, since ansible-test asks git which files there are.
rm -rf "$home" && mkdir -p "$home"
tar -xzf "$tarball" -C "$home"
(cd "$home" && git init --quiet && git add --all --force)

# 5. galaxy-importer and the documentation's own linter, beside the rest.
beside=$cache/logs/beside
(
    set +e
    failed=0
    if ! environment "$import_venv" "$("$bin/python" -c 'import sys; print(sys._base_executable)')" requirements-importer.txt >"$beside.pip" 2>&1; then
        say_wrong "the packages of requirements-importer.txt can't be installed" "$beside.pip" '^ERROR'
        exit 1
    fi
    export PATH=$import_venv/bin:$PATH
    log=$cache/logs/galaxy-importer
    if ! (cd "$cache" && GALAXY_IMPORTER_CONFIG=/dev/null "$import_venv/bin/python" -m galaxy_importer.main "$tarball" >"$log" 2>&1) \
        || grep -qE '^(WARNING|ERROR|CRITICAL)' "$log"; then
        say_wrong galaxy-importer "$log" '^(WARNING|ERROR|CRITICAL)'
    fi
    log=$cache/logs/antsibull-docs
    # The collections that galaxy.yml names come inside the controller's environment.
    dependencies=$("$bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    if ! (cd "$home" && ANSIBLE_COLLECTIONS_PATH=$cache:$dependencies "$import_venv/bin/antsibull-docs" lint-collection-docs --plugin-docs . >"$log" 2>&1); then
        say_wrong antsibull-docs "$log" '^[^ ]+:[0-9]+:[0-9]+:'
    fi
    exit "$failed"
) >"$beside" 2>&1 &
beside_pid=$!

# 6. ansible-test and, on the newest core, the unit tests.
pip_home
# shellcheck disable=SC2086
get_pip "$bin/python" $available
ansible_test "core-$core" "$bin"
if [ -n "$newest" ]; then
    # shellcheck disable=SC2086
    get_pip "$newest_venv/bin/python" $available
    ansible_test "core-$newest" "$newest_venv/bin"
    if ! "$newest_venv/bin/python" -m pytest tests/unit -q -p no:cacheprovider -n auto >"$cache/logs/units" 2>&1; then
        say_wrong "unit tests, core $newest on Python $newest_python" "$cache/logs/units" '^(FAILED|ERROR|[0-9]+ failed)'
    fi
fi
wait "$beside_pid" || failed=1
cat "$beside"

# 7. What was said, by whom.
[ "$failed" = 0 ] || { echo "sanity: found problems"; exit 1; }
skipped=$(grep -hoE '"[^"]+"' "$cache/logs/core-$core.skipped" | tr -d '"' | sort -u | xargs || true)
{
    echo "$key"
    if [ -n "$newest" ]; then
        echo "newest core: $newest on Python $newest_python, sanity and unit tests passed: $(tail -n 1 "$cache/logs/units")"
    elif [ -n "$newest_python" ]; then
        echo "newest core: the environment's own, $core"
    else
        echo "newest core: no newer Python on this machine"
    fi
    echo "sanity: nothing to report from ansible-test $core (Pythons ${available//$'\n'/ }${skipped:+; it skipped $skipped}), galaxy-importer, antsibull-docs"
} >"$cache/green"
tail -n +2 "$cache/green"
