#!/usr/bin/env bash
# Creates or renews the virtual environment that `make` uses. Called by `make setup`; prints what it does.
#
# Usage: requirements/install.sh VENV
#   PYTHON       interpreter to start from (default python3; 3.10 or newer)
#   TORCH_INDEX  package index for torch (default: a CPU build when there is no NVIDIA driver)
set -euo pipefail
venv=$1
here=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
torch=torch==2.13.0
sam2=sam2==1.1.0
say() { printf '[setup] %s\n' "$*"; }
fail() { printf '[setup] error: %s\n' "$*" >&2; exit 1; }

command -v "$python" >/dev/null || fail "'$python' was not found. Install Python 3.10 or newer (apt install python3 python3-venv), or choose one: make setup PYTHON=python3.12"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
    || fail "$python: expected Python 3.10 or newer, got $("$python" --version 2>&1). Choose another: make setup PYTHON=python3.12"

# TORCH_INDEX is remembered until it is set to something else.
index=${TORCH_INDEX-$(cat "$venv/.torch_index" 2>/dev/null || true)}
key=$( (cat "$here/requirements/lock.txt" "$here/requirements/install.sh" "$here/setup.py"; "$python" --version; echo "$here $index") | sha256sum | cut -d' ' -f1)
if [ "$(cat "$venv/.complete" 2>/dev/null)" = "$key" ]; then
    exit 0
fi

if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    # Debian and Ubuntu package venv separately from Python.
    package=python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv
    if [ "$(id -u)" = 0 ]; then
        run=(env)
    elif sudo -n true 2>/dev/null; then
        run=(sudo -n)
    else
        fail "$python has no venv module. Run: sudo apt install $package (without sudo: apt install $package, as root); then run make again"
    fi
    say "$python has no venv module: installing $package"
    install=("${run[@]}" apt-get install -y -qq "$package")
    output=$({ "${install[@]}" || { "${run[@]}" apt-get update -qq && "${install[@]}"; }; } 2>&1 </dev/null) \
        || fail "$package could not be installed:"$'\n'"$output"
fi

say "virtual environment in $venv"
rm -rf "$venv"
"$python" -m venv "$venv"
pip=("$venv/bin/python" -m pip --quiet --disable-pip-version-check)

if [ -n "$index" ]; then
    say "$torch from $index"
    "${pip[@]}" install "$torch" --index-url "$index"
elif command -v nvidia-smi >/dev/null; then
    say "$torch with CUDA, since an NVIDIA driver was found (about 3 GB)"
    "${pip[@]}" install "$torch"
else
    say "$torch for the CPU (about 200 MB; for CUDA: make setup TORCH_INDEX=https://download.pytorch.org/whl/cu130)"
    "${pip[@]}" install "$torch+cpu" 2>/dev/null \
        || "${pip[@]}" install "$torch" --index-url https://download.pytorch.org/whl/cpu --retries 1 2>/dev/null \
        || { say "no CPU build available; installing the default build instead (about 3 GB)"; "${pip[@]}" install "$torch"; }
fi
say "everything else, as pinned in requirements/lock.txt"
# Some packages have no wheels; building them in the environment needs these two.
"${pip[@]}" install --no-deps $(grep -E '^(setuptools|wheel)==' "$here/requirements/lock.txt")
"${pip[@]}" install --no-deps --no-build-isolation --use-pep517 -r "$here/requirements/lock.txt"
say "$sam2, without torchvision, which its models do not need"
SAM2_BUILD_CUDA=0 "${pip[@]}" install --no-deps --no-build-isolation "$sam2"
# They cannot run without NVIDIA's libraries; a test checks the engine code against both APIs.
for bindings in 10.16.1.11 11.4.0.106; do
    "${pip[@]}" install --no-deps --target "$venv/tensorrt-bindings/${bindings%%.*}" "tensorrt-cu12-bindings==$bindings" 2>/dev/null \
        || say "TensorRT's Python bindings $bindings are not available: their test will be skipped"
done
say "sartm itself, from this checkout"
"${pip[@]}" install --no-deps --no-build-isolation --editable "$here"
echo "$index" >"$venv/.torch_index"
echo "$key" >"$venv/.complete"
say "done: $venv/bin/sartm --help"
