#!/usr/bin/env python3
"""Compare the UNet pass of this crate with PyTorch, ONNX Runtime and candle on the same machine: medians and ratios.

    pip install torch diffusers onnx onnxscript onnxruntime
    cargo build --release --example measure
    cargo build --release --manifest-path benches/compare/candle/Cargo.toml
    python benches/compare/compare.py --rounds 3 --runs 2 --json FILE

Each round starts every program, one after the other. A program runs one pass that is not counted, then `--runs` passes that
are. Fluctuations of the machine therefore affect all programs alike. This crate times a whole picture including its resize,
the others the UNet alone. All use random weights and as many threads as there are cores. ONNX Runtime and candle are
omitted if they are not installed or built.
"""
import argparse
import importlib.util
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="512x512", help="size of the output")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=2, help="passes per round")
    parser.add_argument("--measure", default="target/release/examples/measure", help="path of the built example")
    candle = HERE / "candle/target/release/candle-unet"
    parser.add_argument("--candle", type=Path, default=candle, help="path of the built candle program")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()

    runs = ["--size", args.size, "--runs", str(args.runs)]
    torch = [sys.executable, str(HERE / "pytorch_unet.py"), *runs, "--threads", str(os.cpu_count()), "--dtype"]
    programs = {
        "gendr-pix, f32": [args.measure, "--model", "sd21", *runs],
        "gendr-pix, bf16": [args.measure, "--model", "sd21", *runs, "--precision", "bf16"],
        "PyTorch, f32": [*torch, "float32"],
        "PyTorch, f32, precision high": [*torch, "float32", "--precision", "high"],
        "PyTorch, bf16": [*torch, "bfloat16"],
    }
    if args.candle.exists():
        programs["candle, f32"] = [str(args.candle), args.size, str(args.runs)]
    with tempfile.TemporaryDirectory() as folder:
        if importlib.util.find_spec("onnxruntime"):
            onnx = [sys.executable, str(HERE / "onnx_unet.py"), "--model", f"{folder}/unet.onnx", *runs]
            subprocess.run([*onnx, "--export"], stdout=subprocess.DEVNULL, check=True)
            programs["ONNX Runtime, f32"] = [*onnx, "--threads", str(os.cpu_count())]
        seconds, memory = measured(programs, args.rounds)

    medians = {name: statistics.median(times) for name, times in seconds.items()}
    ours = medians["gendr-pix, f32"]
    print(f"{args.size}, {os.cpu_count()} cores, {args.rounds} rounds of {args.runs}")
    print("| | median | fastest | peak memory | time relative to gendr-pix |\n| --- | --- | --- | --- | --- |")
    for name, median in medians.items():
        fastest = min(seconds[name])
        print(f"| {name} | {median:.2f} s | {fastest:.2f} s | {memory[name]:.2f} GB | {median / ours:.2f} |")
    if args.json:
        rows = [{"name": n, "seconds": seconds[n], "peak_gb": memory[n], "ratio": medians[n] / ours} for n in programs]
        args.json.write_text(json.dumps({"size": args.size, "cores": os.cpu_count(), "rows": rows}, indent=1))


def measured(programs, rounds):
    """The seconds of the passes of each program, and its peak memory."""
    seconds = {name: [] for name in programs}
    memory = dict.fromkeys(programs, 0.0)
    for _ in range(rounds):
        for name, command in programs.items():
            out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
            seconds[name] += map(float, re.findall(r"^pass: ([\d.]+) s$", out, re.MULTILINE))
            memory[name] = max(memory[name], float(re.search(r"peak memory of the process: ([\d.]+) GB", out)[1]))
    return seconds, memory


if __name__ == "__main__":
    main()
