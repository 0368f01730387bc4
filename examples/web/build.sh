#!/usr/bin/env bash
# Builds the page into examples/web/dist, from where any static server can serve it.
set -euo pipefail
cd "$(dirname "$0")"

target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
version=$(cargo pkgid wasm-bindgen | sed 's/.*[@#]//')
tool=$target/wasm-bindgen-$version/bin/wasm-bindgen

rustup target add wasm32-unknown-unknown
# Its version must be that of the crate. Without its default features it lacks the runner of tests in browsers.
[ -x "$tool" ] || (
  mkdir -p "$target" && cd "$target" # out of reach of .cargo/config.toml here, which is for WebAssembly
  cargo install wasm-bindgen-cli --version "$version" --no-default-features --target-dir tools --root "${tool%/bin/*}"
)
cargo build --release
rm -rf dist
cp -r page dist
"$tool" --target web --no-typescript --remove-name-section --remove-producers-section --out-dir dist/wasm \
  "$target/wasm32-unknown-unknown/release/gendr_pix_web.wasm"
# Half of its weight, whatever the server does. The worker unpacks it. Not by the name .gz: some servers would tell the browser
# to unpack it, too.
gzip --best --no-name < dist/wasm/gendr_pix_web_bg.wasm > dist/wasm/gendr_pix_web.packed
rm dist/wasm/gendr_pix_web_bg.wasm
