//! Errors: every failure that this crate reports, and the [kind](ErrorKind) of each, which tells
//! who can fix it.

use burn::tensor::backend::ExecutionError;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// The crate's result type.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The reason why a model, a picture or a training run failed. [`kind`](Error::kind) groups the
/// variants by who can fix them.
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

    /// A float picture contains NaN or infinity.
    #[error("the picture contains a value that is not finite (NaN or infinity)")]
    NonFinitePicture,

    /// The output would exceed the pixel limit of the options.
    #[error(
        "the output would be {width}x{height} ({} pixels), over the limit of {limit} pixels: lower the scale or raise `max_output_pixels`",
        u128::from(*width) * u128::from(*height)
    )]
    OutputTooLarge {
        /// Width of the output in pixels.
        width: u64,
        /// Height of the output in pixels.
        height: u64,
        /// Maximum number of pixels.
        limit: u64,
    },

    /// The enlargement does not fit the memory budget of the options, even in tiles.
    #[error(
        "the enlargement needs at least {needed} bytes of memory, over the budget of {budget} bytes: raise `memory_budget` or lower the scale"
    )]
    OverBudget {
        /// Bytes needed by the smallest tiles, or by the tiles that the options request.
        needed: u64,
        /// Maximum number of bytes.
        budget: u64,
    },

    /// The value of an option is not valid.
    #[error("option `{option}`: {reason}")]
    Option {
        /// Name of the option.
        option: &'static str,
        /// What is wrong with the value.
        reason: String,
    },

    /// A config contradicts itself or is not supported.
    #[error("config `{field}`: {reason}")]
    Config {
        /// Name of the field.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },

    /// A tensor argument has the wrong shape.
    #[error("{what}: expected shape {expected}, found {found:?}")]
    Shape {
        /// Name of the tensor.
        what: &'static str,
        /// The expected shape, in words.
        expected: String,
        /// The shape of the argument.
        found: Vec<usize>,
    },

    /// The device does not support the requested float type.
    #[error(
        "the device of backend `{backend}` does not support {precision}: use a backend with another precision, such as f32"
    )]
    Precision {
        /// Name of the backend.
        backend: String,
        /// The float type.
        precision: &'static str,
    },

    /// Operations on the device return wrong results: see
    /// [`GenDrPix::self_test`](crate::GenDrPix::self_test).
    #[error("the device computes incorrectly: {}", list_deviations(deviations))]
    SelfTest {
        /// The operations whose error exceeds the tolerance.
        deviations: Vec<Deviation>,
    },

    /// The device failed during a computation, or lost its results.
    #[error("the device failed: {reason}")]
    Device {
        /// The message from burn.
        reason: String,
    },

    /// The model's output contains NaN or infinity.
    #[error(
        "the model's output is not finite (NaN or infinity): the precision of this backend may be too low for the weights"
    )]
    NonFiniteOutput,

    /// The model's output has a single colour, although the picture has several.
    #[error(
        "the model's output has a single colour, but the picture has several: the backend computes incorrectly, or its precision is too low for the weights"
    )]
    ConstantOutput,

    /// A picture file exceeds the decoding limits.
    #[error("{}: {reason}", path.display())]
    InputTooLarge {
        /// The file; `<memory>` for bytes.
        path: PathBuf,
        /// The limit that is exceeded.
        reason: String,
    },

    /// A file or folder is not in the expected format, or a picture cannot be written in the
    /// requested format.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file or folder; `<memory>` for bytes.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// The tensors of a weights file do not match the model. The text lists at most ten keys of
    /// each field.
    #[error("{}: the tensors do not match the model{}", path.display(), list_mismatch(missing, unused, misshapen))]
    Keys {
        /// The file or folder; `<memory>` for bytes.
        path: PathBuf,
        /// All keys that the model needs and the file lacks.
        missing: Vec<String>,
        /// All keys in the file that the model does not use.
        unused: Vec<String>,
        /// All keys whose shape differs, each with the expected and the actual shape.
        misshapen: Vec<String>,
    },

    /// A weight is NaN or infinite.
    #[error("{}: tensor `{key}` contains a value that is not finite (NaN or infinity)", path.display())]
    NonFiniteWeight {
        /// The file or folder; `<memory>` for bytes.
        path: PathBuf,
        /// Key of the tensor.
        key: String,
    },

    /// A folder contains no usable training picture.
    #[error(
        "{}: no picture to train on: of {found} picture files, {broken} cannot be decoded and {small} are smaller than {smallest}x{smallest}",
        folder.display()
    )]
    NoPictures {
        /// The folder.
        folder: PathBuf,
        /// Number of files with the extension of a picture format.
        found: usize,
        /// Number of files that cannot be decoded.
        broken: usize,
        /// Number of pictures that are too small.
        small: usize,
        /// Minimum width and height in pixels.
        smallest: usize,
    },

    /// The caller cancelled the work through [`Cancel`](crate::Cancel).
    #[error("cancelled")]
    Cancelled,

    /// A term of the training loss is NaN or infinite. The weights are not updated.
    #[error("training step {step}: the loss term `{term}` is {value}")]
    Diverged {
        /// The training step, counted from one.
        step: u64,
        /// Name of the loss term.
        term: &'static str,
        /// Value of the term.
        value: f64,
    },

    /// The devices of a training run could not exchange their gradients.
    #[error("the devices could not exchange their gradients: {reason}")]
    Collective {
        /// The message from burn-collective.
        reason: String,
    },

    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error from the operating system.
        source: io::Error,
    },
}

/// The kinds of [errors](Error), by who can fix them. Returned by [`Error::kind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The picture is empty, contains values that are not finite, or is too large for the limits
    /// that are set. Whoever provides the picture can fix it, or the caller who sets the limits.
    Picture,
    /// An option or an argument of the call is not valid. The caller can fix it.
    Option,
    /// A config contradicts itself or is not supported. Whoever wrote the config can fix it.
    Config,
    /// The weights do not match the model, contain values that are not finite, or do not suit the
    /// precision that they are computed in. Whoever provides the weights can fix it, or the caller
    /// who chooses the precision.
    Weights,
    /// The device lacks a feature, failed, or computes incorrectly. Whoever maintains the machine
    /// can fix it, or the caller who chooses the backend.
    Device,
    /// A training run cannot continue: it has no pictures, it diverged, or its devices lost each
    /// other. Whoever runs the training can fix it.
    Training,
    /// The caller cancelled the work. There is nothing to fix.
    Cancelled,
    /// The operating system could not read or write a file. Whoever maintains the machine can fix
    /// it, or the caller who chooses the path.
    Io,
    /// A file is damaged, or not in a format that this crate reads or writes. Whoever provides the
    /// file can fix it, or the caller who chooses the format.
    Format,
}

impl Error {
    /// Returns who can fix the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::EmptyPicture { .. }
            | Self::NonFinitePicture
            | Self::OutputTooLarge { .. }
            | Self::OverBudget { .. }
            | Self::InputTooLarge { .. } => ErrorKind::Picture,
            Self::Option { .. } | Self::Shape { .. } => ErrorKind::Option,
            Self::Config { .. } => ErrorKind::Config,
            Self::NonFiniteOutput
            | Self::ConstantOutput
            | Self::Keys { .. }
            | Self::NonFiniteWeight { .. } => ErrorKind::Weights,
            Self::Precision { .. } | Self::SelfTest { .. } | Self::Device { .. } => {
                ErrorKind::Device
            }
            Self::NoPictures { .. } | Self::Diverged { .. } | Self::Collective { .. } => {
                ErrorKind::Training
            }
            Self::Cancelled => ErrorKind::Cancelled,
            Self::Io { .. } => ErrorKind::Io,
            Self::Format { .. } => ErrorKind::Format,
        }
    }

    /// Converts an error from the operating system to [`Error::Io`] for the file at `path`.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        |source| Self::Io {
            path: path.into(),
            source,
        }
    }

    /// Returns [`Error::Format`] for the file or folder at `path`.
    pub(crate) fn format(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self::Format {
            path: path.into(),
            reason: reason.into(),
        }
    }

    /// Converts an error that a device reports when its results are read to [`Error::Device`].
    pub(crate) fn device(error: ExecutionError) -> Self {
        let (ExecutionError::WithContext { reason } | ExecutionError::Generic { reason, .. }) =
            error;
        Self::Device { reason }
    }
}

/// Describes the wrong keys, with a semicolon before each kind that occurs.
fn list_mismatch(missing: &[String], unused: &[String], misshapen: &[String]) -> String {
    [
        ("missing", missing),
        ("unused", unused),
        ("with another shape", misshapen),
    ]
    .iter()
    .filter(|(_, keys)| !keys.is_empty())
    .map(|(kind, keys)| format!("; {} {kind}: {}", keys.len(), list_keys(keys)))
    .collect()
}

/// Joins the keys, and counts those after the tenth: a wrong file can have hundreds.
fn list_keys(keys: &[String]) -> String {
    const LISTED: usize = 10;
    match keys.split_at_checked(LISTED) {
        Some((listed, rest)) if !rest.is_empty() => {
            format!("{} and {} more", listed.join(", "), rest.len())
        }
        _ => keys.join(", "),
    }
}

/// Joins the texts of the deviations.
fn list_deviations(deviations: &[Deviation]) -> String {
    let texts: Vec<String> = deviations.iter().map(Deviation::to_string).collect();
    texts.join("; ")
}

/// The difference between the result of an operation on a device and the reference. Returned by
/// [`GenDrPix::self_test`](crate::GenDrPix::self_test).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Deviation {
    /// The operation and its shape, such as `convolution 3x3 of 96 to 112 channels, 9x13`.
    pub operation: String,
    /// Largest absolute error of an output value, divided by the largest output value. Infinite if
    /// a value from the device is not finite.
    pub error: f64,
    /// Largest error that is accepted in the precision of the device.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_has_its_kind() {
        let text = || "text".to_owned();
        let errors = [
            (
                Error::EmptyPicture {
                    width: 0,
                    height: 3,
                },
                ErrorKind::Picture,
            ),
            (Error::NonFinitePicture, ErrorKind::Picture),
            (
                Error::OutputTooLarge {
                    width: 9,
                    height: 9,
                    limit: 80,
                },
                ErrorKind::Picture,
            ),
            (
                Error::OverBudget {
                    needed: 2,
                    budget: 1,
                },
                ErrorKind::Picture,
            ),
            (
                Error::InputTooLarge {
                    path: PathBuf::new(),
                    reason: text(),
                },
                ErrorKind::Picture,
            ),
            (
                Error::Option {
                    option: "scale",
                    reason: text(),
                },
                ErrorKind::Option,
            ),
            (
                Error::Shape {
                    what: "prompt",
                    expected: text(),
                    found: vec![1],
                },
                ErrorKind::Option,
            ),
            (
                Error::Config {
                    field: "in_channels",
                    reason: text(),
                },
                ErrorKind::Config,
            ),
            (
                Error::Precision {
                    backend: text(),
                    precision: "f16",
                },
                ErrorKind::Device,
            ),
            (
                Error::SelfTest {
                    deviations: Vec::new(),
                },
                ErrorKind::Device,
            ),
            (Error::Device { reason: text() }, ErrorKind::Device),
            (Error::NonFiniteOutput, ErrorKind::Weights),
            (Error::ConstantOutput, ErrorKind::Weights),
            (keys(1), ErrorKind::Weights),
            (
                Error::NonFiniteWeight {
                    path: PathBuf::new(),
                    key: text(),
                },
                ErrorKind::Weights,
            ),
            (
                Error::NoPictures {
                    folder: PathBuf::new(),
                    found: 2,
                    broken: 1,
                    small: 1,
                    smallest: 64,
                },
                ErrorKind::Training,
            ),
            (
                Error::Diverged {
                    step: 1,
                    term: "pixel",
                    value: f64::NAN,
                },
                ErrorKind::Training,
            ),
            (Error::Collective { reason: text() }, ErrorKind::Training),
            (Error::Cancelled, ErrorKind::Cancelled),
            (
                Error::io("file")(io::ErrorKind::NotFound.into()),
                ErrorKind::Io,
            ),
            (Error::format("file", "reason"), ErrorKind::Format),
        ];
        for (error, kind) in errors {
            assert_eq!(error.kind(), kind, "{error}");
        }
    }

    /// Returns a weights file that lacks `count` tensors.
    fn keys(count: usize) -> Error {
        Error::Keys {
            path: "file".into(),
            missing: (0..count).map(|i| format!("k{i}")).collect(),
            unused: Vec::new(),
            misshapen: vec!["other".to_owned()],
        }
    }

    #[test]
    fn long_lists_of_keys_are_cut() {
        let expected = "file: the tensors do not match the model; 2 missing: k0, k1; 1 with another shape: other";
        assert_eq!(keys(2).to_string(), expected);
        assert!(keys(10).to_string().contains("k8, k9; 1 with"));
        let cut = keys(12).to_string();
        assert!(cut.contains("12 missing: k0, k1,"), "{cut}");
        assert!(cut.contains("k9 and 2 more; 1 with"), "{cut}");
    }
}
