"""Create the folder of photos that the bundled weights were trained on.

    pip install pillow
    git clone https://github.com/BuddiesOfBudgie/budgie-backgrounds
    git clone https://github.com/pop-os/wallpapers
    python benches/training_photos.py --budgie budgie-backgrounds --pop wallpapers --out photos

The photos of the first repository are CC0. Those of the second are in the public domain according to its README (from
Unsplash before it had its own licence, and from NASA). Each photo is identified by the hash of its content, because the
newest commits have fewer and smaller photos. It is written at a half, a third and a quarter of its size (Lanczos), which
removes the noise and blur of the camera and the blocks of the JPEG.
"""

import argparse
import io
import subprocess
from pathlib import Path

from PIL import Image

REDUCTIONS = (2, 3, 4)
# Reduced pictures with a shorter side below this are omitted, because training draws crops of 512x512 pixels.
SMALLEST = 520

BUDGIE = {
    "abstract-spiral": "63adcf52c8809143512dd211553163605c348c1e",
    "beacon-street-sunset": "b3d34082e830bbd5abb9eace4dd7b14c28468505",
    "blue-periwinkle": "a22195a5dd5e8fda0b021a4b8285c812d4c375bb",
    "budgie-branch": "9af68c1b51782f9d9a259b8c1d98b312d27e8869",
    "canyon-wren": "c9b77dd7fd97c3d596092f5549f65b9d7e9cad00",
    "casa-mila": "ca3eecb3efc7354c69edb701c30ce644768ed041",
    "colorful-wall": "964ede4fcd62e724884eb56e4800396b2bd28cec",
    "dragonfly-on-lavender": "65c6e90e19c4a31fe21f5c25e47b002a8d7b339e",
    "extreme-desert-hike": "da72fc5e424814a6635bb2a69dd9894eddc59a40",
    "high-trestle-trail": "2d1c3ddb3cac78716fd413bbede3d34b74297cc3",
    "kitten-on-lawn": "c6a34678106408c97b07420c95ef491501978be9",
    "lake-sherburne": "34a280eb816874ae3c46dd4f59617f503d058d53",
    "motherboard-circuits": "629a1a45cb0e61852d5059ccb3847e6e72347da1",
    "oakland-zoo-otters": "0a8f1dc4d60b302473a2817cb26f1a8661891d86",
    "ocean-waves": "198525885c553cd50d29ea3fa9e791a7e21f9329",
    "orange-hallway": "964846ae1c37bcb9da35aaa6703876174a10b3a1",
    "perched-osprey": "cfa488eaa4155b45561b077089a43b902f7db823",
    "piazza-gae-aulenti": "06516c6eb65240d4d429cc6606a34544699efc76",
    "roman-colosseum": "93038c43a22d874895c4cc8854681c9e43acefea",
    "san-francisco-skyline": "db6db408f7aeec85cd29d1f8b9c93f836595c43d",
    "serene": "53af59b9f75daee1900c324895d2a41846068b77",
    "singaporean-cityscape": "13f305727ea3d261cd29891fad8ec4b58ebe9ad2",
    "solaris-grapes": "be91d01f8018a0569cdc0504184fa2ec1a9ec6ea",
    "spiral-firework": "001817b0ec17a64a923f6bba9b9725ad3de1b8a7",
    "tea-gardens": "d34ba3f6a085e7e6f10a258aed0468a9f8fcc189",
    "the-spices-of-life": "04d2a93d218408e3ead9b048a583e121162bdab3",
}

POP = {
    "ferdinand-stohr-149422": "7d851346b64cf6518a51b793783ec52f981cf61d",
    "jad-limcaco-183877": "c1e72b39a123c560c5be83035f86114622ba42f7",
    "jared-evans-119758": "6de6c8304fd820c69f889b936674fb1f376012ac",
    "kait-herzog-8242": "f1946f13ce0a0dbecde70658523446a141d18371",
    "nasa-45068": "5477bb3a800ae682dc5046705531c09c18903f68",
    "samuel-zeller-337041": "c00e276f0fc61848a8d53285164b6666730bcfc9",
    "sean-afnan-244576": "7d2c39d261b43ddbdb7c3049f9ee8c29cdb188df",
    "spacex-81773": "ec986f82235a9f41b4187754f1a547e2a192d0b8",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--budgie", required=True, help="clone of BuddiesOfBudgie/budgie-backgrounds")
    parser.add_argument("--pop", required=True, help="clone of pop-os/wallpapers")
    parser.add_argument("--out", required=True, type=Path, help="folder to create")
    args = parser.parse_args()

    args.out.mkdir(parents=True, exist_ok=True)
    written = 0
    for repository, photos in ((args.budgie, BUDGIE), (args.pop, POP)):
        for name, blob in photos.items():
            command = ["git", "-C", repository, "cat-file", "blob", blob]
            content = subprocess.run(command, capture_output=True, check=True).stdout
            picture = Image.open(io.BytesIO(content)).convert("RGB")
            for reduction in REDUCTIONS:
                size = tuple(side // reduction for side in picture.size)
                if min(size) >= SMALLEST:
                    picture.resize(size, Image.Resampling.LANCZOS).save(args.out / f"{name}-{reduction}.png")
                    written += 1
    print(f"{len(BUDGIE) + len(POP)} photos, {written} pictures in {args.out}")


if __name__ == "__main__":
    main()
