//! The Python module `gendr_pix`. Its interface is documented in `gendr_pix.pyi`.

mod error;
mod interrupt;
mod picture;

use error::{of_picture, of_weights};
use gendr_pix::picture::Picture;
use gendr_pix::{GenDrPix, Padding, Target, Tiling, Upscale, backend};
use image::{ImageFormat, Limits};
use interrupt::Interrupt;
use pyo3::exceptions::{PyTypeError, PyUserWarning, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::ffi::CString;
use std::path::PathBuf;

#[pymodule(name = "gendr_pix")]
mod module {
    #[pymodule_export]
    use super::Model;
    #[pymodule_export]
    use super::error::{Error, OptionError, PictureError, WeightsError};

    #[allow(non_upper_case_globals, reason = "the name that Python expects")]
    #[pymodule_export]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}

/// A model that is ready to run. Threads may share it.
///
/// The bundled model, or that of a bundle file or diffusers folder.
#[pyclass(frozen, module = "gendr_pix")]
struct Model(GenDrPix<backend::Flex>);

#[pymethods]
impl Model {
    #[new]
    #[pyo3(signature = (path = None))]
    fn new(py: Python<'_>, path: Option<PathBuf>) -> PyResult<Self> {
        let device = Default::default();
        let model = py.detach(|| match path {
            Some(path) => GenDrPix::load(path, &device),
            None => GenDrPix::pretrained(&device),
        });
        Ok(Self(model.map_err(of_weights)?))
    }

    /// Enlarges a picture. Returns an array for an array, and the bytes of a PNG file for the bytes
    /// of a file.
    #[pyo3(signature = (
        picture, scale = None, *, width = None, height = None, guidance = None, fidelity = 1.0, fast = false,
        tile = None, max_output_pixels = 1 << 27,
    ))]
    #[allow(clippy::too_many_arguments)]
    fn upscale<'py>(
        &self,
        picture: &Bound<'py, PyAny>,
        scale: Option<f64>,
        width: Option<u32>,
        height: Option<u32>,
        guidance: Option<f64>,
        fidelity: f64,
        fast: bool,
        tile: Option<usize>,
        max_output_pixels: u64,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = picture.py();
        let mut options = Upscale::new()
            .target(target(scale, width, height)?)
            .fidelity(fidelity)
            .max_output_pixels(max_output_pixels);
        if let Some(guidance) = guidance {
            options = options.guidance(guidance);
        }
        if fast {
            options = options.ensemble(vec![Padding::CENTRED]);
        }
        if let Some(tile) = tile {
            options = options.tiling(Tiling::with_side(tile).map_err(of_picture)?);
        }
        let interrupt = Interrupt::default();
        let options = interrupt.watching(options);
        if let Ok(bytes) = picture.cast::<PyBytes>() {
            let large = self.upscale_file(bytes, &options);
            interrupt.check()?;
            return large.map(Bound::into_any);
        }
        let check = |width, height| {
            let plan = self.0.plan(width, height, &options);
            plan.map(drop).map_err(of_picture)
        };
        let Some((image, shape)) = picture::read(picture, check)? else {
            return Err(PyTypeError::new_err(
                "a picture is a numpy array of uint8 or the bytes of a file",
            ));
        };
        let large = py.detach(|| self.0.upscale_with(&image, &options));
        interrupt.check()?;
        picture::write(py, large.map_err(of_picture)?, shape)
    }
}

impl Model {
    fn upscale_file<'py>(
        &self,
        file: &Bound<'py, PyBytes>,
        options: &Upscale,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let py = file.py();
        let bytes = file.as_bytes();
        let work = || -> gendr_pix::Result<_> {
            let picture = Picture::from_bytes(bytes, Limits::default())?;
            let mut warnings = picture.warnings().to_vec();
            let large = picture.map(|image| self.0.upscale_with(image, options))?;
            let (bytes, more) = large.to_bytes(ImageFormat::Png)?;
            warnings.extend(more);
            Ok((bytes, warnings))
        };
        let (bytes, warnings) = py.detach(work).map_err(of_picture)?;
        for warning in warnings {
            let text = CString::new(warning.to_string().replace('\0', " "))?;
            PyErr::warn(py, &py.get_type::<PyUserWarning>(), &text, 1)?;
        }
        Ok(PyBytes::new(py, &bytes))
    }
}

/// The output size that the arguments ask for: a scale of 4 if they are all `None`.
fn target(scale: Option<f64>, width: Option<u32>, height: Option<u32>) -> PyResult<Target> {
    match (scale, width, height) {
        (None, None, None) => Ok(Target::Scale(4.0)),
        (Some(scale), None, None) => Ok(Target::Scale(scale)),
        (None, Some(width), None) => Ok(Target::Width(width)),
        (None, None, Some(height)) => Ok(Target::Height(height)),
        (None, Some(width), Some(height)) => Ok(Target::Size(width, height)),
        (Some(_), ..) => Err(PyValueError::new_err(
            "`scale` excludes `width` and `height`",
        )),
    }
}
