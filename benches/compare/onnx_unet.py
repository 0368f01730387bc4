#!/usr/bin/env python3
"""Time passes of the same UNet with random weights in ONNX Runtime, and measure peak memory. `compare.py` runs this program.

    pip install torch diffusers onnx onnxscript onnxruntime
    python benches/compare/onnx_unet.py --size 512x512 --model FOLDER/unet.onnx --export
    python benches/compare/onnx_unet.py --size 512x512 --model FOLDER/unet.onnx --threads 2 --runs 3

The export runs in its own process, so that the memory of PyTorch does not count for ONNX Runtime.
"""
import argparse
import resource
import time
from pathlib import Path

import numpy as np

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--size", default="512x512")
parser.add_argument("--model", type=Path, required=True, help="path of the exported UNet")
parser.add_argument("--export", action="store_true", help="export the UNet and exit")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--runs", type=int, default=3)
args = parser.parse_args()
width, height = map(int, args.size.split("x"))
shapes = {"sample": (1, 192, height // 8 + 1, width // 8 + 1), "prompt": (1, 77, 1024)}

if args.export:
    import torch
    from pytorch_unet import random_unet

    class Pass(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.unet = random_unet()

        def forward(self, sample, prompt):
            return self.unet(sample, 500, prompt, return_dict=False)[0]

    inputs = tuple(torch.randn(shape) for shape in shapes.values())
    with torch.inference_mode():
        torch.onnx.export(Pass().eval(), inputs, str(args.model), input_names=list(shapes), dynamo=True)
    raise SystemExit

import onnxruntime

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = args.threads
session = onnxruntime.InferenceSession(str(args.model), options, providers=["CPUExecutionProvider"])
inputs = {name: np.random.randn(*shape).astype(np.float32) for name, shape in shapes.items()}
print(f"onnxruntime {onnxruntime.__version__}, {args.threads} threads")
for run in range(args.runs + 1):
    start = time.perf_counter()
    session.run(None, inputs)
    if run:
        print(f"pass: {time.perf_counter() - start:.3f} s")
print(f"peak memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9:.2f} GB")
