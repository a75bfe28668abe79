#!/bin/sh
# Makes a virtual environment with torch in it: environment.sh PYTHON VENV TORCH_VERSION
set -e
python=$1 venv=$2 torch=$3

if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    package="$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq && apt-get install -qq -y "$package"
    else
        echo "The Debian package $package (Python's venv module) is missing; install it, e.g.: sudo apt install $package" >&2
        exit 1
    fi
fi
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"

# Without an NVIDIA GPU the CPU build of torch does: a tenth of the download. PyTorch's own index has it; where that
# cannot be reached (PyPI mirrors, closed networks) whatever the configured index offers is taken.
index=https://download.pytorch.org/whl/cpu
if command -v nvidia-smi >/dev/null 2>&1; then
    "$venv/bin/pip" install --quiet "torch==$torch"
elif "$venv/bin/python" -c "import urllib.request; urllib.request.urlopen('$index/torch/', timeout=5)" 2>/dev/null; then
    "$venv/bin/pip" install --quiet --extra-index-url "$index" "torch==$torch"
else
    "$venv/bin/pip" install --quiet "torch==$torch"
fi
