#!/usr/bin/env python3
"""Time passes of the same UNet with random weights in PyTorch (diffusers), and measure peak memory.

    pip install torch diffusers
    python benches/compare/pytorch_unet.py --size 512x512 --threads 2 --runs 3
    python benches/compare/pytorch_unet.py --size 3840x2160 --device cuda --dtype bfloat16 --compile

The counterpart is `cargo run --release --example measure -- --model sd21 --size 512x512`. The sample is one cell larger on
each axis than the picture, because the default padding of this crate adds a cell.
"""
import argparse
import resource
import time

import torch
from diffusers import UNet2DConditionModel


def random_unet():
    """The UNet of Stable Diffusion 2.1 with the channels of 8x8 cells."""
    return UNet2DConditionModel(
        in_channels=192, out_channels=192, block_out_channels=[320, 640, 1280, 1280], layers_per_block=2,
        attention_head_dim=[5, 10, 20, 20], cross_attention_dim=1024, use_linear_projection=True,
        down_block_types=["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
        up_block_types=["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="512x512")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=["float32", "float16", "bfloat16"], default="float32")
    parser.add_argument("--compile", action="store_true", help="use torch.compile")
    parser.add_argument("--precision", choices=["highest", "high"], default="highest", help="precision of float32 products")
    args = parser.parse_args()

    torch.set_float32_matmul_precision(args.precision)
    torch.set_num_threads(args.threads)
    width, height = map(int, args.size.split("x"))
    dtype = getattr(torch, args.dtype)
    unet = random_unet().eval().to(args.device, dtype)
    if args.compile:
        unet = torch.compile(unet)
    sample = torch.randn(1, 192, height // 8 + 1, width // 8 + 1, dtype=dtype, device=args.device)
    prompt = torch.randn(1, 77, 1024, dtype=dtype, device=args.device)
    on_gpu = sample.is_cuda
    finished = torch.cuda.synchronize if on_gpu else lambda: None
    # The first passes on a GPU select kernels, and compile them with torch.compile.
    ignored = 2 if on_gpu else 1
    seconds = []
    with torch.inference_mode():
        for _ in range(args.runs + ignored):
            finished()
            start = time.perf_counter()
            unet(sample, 500, prompt, return_dict=False)
            finished()
            seconds.append(time.perf_counter() - start)
    seconds = seconds[ignored:]
    print(f"torch {torch.__version__}, {args.dtype}, {args.threads} threads")
    for run in seconds:
        print(f"pass: {run:.3f} s")
    print(f"median of {args.runs}: {sorted(seconds)[args.runs // 2]:.2f} s")
    if on_gpu:
        print(f"device: {torch.cuda.get_device_name()}")
        print(f"peak memory of the device: {torch.cuda.max_memory_reserved() / 1e9:.2f} GB")
    print(f"peak memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
