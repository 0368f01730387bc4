#!/usr/bin/env bash
# All GPU figures that the README has a place for, on a machine with an NVIDIA driver and no Rust. Elsewhere:
#
#     cargo build --release --features cuda,latent --example measure --example efficiency --example soak --example upscale
#     mkdir gpu && cp assets/sample.jpg benches/gpu.sh benches/compare/{gpu,pytorch_unet}.py gpu
#     for it in measure efficiency soak upscale; do strip -o gpu/$it target/release/examples/$it; done
#
# There:
#
#     bash gpu/gpu.sh OUT     # logs and JSON go into the folder OUT
#
# NVRTC (libnvrtc.so) must be in the loader's path; it comes with the CUDA toolkit and with PyTorch. Where Python has torch and
# diffusers, PyTorch is measured beside. Tuning and compiled kernels are kept in OUT/cubecl: each step times warm kernels, and
# a second run begins with them. Other machines: BACKEND, PRECISION, MODEL and LIMIT (seconds of a step) in the environment.
# Not run on a GPU yet.
set -uo pipefail
bin=$(cd "$(dirname "$0")" && pwd)
mkdir -p "${1:?the folder for the logs}" && cd "$1" || exit 1
model=(--model "${MODEL:-sd21}")
backend=(--backend "${BACKEND:-cuda}")
device=("${backend[@]}" --precision "${PRECISION:-bf16}")
failed=0

cat > cubecl.toml <<TOML
[autotune]
cache = { file = "$PWD/cubecl" }
[compilation]
cache = { file = "$PWD/cubecl" }
TOML

# Each step has its own log; one that fails does not stop the others.
step() {
  local name=$1
  shift
  printf '\n== %s (%s s): %s\n' "$name" "$SECONDS" "$*" | tee "$name.log"
  timeout "${LIMIT:-240}" "$@" 2>&1 | tee -a "$name.log" || failed=$((failed + 1))
}

step machine nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv
# Whether the device computes right at all.
step self-test "$bin/upscale" "$bin/sample.jpg" -o large.png "${backend[@]}"
# 3840x2160 whole, without guidance and with PadCFG: to be at most 0.9 s and 5.0 GB, 1.8 s and 6.0 GB.
step 4k "$bin/measure" "${model[@]}" "${device[@]}" --size 3840x2160 --runs 5
step 4k-padcfg "$bin/measure" "${model[@]}" "${device[@]}" --size 3840x2160 --guidance 1.5 --runs 5
# 7680x4320 whole.
step 8k "$bin/measure" "${model[@]}" "${device[@]}" --size 7680x4320 --runs 1
# The paper's table: GenDR, GenDR-Adc, GenDR-Pix, and that without guidance.
step efficiency "$bin/efficiency" "${model[@]}" "${device[@]}" --size 512x512 --runs 5 --json efficiency.json
step efficiency-4k "$bin/efficiency" "${model[@]}" "${device[@]}" --size 3840x2160 --runs 3 --json efficiency-4k.json
# Memory over 200 pictures of mixed sizes, as it is, and given back after each.
step soak "$bin/soak" "${model[@]}" "${device[@]}" --pictures 200 --longest 1024
step soak-trim "$bin/soak" "${model[@]}" "${device[@]}" --pictures 200 --longest 1024 --trim
# PyTorch beside ours, in turns.
if python3 -c 'import torch, diffusers' 2>/dev/null; then
  ours=("$bin/gpu.py" --measure "$bin/measure" "${device[@]}")
  LIMIT=600 step pytorch-4k python3 "${ours[@]}" --size 3840x2160 --rounds 2 --runs 5 --json pytorch-4k.json
  LIMIT=600 step pytorch-1k python3 "${ours[@]}" --size 1024x1024 --rounds 2 --runs 10 --json pytorch-1k.json
fi
# Windows, other precisions, the bundled model's size.
step 4k-window "$bin/measure" "${model[@]}" "${device[@]}" --size 3840x2160 --window 64 --runs 5
step 4k-f16 "$bin/measure" "${model[@]}" "${backend[@]}" --precision f16 --size 3840x2160 --runs 5
step 4k-f32 "$bin/measure" "${model[@]}" "${backend[@]}" --precision f32 --size 3840x2160 --runs 3
step nano "$bin/measure" --model nano "${device[@]}" --size 1920x1080,3840x2160,7680x4320 --runs 5
printf '\nall steps in %s s, %s failed\n' "$SECONDS" "$failed"
exit "$((failed > 0))"
