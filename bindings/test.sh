#!/usr/bin/env bash
# Builds and tests the bindings. Needs cc and Python 3.9 or later; fetches maturin, pytest, numpy and Pillow from PyPI.
set -euo pipefail
cd "$(dirname "$0")"

# Both at once: maturin, which builds with the features of the Python crate alone, then finds most of it built.
cargo test --release -p gendr-pix-c -p gendr-pix-python

target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
venv=$target/python
if ! python3 -c 'import ensurepip' 2>/dev/null; then # a separate package on Debian
  sudo=""
  [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get update -qq
  $sudo apt-get install -y -qq python3-venv
fi
python3 -m venv "$venv"
"$venv/bin/pip" install -q 'maturin>=1.9,<2' numpy pillow pytest
rm -rf "$target/wheels"
"$venv/bin/maturin" build --release --locked -m python/Cargo.toml -o "$target/wheels"
"$venv/bin/pip" install -q --no-deps --force-reinstall "$target"/wheels/gendr_pix-*.whl
"$venv/bin/python" -m pytest -q -p no:cacheprovider python/tests
