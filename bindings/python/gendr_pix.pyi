"""One-step diffusion super-resolution without a VAE."""

import os
from typing import Optional, Union, overload

import numpy as np
import numpy.typing as npt

class Error(Exception):
    """Why a call failed."""

class OptionError(Error):
    """An option is out of range."""

class PictureError(Error):
    """A picture cannot be used, or the output would be too large."""

class WeightsError(Error):
    """Weights cannot be understood or used."""

class Model:
    """A model, ready to run; threads may share it.

    Without a path it is the bundled one; else that of a bundle file, or of a diffusers folder with
    ``prompts.safetensors`` in it. Raises OSError and WeightsError.
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
        """Enlarges a picture; other threads run meanwhile.

        picture: uint8, HxW (grey) or HxWxC with 1 to 4 channels (grey, grey and alpha, RGB, RGBA), sRGB; the result has
            the same axes. Or the bytes of a PNG, JPEG, WebP, TIFF or BMP file; the result is the bytes of a PNG file,
            upright, with the colour profile, EXIF and XMP. What cannot be kept is told by a UserWarning.
        scale: output sides over input sides, from 1 up. Default: 4, unless width or height is given.
        width, height: size of the output in pixels; one follows from the other if that alone is given.
        guidance: 1 runs one pass, more sharpens by a second pass. Default: the model's recommendation.
        fidelity: how far the picture may move from the input: 0 is the plain resize, 1 the model.
        fast: one padding rather than those that the model recommends: four times as fast with the bundled model, and a
            little worse.
        tile: sides of tiles in pixels of the output, rounded down to a multiple of 8; None is the whole picture at once.
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
