"""One-step diffusion super-resolution without a VAE."""

import os
from typing import Optional, Union, overload

import numpy as np
import numpy.typing as npt

__version__: str

class Error(Exception):
    """Base class of this module's exceptions."""

class OptionError(Error):
    """An option is out of range."""

class PictureError(Error):
    """The picture cannot be used, or the output would be too large."""

class WeightsError(Error):
    """The weights cannot be read or used."""

class Model:
    """A model that is ready to run. Threads may share it.

    Without a path it is the bundled model. Otherwise ``path`` is a bundle file, or a diffusers folder that contains
    ``prompts.safetensors``. Raises OSError and WeightsError.
    """

    def __init__(self, path: Optional[Union[str, os.PathLike[str]]] = None) -> None: ...
    @overload
    def upscale(
        self,
        picture: npt.NDArray[np.uint8],
        scale: Optional[float] = None,
        *,
        width: Optional[int] = None,
        height: Optional[int] = None,
        guidance: Optional[float] = None,
        fidelity: float = 1.0,
        fast: bool = False,
        tile: Optional[int] = None,
        max_output_pixels: int = 1 << 27,
    ) -> npt.NDArray[np.uint8]:
        """Enlarges a picture. Other Python threads keep running meanwhile.

        picture: an array of uint8, HxW (grey) or HxWxC with 1 to 4 channels (grey, grey and alpha, RGB, RGBA), sRGB. The
            result has the same axes. Or the bytes of a PNG, JPEG, WebP, TIFF or BMP file. The result is then the bytes of a
            PNG file, upright, with the colour profile, EXIF and XMP. A UserWarning reports what cannot be kept.
        scale: output side divided by input side, 1 or more. Default: 4, unless width or height is given.
        width, height: size of the output in pixels. If only one is given, the other keeps the aspect ratio.
        guidance: guidance scale. 1 runs one pass; more sharpens by a second pass. Default: the model's recommendation.
        fidelity: how far the picture may move from the input: 0 is the plain resize, 1 is the model.
        fast: one padding instead of those that the model recommends. With the bundled model this is four times as fast
            and slightly worse.
        tile: side of a tile in pixels of the output, rounded down to a multiple of 8. None enlarges the whole picture at
            once.
        max_output_pixels: larger outputs are refused.

        Raises TypeError, ValueError, OptionError and PictureError.
        """
    @overload
    def upscale(
        self,
        picture: bytes,
        scale: Optional[float] = None,
        *,
        width: Optional[int] = None,
        height: Optional[int] = None,
        guidance: Optional[float] = None,
        fidelity: float = 1.0,
        fast: bool = False,
        tile: Optional[int] = None,
        max_output_pixels: int = 1 << 27,
    ) -> bytes: ...
