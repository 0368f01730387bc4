//! Everything that can go wrong, by who can fix it: the picture, an option, the config, the weights, the machine.

use burn::tensor::backend::ExecutionError;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// The crate's result type.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a model could not be built, loaded, saved or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The picture has no pixels.
    #[error("the picture is empty: {width}x{height} pixels")]
    EmptyPicture {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },

    /// A float picture holds NaN or infinity.
    #[error("the picture holds a value that is not finite (NaN or infinity)")]
    NonFinitePicture,

    /// The enlarged picture would pass the pixel limit of the options.
    #[error(
        "the output would be {width}x{height}, {} pixels, over the limit of {limit}: lower the scale or raise `max_output_pixels`",
        u128::from(*width) * u128::from(*height)
    )]
    OutputTooLarge {
        /// Width of the output in pixels.
        width: u64,
        /// Height of the output in pixels.
        height: u64,
        /// Most pixels allowed.
        limit: u64,
    },

    /// The enlargement does not fit the memory budget of the options, nor do its tiles.
    #[error(
        "the enlargement needs {needed} bytes of memory at least, over the budget of {budget}: raise `memory_budget` or lower the scale"
    )]
    OverBudget {
        /// Bytes that the smallest tiles need, or those that were asked for.
        needed: u64,
        /// Bytes allowed.
        budget: u64,
    },

    /// An option's value cannot be used.
    #[error("option `{option}`: {reason}")]
    Option {
        /// Name of the option.
        option: &'static str,
        /// What is wrong with the value.
        reason: String,
    },

    /// The model's config contradicts itself or is not supported.
    #[error("config `{field}`: {reason}")]
    Config {
        /// Field of the config.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },

    /// A tensor handed to the model has the wrong shape.
    #[error("{what}: expected shape {expected}, found {found:?}")]
    Shape {
        /// Which tensor.
        what: &'static str,
        /// The shape that was expected, in words.
        expected: String,
        /// The shape that was found.
        found: Vec<usize>,
    },

    /// The device does not compute in the precision of the backend's type.
    #[error(
        "the device of backend `{backend}` does not compute in {precision}: take a backend of another precision, f32 say"
    )]
    Precision {
        /// What the backend calls itself.
        backend: String,
        /// The float type.
        precision: &'static str,
    },

    /// Operations on the device are not what they should be: see [`GenDrPix::self_test`](crate::GenDrPix::self_test).
    #[error("the device computes wrongly: {}", list_deviations(off))]
    SelfTest {
        /// The operations, how far they are off, and what is allowed.
        off: Vec<Deviation>,
    },

    /// The device lost what it was computing, or could not compute it.
    #[error("the device failed: {reason}")]
    Device {
        /// What burn says of it.
        reason: String,
    },

    /// The model's output holds NaN or infinity.
    #[error(
        "the model's output is not finite (NaN or infinity): the precision of this backend may be too low for the weights"
    )]
    NonFiniteOutput,

    /// The model made a picture of one colour from one that is not.
    #[error(
        "the model's output is of one colour, the picture is not: the backend computes wrongly, or its precision is too low for the weights"
    )]
    ConstantOutput,

    /// A picture file claims more than the limits allow.
    #[error("{}: {reason}", path.display())]
    InputTooLarge {
        /// The file; `<memory>` for bytes.
        path: PathBuf,
        /// What is too large.
        reason: String,
    },

    /// A file or folder of weights, or a picture's file, cannot be understood, or is of a format that cannot be written.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file or folder; `<memory>` for bytes.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// The tensors of a weights file are not those of the model.
    #[error("{}: the tensors do not fit the model{}", path.display(), list_mismatch(missing, unused, misshapen))]
    Keys {
        /// The file or folder; `<memory>` for bytes.
        path: PathBuf,
        /// Keys the model needs and the file lacks.
        missing: Vec<String>,
        /// Keys of the file that the model does not know.
        unused: Vec<String>,
        /// Keys whose shape differs, with what was expected and found.
        misshapen: Vec<String>,
    },

    /// A weight is NaN or infinite.
    #[error("{}: tensor `{key}` holds a value that is not finite (NaN or infinity)", path.display())]
    NonFiniteWeight {
        /// The file or folder; `<memory>` for bytes.
        path: PathBuf,
        /// Key of the tensor.
        key: String,
    },

    /// A folder of training pictures has none that can be used.
    #[error(
        "{}: no picture to train on: of {found} picture files {broken} cannot be decoded and {small} are smaller than {smallest}x{smallest}",
        folder.display()
    )]
    NoPictures {
        /// The folder.
        folder: PathBuf,
        /// Files with a picture's extension.
        found: usize,
        /// Those that cannot be decoded.
        broken: usize,
        /// Those that are too small.
        small: usize,
        /// Least side that can be used.
        smallest: usize,
    },

    /// The work was stopped by the [`Cancel`](crate::Cancel) that it was given.
    #[error("cancelled")]
    Cancelled,

    /// A term of the training's loss is NaN or infinite; the step was not taken.
    #[error("training step {step}: the loss term `{term}` is {value}")]
    Diverged {
        /// The step, counted from one.
        step: u64,
        /// Name of the term.
        term: &'static str,
        /// Its value.
        value: f64,
    },

    /// Devices that train together could not exchange their gradients.
    #[error("the devices could not exchange their gradients: {reason}")]
    Collective {
        /// What burn's collective says.
        reason: String,
    },

    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
}

impl Error {
    /// The operating system's error of the file at `path`.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        |source| Self::Io {
            path: path.into(),
            source,
        }
    }

    /// The file at `path` cannot be understood.
    pub(crate) fn format(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self::Format {
            path: path.into(),
            reason: reason.into(),
        }
    }

    /// What a device says when its results are read.
    pub(crate) fn of_device(error: ExecutionError) -> Self {
        let (ExecutionError::WithContext { reason } | ExecutionError::Generic { reason, .. }) =
            error;
        Self::Device { reason }
    }
}

fn list_mismatch(missing: &[String], unused: &[String], misshapen: &[String]) -> String {
    [
        ("missing", missing),
        ("unused", unused),
        ("of another shape", misshapen),
    ]
    .iter()
    .filter(|(_, keys)| !keys.is_empty())
    .map(|(kind, keys)| format!("; {} {kind}: {}", keys.len(), keys.join(", ")))
    .collect()
}

fn list_deviations(off: &[Deviation]) -> String {
    let off: Vec<String> = off.iter().map(Deviation::to_string).collect();
    off.join("; ")
}

/// How far an operation on a device is from the reference. Made by [`GenDrPix::self_test`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Deviation {
    /// The operation and its shape, as `convolution 3x3 of 96 to 112 channels, 9x13`.
    pub operation: String,
    /// Largest error of an output over the largest output; infinite where the device's is not finite.
    pub error: f64,
    /// What is allowed in the device's precision.
    pub tolerance: f64,
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            operation,
            error,
            tolerance,
        } = self;
        write!(
            f,
            "{operation}: off by {error:.1e}, allowed {tolerance:.1e}"
        )
    }
}
