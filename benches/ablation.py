#!/usr/bin/env python3
"""Ablations of the second stage of the distillation at a small scale. docs/ablations.md is the output of this program.

    pip install numpy pillow scikit-image
    cargo build --release --features train --example distill --example upscale
    python benches/ablation.py --photos FOLDER --folder runs/ablation > docs/ablations.md

The program trains the VAE, GenDR and GenDR-Adc once. It then trains stage 2 with each variant and seed, always from the same
GenDR-Adc and for the same number of steps. All training uses procedural pictures; the photos are only for the scores. Existing
models are not trained again, so the command can be stopped and repeated.
"""
import argparse, copy, itertools, json, os, pathlib, struct, subprocess, sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from PIL import Image
import score

CROP = 64
CENTRED = {"top": 4, "left": 4}
# Guidance scale of the comparison of plain CFG and PadCFG.
GUIDANCE = 1.5
# A lattice point of the spectrum is an outlier if its amplitude relative to its neighbours exceeds that of the original by this
# factor.
OUTLIER = 2.0


def no_fourier(config):
    config["stage2"]["l3"] = 0.0


def no_rand_pad(config):
    config["stage2"]["rand_pad"] = False


def no_discriminator(config):
    config["stage2"]["trainer"]["adversary"] = None


def gendr_discriminator(config):
    config["stage2"]["judge"] = "gendr"


VARIANTS = {
    "whole": lambda config: None,
    "no L_F": no_fourier,
    "no RandPad": no_rand_pad,
    "no discriminator": no_discriminator,
    "discriminator GenDR": gendr_discriminator,
}


def base_config(distill, args):
    """The nano preset with smaller pictures, fewer steps, a single padding and a fitted start."""
    config = json.loads(subprocess.check_output([distill, "config", "nano"]))
    start = {"fitted": {"batches": 48, "ridge": 0.01}}
    config["stage1"]["start"] = config["stage2"]["start"] = start
    config["pix"]["ensemble"] = [CENTRED]
    trainers = {
        "vae": (config["vae"]["trainer"], args.base_steps, 1e-3, 8),
        "teacher": (config["teacher"], args.base_steps, 5e-4, 8),
        "stage1": (config["stage1"]["trainer"], args.base_steps, 2e-4, 8),
        "stage2": (config["stage2"]["trainer"], args.steps, 2e-4, 4),
    }
    for trainer, steps, rate, batch in trainers.values():
        trainer["data"].update(crop=CROP, batch=batch, window=48)
        schedule = dict(steps=steps, warm_up=min(50, steps), learning_rate=rate, cool_down=steps // 4, final_rate=0.05)
        learners = [trainer["learner"]]
        if trainer["adversary"]:
            learners.append(trainer["adversary"]["learner"])
        for learner in learners:
            learner["schedule"] = dict(schedule)
            learner["average"] = 0.99
    # The discriminator heads learn faster than the model that they judge.
    for stage in ("stage1", "stage2"):
        config[stage]["trainer"]["adversary"]["learner"]["schedule"]["learning_rate"] = 1e-3
    return config


def train(distill, stage, config, folder, threads):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stage}.json"
    path.write_text(json.dumps(config, indent=2))
    command = [distill, "train", stage, "--config", path, "--folder", folder]
    print(f"training {stage} in {folder}", file=sys.stderr)
    env = os.environ | {"RAYON_NUM_THREADS": str(threads)}
    run = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=env)
    if run.returncode:
        sys.exit(f"{stage} in {folder}\n{run.stderr[-2000:]}")


def with_padding(bundle, padding, out):
    """Copy a bundle and set its ensemble to a single padding. The config is JSON in the header."""
    raw = bundle.read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + size])
    config = json.loads(header["__metadata__"]["gendr_pix.config"])
    config["ensemble"] = [{"top": padding, "left": padding}]
    header["__metadata__"]["gendr_pix.config"] = json.dumps(config)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    out.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + size :])
    return out


def pictures(photos):
    """The originals and their degraded versions, as in score.py."""
    paths = sorted(p for p in photos.iterdir() if p.suffix in {".png", ".jpg", ".jpeg"})
    for kind, (n, path) in itertools.product(("clean", "real"), enumerate(paths)):
        original = Image.open(path).convert("RGB")
        original = original.crop((0, 0, original.width - original.width % 32, original.height - original.height % 32))
        yield kind, path.stem, original, score.degrade(original, kind, np.random.default_rng(n))


def restored(upscale, weights, guidance, low, folder):
    source, target = folder / "low.png", folder / "restored.png"
    low.save(source)
    command = [upscale, source, "-o", target, "--scale", "4", "--weights", weights, "--guidance", str(guidance), "--colour-fix", "none"]
    subprocess.run(command, check=True, capture_output=True)
    return np.asarray(Image.open(target).convert("RGB"), np.float64)


def outliers(picture, original):
    """The share of lattice points that are outliers, and the mean over all of them (`grid` in score.py)."""
    excess = np.exp(score.points(picture) - score.points(original))
    return float(np.mean(excess > OUTLIER)), float(np.exp(score.lattice(picture) - score.lattice(original)))


def measure(photos, restore):
    """Means over the photos: gain over bicubic in dB for each kind, then grid and outliers over both kinds."""
    gain, grid, outlier = {"clean": [], "real": []}, [], []
    for kind, _, original, low in pictures(photos):
        picture = Image.fromarray(np.clip(restore(low) + 0.5, 0, 255).astype(np.uint8))
        y = score.luma(original)
        bicubic = score.psnr(y, score.luma(low.resize(original.size, Image.BICUBIC)))
        gain[kind].append(score.psnr(y, score.luma(picture)) - bicubic)
        share, mean = outliers(picture, original)
        grid.append(mean)
        outlier.append(share)
    return [np.mean(gain["clean"]), np.mean(gain["real"]), np.mean(grid), 100 * np.mean(outlier)]


def log(folder):
    lines = (folder / "stage2" / "log.jsonl").read_text().splitlines()
    # A resumed run repeats the steps after its last checkpoint. The last entry of a step counts.
    return {line["step"]: line for line in map(json.loads, lines)}


def accuracy(log, start, stop):
    """Mean accuracy of the discriminator over the logged steps in (start, stop], in percent."""
    return 100 * np.mean([line["accuracy"] for step, line in log.items() if start < step <= stop and line["accuracy"] is not None])


def spread(values, form):
    return f"{np.mean(values):{form}} ± {np.std(values, ddof=1):{form.lstrip('+')}}" if len(values) > 1 else f"{values[0]:{form}}"


def row(name, results):
    clean, real, grid, outlier = zip(*results)
    return f"| {name} | {spread(clean, '+.2f')} | {spread(real, '+.2f')} | {spread(grid, '.3f')} | {spread(outlier, '.1f')} |"


HEAD = "| | clean, dB | real, dB | grid | outliers, % |\n| --- | --- | --- | --- | --- |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", required=True, type=pathlib.Path)
    parser.add_argument("--folder", required=True, type=pathlib.Path)
    parser.add_argument("--steps", type=int, default=500, help="number of steps of stage 2")
    parser.add_argument("--base-steps", type=int, default=2000, help="number of steps of each earlier stage")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--bin", type=pathlib.Path, default=pathlib.Path("target/release/examples"))
    args = parser.parse_args()
    distill, upscale = args.bin / "distill", args.bin / "upscale"
    base, folder = base_config(distill, args), args.folder
    for stage in ("vae", "teacher", "stage1"):
        train(distill, stage, base, folder / "base", os.cpu_count())
    runs, folders = [], {}
    for seed, (name, change) in itertools.product(args.seeds, VARIANTS.items()):
        config = copy.deepcopy(base)
        config["stage2"]["trainer"]["data"]["seed"] = seed
        change(config)
        own = folder / f"{name.replace(' ', '-')}-{seed}"
        own.mkdir(parents=True, exist_ok=True)
        for stage in ("vae", "teacher", "stage1"):
            link = own / stage
            if not link.exists():
                link.symlink_to((folder / "base" / stage).resolve())
        runs.append((config, own))
        folders.setdefault(name, []).append(own)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda run: train(distill, "stage2", *run, threads=1), runs))

    def plain(weights, padding, guidance):
        moved = with_padding(weights, padding, folder / f"padding-{padding}.safetensors")
        return lambda low: restored(upscale, moved, guidance, low, folder)

    def blended(weights, negative):
        """CFG from a picture for each prompt. The negative pass is cropped one pixel before its padding."""
        with_prompt = plain(weights, 4, 1), plain(weights, negative, 0)
        return lambda low: GUIDANCE * with_prompt[0](low) + (1 - GUIDANCE) * with_prompt[1](low)

    weights = {name: [own / "stage2" / "model.safetensors" for own in owns] for name, owns in folders.items()}
    tables = [HEAD]
    for name, bundles in weights.items():
        tables.append(row(name, [measure(args.photos, plain(bundle, 4, 1)) for bundle in bundles]))
    tables += ["", HEAD]
    for name, negative in {"plain CFG": 5, "PadCFG": 4}.items():
        results = [measure(args.photos, blended(bundle, negative)) for bundle in weights["whole"]]
        tables.append(row(f"{name}, {GUIDANCE}", results))
    logs_by_variant = {name: [log(own) for own in owns] for name, owns in folders.items() if name != "no discriminator"}
    windows = range(0, args.steps, max(args.steps // 4, 1))
    tables += ["", "| accuracy, % | " + " | ".join(f"from step {start}" for start in windows) + " |"]
    tables.append("| --- |" + " --- |" * len(windows))
    for name, logs in logs_by_variant.items():
        means = [[accuracy(one, start, start + windows.step) for one in logs] for start in windows]
        tables.append(f"| {name} | " + " | ".join(spread(mean, ".0f") for mean in means) + " |")
    print("\n".join(tables))


if __name__ == "__main__":
    main()
