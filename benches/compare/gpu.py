#!/usr/bin/env python3
"""Compare the UNet pass of this crate with PyTorch (diffusers, SDPA, bf16), with and without torch.compile, on the same GPU:
medians, ratios, memory.

    pip install torch diffusers
    cargo build --release --features cuda --example measure
    python benches/compare/gpu.py --size 3840x2160 --rounds 3 --runs 5 --json FILE

Each round starts every program, one after the other. A program runs passes that are not counted (two for PyTorch, so that it
has compiled), then `--runs` passes that are. This crate times a whole picture including its resize and the transfers to the
GPU and back, the others the UNet alone. All use random weights. The memory of this crate is that of its pools, the memory of
PyTorch is what its allocator reserved. The program has not been run on a GPU yet.
"""
import argparse
import json
import re
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
OURS = "gendr-pix"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="3840x2160", help="size of the output")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=5, help="passes per round")
    parser.add_argument("--precision", choices=["f32", "f16", "bf16"], default="bf16")
    parser.add_argument("--backend", default="cuda", help="backend of gendr-pix")
    parser.add_argument("--device", default="cuda", help="device of PyTorch")
    parser.add_argument("--measure", default="target/release/examples/measure", help="path of the built example")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()

    runs = ["--size", args.size, "--runs", str(args.runs)]
    dtype = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}[args.precision]
    torch = [sys.executable, str(HERE / "pytorch_unet.py"), *runs, "--device", args.device, "--dtype", dtype]
    ours = [args.measure, "--model", "sd21", "--backend", args.backend, "--precision", args.precision, *runs]
    programs = {OURS: ours, "PyTorch": torch, "PyTorch, torch.compile": [*torch, "--compile"]}

    found = {name: {"seconds": [], "peak_gb": 0.0} for name in programs}
    for _ in range(args.rounds):
        for name, command in programs.items():
            out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
            row = found[name]
            row["device"] = (re.findall(r"^device: (.+)$", out, re.MULTILINE) or [None])[0]
            row["seconds"] += map(float, re.findall(r"^pass: ([\d.]+) s$", out, re.MULTILINE))
            peak = re.search(r"peak memory of the (?:device|process): ([\d.]+) GB", out)[1]
            row["peak_gb"] = max(row["peak_gb"], float(peak))

    def median(name):
        return statistics.median(found[name]["seconds"])

    print(f"{found['PyTorch']['device']}, {args.size}, {args.precision}, {args.rounds} rounds of {args.runs}")
    print("| | median | fastest | peak memory | time relative to gendr-pix |\n| --- | --- | --- | --- | --- |")
    for name, row in found.items():
        row["ratio"] = median(name) / median(OURS)
        fastest = min(row["seconds"])
        print(f"| {name} | {median(name):.3f} s | {fastest:.3f} s | {row['peak_gb']:.2f} GB | {row['ratio']:.2f} |")
    if args.json:
        settings = {"size": args.size, "precision": args.precision}
        args.json.write_text(json.dumps({**settings, "rows": found}, indent=1))


if __name__ == "__main__":
    main()
