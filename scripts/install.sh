#!/usr/bin/env bash
# Make a virtual environment and install this checkout into it, editable.
#   scripts/install.sh PYTHON VENV [EXTRA]
# Whatever the machine lacks is named in one line; pip reads the user's own configuration.
set -euo pipefail

python=$1 venv=$2 extra=${3:-}

fail() {
    echo "error: $*" >&2
    exit 1
}

command -v "$python" >/dev/null || fail "$python is not installed: install Python 3.10 or newer, or pass PYTHON=…"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    fail "$("$python" --version) is too old: heartopt needs Python 3.10 or newer (pass PYTHON=…)"
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$python cannot make virtual environments: install them (Debian, Ubuntu: apt install python3-venv)"

if [ "$extra" = dev ]; then # pesq has no wheel
    header='import os, sysconfig; print(os.path.join(sysconfig.get_paths()["include"], "Python.h"))'
    command -v "${CC:-cc}" >/dev/null || command -v gcc >/dev/null ||
        fail "no C compiler, which the package pesq is built with: install one (Debian, Ubuntu: apt install gcc)"
    [ -f "$("$python" -c "$header")" ] ||
        fail "no Python headers, which the package pesq is built with: install them (Debian, Ubuntu: apt install python3-dev)"
fi

"$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$python" -m venv --clear "$venv"
echo "installing heartopt${extra:+[$extra]} into $venv (PyTorch is large: this can take some minutes)"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable ".${extra:+[$extra]}"
