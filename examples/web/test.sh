#!/usr/bin/env bash
# Builds the page and tests it in headless Chromium. Needs Node 20 or later. Fetches Chromium from Debian (or uses the one
# in $CHROMIUM) and playwright-core from npm.
set -euo pipefail
cd "$(dirname "$0")"

if [ -z "${CHROMIUM:-}" ] && ! command -v chromium >/dev/null; then
  sudo=""
  [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get update -qq
  $sudo apt-get install -y -qq chromium
fi
(cd ../.. && cargo clippy --release -p gendr-pix-web --all-targets -- -D warnings)
npm install --no-package-lock --no-audit --no-fund --silent
./build.sh
CHROMIUM=${CHROMIUM:-$(command -v chromium)} node test/page.mjs "$@"
