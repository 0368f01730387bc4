import importlib.metadata
import io
import os
import signal
import threading
import time

import gendr_pix
import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def model():
    return gendr_pix.Model()


def noise(*shape):
    return np.random.default_rng(7).integers(0, 256, shape, dtype=np.uint8)


def file(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize("shape", [(6, 8), (6, 8, 1), (6, 8, 2), (6, 8, 3), (6, 8, 4)])
def test_arrays_keep_their_axes(model, shape):
    large = model.upscale(np.full(shape, 100, np.uint8))
    assert large.dtype == np.uint8
    assert large.shape == (24, 32, *shape[2:])
    assert abs(large.astype(int) - 100).max() < 12


def test_any_layout_in_memory(model):
    picture = noise(6, 8, 3)
    expected = model.upscale(picture, fast=True)
    assert np.array_equal(expected, model.upscale(np.asfortranarray(picture), fast=True))
    assert np.array_equal(expected, model.upscale(picture[:, ::-1][:, ::-1], fast=True))


def test_bytes_of_a_file(model):
    picture = noise(6, 8, 3)
    large = model.upscale(file(Image.fromarray(picture), "PNG"), scale=2.0)
    assert isinstance(large, bytes)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(large))), model.upscale(picture, 2))


def test_files_keep_their_exif_and_are_upright(model):
    image = Image.fromarray(noise(6, 8, 3))
    exif = Image.Exif()
    exif[0x010F] = "a maker"
    exif[0x0112] = 6
    large = Image.open(io.BytesIO(model.upscale(file(image, "JPEG", exif=exif))))
    assert large.format == "PNG"
    assert large.size == (24, 32)
    assert large.getexif()[0x010F] == "a maker"


def test_metadata_that_cannot_be_kept_is_a_warning(model):
    data = file(Image.fromarray(noise(4, 4, 3)), "PNG", icc_profile=b"no profile")
    with pytest.warns(UserWarning, match="profile"):
        model.upscale(data)


def test_options(model):
    picture = noise(10, 10)
    reference = model.upscale(picture, fast=True)
    for options in [{"fast": False}, {"guidance": 1.5}, {"fidelity": 0.5}, {"tile": 16}]:
        assert not np.array_equal(reference, model.upscale(picture, **{"fast": True, **options}))
    wide = np.zeros((5, 10), np.uint8)
    assert model.upscale(wide, 1.5).shape == (7, 15)
    assert model.upscale(wide, width=30).shape == (15, 30)
    assert model.upscale(wide, height=30).shape == (30, 60)
    assert model.upscale(wide, width=20, height=30).shape == (30, 20)


@pytest.mark.parametrize(
    "options, kind",
    [
        ({"scale": 0.5}, gendr_pix.OptionError),
        ({"scale": float("nan")}, gendr_pix.OptionError),
        ({"width": 1}, gendr_pix.OptionError),
        ({"guidance": -1.0}, gendr_pix.OptionError),
        ({"fidelity": 2.0}, gendr_pix.OptionError),
        ({"tile": 7}, gendr_pix.OptionError),
        ({"max_output_pixels": 63}, gendr_pix.PictureError),
        ({"scale": 2.0, "width": 64}, ValueError),
        ({"width": -1}, OverflowError),
        ({"sharpness": 1}, TypeError),
    ],
)
def test_bad_options(model, options, kind):
    with pytest.raises(kind):
        model.upscale(noise(2, 2, 3), **options)


@pytest.mark.parametrize(
    "picture, kind",
    [
        (np.zeros((0, 4, 3), np.uint8), gendr_pix.PictureError),
        (np.zeros((2, 2, 5), np.uint8), ValueError),
        (np.zeros((2, 2, 0), np.uint8), ValueError),
        (np.zeros(4, np.uint8), ValueError),
        (np.zeros((1, 2, 2, 3), np.uint8), ValueError),
        (np.zeros((2, 2, 3)), TypeError),
        (np.zeros((2, 2, 3), np.uint16), TypeError),
        ("picture.png", TypeError),
        (None, TypeError),
        (b"", gendr_pix.PictureError),
        (b"no picture", gendr_pix.PictureError),
        (file(Image.new("RGB", (64, 64)), "PNG")[:60], gendr_pix.PictureError),
    ],
)
def test_bad_pictures(model, picture, kind):
    with pytest.raises(kind):
        model.upscale(picture)


def test_weights(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        gendr_pix.Model(tmp_path / "absent.safetensors")
    assert os.fspath(error.value.filename) == str(tmp_path / "absent.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"no weights")
    with pytest.raises(gendr_pix.WeightsError, match="safetensors"):
        gendr_pix.Model(str(tmp_path / "bad.safetensors"))
    for kind in [gendr_pix.OptionError, gendr_pix.PictureError, gendr_pix.WeightsError]:
        assert issubclass(kind, gendr_pix.Error)


def test_the_version_is_that_of_the_package():
    assert gendr_pix.__version__ == importlib.metadata.version("gendr-pix")


def test_other_threads_keep_running(model):
    """A thread keeps running while another upscales: the interpreter's lock is released."""
    work = threading.Thread(target=model.upscale, args=(noise(128, 128, 3),))
    start = last = time.monotonic()
    longest = 0.0
    work.start()
    while work.is_alive():
        time.sleep(0.001)
        now = time.monotonic()
        longest, last = max(longest, now - last), now
    assert longest < (last - start) / 2


@pytest.mark.parametrize("as_file", [False, True])
def test_signals_interrupt_a_picture(model, as_file):
    picture = noise(192, 192, 3)
    if as_file:
        picture = file(Image.fromarray(picture), "PNG")
    start = time.monotonic()
    model.upscale(picture)
    whole = time.monotonic() - start
    timer = threading.Timer(whole / 4, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        model.upscale(picture)
    timer.join()
    assert time.monotonic() - start < whole * 0.8
