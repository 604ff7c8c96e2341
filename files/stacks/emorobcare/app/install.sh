# Fills /opt/venv: requirements.txt, with VARIANT=full the lists that are named as arguments too. torch.txt comes from an index of its own.
set -eu
variant=${VARIANT:-minimal}
index=${TORCH_INDEX_URL:-}
python -m venv /opt/venv
test ! -s /run/secrets/ca.crt || export PIP_CERT=/run/secrets/ca.crt
test -n "${PIP_INDEX_URL:-}" || unset PIP_INDEX_URL
export PIP_PROGRESS_BAR=off PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
case "$variant" in
    minimal) ;;
    full)
        for list in "$@"; do
            if [ "$list" != torch.txt ]; then
                cat "$list" >> requirements.txt
                continue
            fi
            # Alone, so that all else comes from the usual index.
            if [ -n "$index" ]; then
                /opt/venv/bin/python -m pip install --no-deps --index-url "$index" -r torch.txt
            elif [ "$(uname -m)" = aarch64 ]; then
                /opt/venv/bin/python -m pip install --no-deps -r torch.txt
            else
                echo "VARIANT=full on $(uname -m): the default index has torch for CUDA only (several GB);" \
                    "set EMOROBCARE_TORCH_INDEX_URL to an index of CPU wheels" >&2
                exit 1
            fi
        done ;;
    *) echo "VARIANT is $variant; needed minimal or full" >&2; exit 1 ;;
esac
# For the environment development, which publishes its port on the loopback address.
case "${WITH_DEBUGGER:-0}" in
    0) ;;
    1) echo debugpy >> requirements.txt ;;
    *) echo "WITH_DEBUGGER is $WITH_DEBUGGER; needed 0 or 1" >&2; exit 1 ;;
esac
/opt/venv/bin/python -m pip install --only-binary=:all: -c constraints.txt -r requirements.txt
/opt/venv/bin/python -m pip check
# The image needs no installer. setuptools stays where a package asks for it.
/opt/venv/bin/python -m pip uninstall -y pip
