#!/usr/bin/env bash
# Measures all GPU figures that the README lists. The machine needs an NVIDIA driver but no Rust. Build on another machine:
#
#     cargo build --release --features cuda,latent --example measure --example efficiency --example soak --example upscale
#     mkdir gpu && cp assets/sample.jpg benches/gpu.sh benches/compare/{gpu,pytorch_unet}.py gpu
#     for it in measure efficiency soak upscale; do strip -o gpu/$it target/release/examples/$it; done
#
# Run on the GPU machine:
#
#     bash gpu/gpu.sh OUT     # writes logs and JSON to the folder OUT
#
# NVRTC (libnvrtc.so) must be in the path of the loader; it is part of the CUDA toolkit and of PyTorch. If Python has torch and
# diffusers, the script also measures PyTorch. The results of autotuning and the compiled kernels are stored in OUT/cubecl, so each
# step times warm kernels, and a second run starts with them. The environment variables BACKEND, PRECISION, MODEL and LIMIT (seconds
# per step) adapt the script to other machines. It has not been run on a GPU yet.
set -uo pipefail
bin=$(cd "$(dirname "$0")" && pwd)
mkdir -p "${1:?missing argument: the folder for the logs}" && cd "$1" || exit 1
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

# Each step has its own log. A step that fails does not stop the others.
step() {
  local name=$1
  shift
  printf '\n== %s (%s s): %s\n' "$name" "$SECONDS" "$*" | tee "$name.log"
  timeout "${LIMIT:-240}" "$@" 2>&1 | tee -a "$name.log" || failed=$((failed + 1))
}

step machine nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv
# Checks that the device computes correctly.
step self-test "$bin/upscale" "$bin/sample.jpg" -o large.png "${backend[@]}"
# 3840x2160 as a whole, without guidance (target: 0.9 s, 5.0 GB) and with PadCFG (target: 1.8 s, 6.0 GB).
step 4k "$bin/measure" "${model[@]}" "${device[@]}" --size 3840x2160 --runs 5
step 4k-padcfg "$bin/measure" "${model[@]}" "${device[@]}" --size 3840x2160 --guidance 1.5 --runs 5
# 7680x4320 as a whole.
step 8k "$bin/measure" "${model[@]}" "${device[@]}" --size 7680x4320 --runs 1
# The table of the paper: GenDR, GenDR-Adc, GenDR-Pix, and GenDR-Pix without guidance.
step efficiency "$bin/efficiency" "${model[@]}" "${device[@]}" --size 512x512 --runs 5 --json efficiency.json
step efficiency-4k "$bin/efficiency" "${model[@]}" "${device[@]}" --size 3840x2160 --runs 3 --json efficiency-4k.json
# Memory over 200 pictures of mixed sizes, without and with a release of memory after each picture.
step soak "$bin/soak" "${model[@]}" "${device[@]}" --pictures 200 --longest 1024
step soak-trim "$bin/soak" "${model[@]}" "${device[@]}" --pictures 200 --longest 1024 --trim
# PyTorch and this crate, alternating.
if python3 -c 'import torch, diffusers' 2>/dev/null; then
  ours=("$bin/gpu.py" --measure "$bin/measure" "${device[@]}")
  LIMIT=600 step pytorch-4k python3 "${ours[@]}" --size 3840x2160 --rounds 2 --runs 5 --json pytorch-4k.json
  LIMIT=600 step pytorch-1k python3 "${ours[@]}" --size 1024x1024 --rounds 2 --runs 10 --json pytorch-1k.json
fi
# Windowed attention, other precisions, and the size of the bundled model.
step 4k-window "$bin/measure" "${model[@]}" "${device[@]}" --size 3840x2160 --window 64 --runs 5
step 4k-f16 "$bin/measure" "${model[@]}" "${backend[@]}" --precision f16 --size 3840x2160 --runs 5
step 4k-f32 "$bin/measure" "${model[@]}" "${backend[@]}" --precision f32 --size 3840x2160 --runs 3
step nano "$bin/measure" --model nano "${device[@]}" --size 1920x1080,3840x2160,7680x4320 --runs 5
printf '\nall steps in %s s, %s failed\n' "$SECONDS" "$failed"
exit "$((failed > 0))"
