#!/usr/bin/env bash
# Builds the page into examples/web/dist. Any static server can serve it from there.
set -euo pipefail
cd "$(dirname "$0")"

target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
version=$(cargo pkgid wasm-bindgen | sed 's/.*[@#]//')
tool=$target/wasm-bindgen-$version/bin/wasm-bindgen

rustup target add wasm32-unknown-unknown
# The tool's version must equal the crate's. Without default features it lacks the browser test runner, which is not needed.
[ -x "$tool" ] || (
  mkdir -p "$target" && cd "$target" # outside of this folder, whose .cargo/config.toml selects WebAssembly
  cargo install wasm-bindgen-cli --version "$version" --no-default-features --target-dir tools --root "${tool%/bin/*}"
)
cargo build --release
rm -rf dist
cp -r page dist
"$tool" --target web --no-typescript --remove-name-section --remove-producers-section --out-dir dist/wasm \
  "$target/wasm32-unknown-unknown/release/gendr_pix_web.wasm"
# Halves the size, whatever the server does. The worker unpacks it. The name does not end in .gz, because some servers would then
# tell the browser to unpack the file as well.
gzip --best --no-name < dist/wasm/gendr_pix_web_bg.wasm > dist/wasm/gendr_pix_web.packed
rm dist/wasm/gendr_pix_web_bg.wasm
