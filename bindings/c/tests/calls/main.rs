//! Calls the functions as a program does, with valid and invalid arguments.

mod options;
mod watch;

use gendr_pix_c::*;
use std::ffi::{CStr, CString, c_char};
use std::ptr::{null, null_mut};

struct Model(*mut GendrPixModel);

/// The output's bytes and size, or the status and message of the failure.
type Outcome = Result<(Vec<u8>, [u32; 3]), (GendrPixStatus, String)>;

impl Model {
    fn bundled() -> Self {
        let (mut model, mut error) = (null_mut(), null_mut());
        let status = unsafe { gendr_pix_model_bundled(&mut model, &mut error) };
        assert_eq!(status, GendrPixStatus::Ok);
        assert!(!model.is_null() && error.is_null());
        Self(model)
    }

    fn upscale(
        &self,
        bytes: &mut [u8],
        size: [u32; 3],
        options: Option<GendrPixOptions>,
    ) -> Outcome {
        let options = options.as_ref().map_or(null(), |options| options);
        unsafe { self.upscale_at(bytes, size, options) }
    }

    /// # Safety
    ///
    /// As for `gendr_pix_upscale`.
    unsafe fn upscale_at(
        &self,
        bytes: &mut [u8],
        [width, height, channels]: [u32; 3],
        options: *const GendrPixOptions,
    ) -> Outcome {
        let input = GendrPixPicture {
            data: if bytes.is_empty() {
                null_mut()
            } else {
                bytes.as_mut_ptr()
            },
            width,
            height,
            channels,
        };
        let mut output = EMPTY;
        let mut error = null_mut();
        let status = unsafe { gendr_pix_upscale(self.0, &input, options, &mut output, &mut error) };
        if status != GendrPixStatus::Ok {
            assert!(output.data.is_null());
            return Err((status, message(error)));
        }
        assert!(error.is_null());
        let size = [output.width, output.height, output.channels];
        let count = size.iter().product::<u32>() as usize;
        let bytes = unsafe { std::slice::from_raw_parts(output.data, count) }.to_vec();
        unsafe { gendr_pix_picture_free(&mut output) };
        assert!(output.data.is_null());
        unsafe { gendr_pix_picture_free(&mut output) };
        Ok((bytes, size))
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        unsafe { gendr_pix_model_free(self.0) };
    }
}

const EMPTY: GendrPixPicture = GendrPixPicture {
    data: null_mut(),
    width: 0,
    height: 0,
    channels: 0,
};

/// Returns the message of an error and frees it.
fn message(error: *mut c_char) -> String {
    assert!(!error.is_null());
    let text = unsafe { CStr::from_ptr(error) }
        .to_str()
        .unwrap()
        .to_owned();
    unsafe { gendr_pix_string_free(error) };
    text
}

fn plain() -> GendrPixOptions {
    GendrPixOptions {
        fast: 1,
        ..GendrPixOptions::default()
    }
}

#[test]
fn all_kinds_of_pictures() {
    let model = Model::bundled();
    for channels in 1..=4 {
        let mut bytes = vec![100; 6 * 4 * channels as usize];
        let (output, size) = model.upscale(&mut bytes, [6, 4, channels], None).unwrap();
        assert_eq!(size, [24, 16, channels]);
        assert!(output.iter().all(|value| value.abs_diff(100) < 12));
    }
}

#[test]
fn bad_pictures_and_options_are_reported() {
    use GendrPixStatus::{Argument, Option, Picture};
    let model = Model::bundled();
    let fails = |size, options, status, text: &str| {
        let (found, message) = model
            .upscale(&mut [0; 12], size, Some(options))
            .unwrap_err();
        assert!(
            found == status && message.contains(text),
            "{found:?}: {message}"
        );
    };
    fails([2, 2, 5], plain(), Argument, "channels");
    fails([2, 2, 0], plain(), Argument, "channels");
    fails([0, 2, 3], plain(), Picture, "empty");
    fails([u32::MAX, u32::MAX, 4], plain(), Argument, "not a picture");
    fails(
        [2, 2, 3],
        GendrPixOptions {
            scale: f64::NAN,
            ..plain()
        },
        Option,
        "scale",
    );
    fails(
        [2, 2, 3],
        GendrPixOptions {
            width: 1,
            ..plain()
        },
        Option,
        "target",
    );
    fails(
        [2, 2, 3],
        GendrPixOptions {
            guidance: -1.0,
            ..plain()
        },
        Option,
        "guidance",
    );
    fails(
        [2, 2, 3],
        GendrPixOptions {
            fidelity: 2.0,
            ..plain()
        },
        Option,
        "fidelity",
    );
    fails(
        [2, 2, 3],
        GendrPixOptions { tile: 7, ..plain() },
        Option,
        "tiling",
    );
    fails(
        [2, 2, 3],
        GendrPixOptions {
            max_output_pixels: 63,
            ..plain()
        },
        Picture,
        "limit of 63",
    );
    let missing = model.upscale(&mut [], [2, 2, 3], None).unwrap_err();
    assert_eq!(missing, (Argument, "`input->data` is NULL".to_owned()));
}

#[test]
fn null_arguments_are_reported() {
    let model = Model::bundled();
    let mut bytes = [0; 3];
    let input = GendrPixPicture {
        data: bytes.as_mut_ptr(),
        width: 1,
        height: 1,
        channels: 3,
    };
    let mut output = EMPTY;
    let fails = |name: &str, call: &mut dyn FnMut(*mut *mut c_char) -> GendrPixStatus| {
        let mut error = null_mut();
        assert_eq!(call(&mut error), GendrPixStatus::Argument);
        assert_eq!(message(error), format!("`{name}` is NULL"));
        assert_eq!(call(null_mut()), GendrPixStatus::Argument);
    };
    unsafe {
        fails("model", &mut |error| {
            gendr_pix_model_bundled(null_mut(), error)
        });
        fails("path", &mut |error| {
            gendr_pix_model_load(null(), null_mut(), error)
        });
        fails("model", &mut |error| {
            gendr_pix_upscale(null(), &input, null(), &mut output, error)
        });
        fails("input", &mut |error| {
            gendr_pix_upscale(model.0, null(), null(), &mut output, error)
        });
        fails("output", &mut |error| {
            gendr_pix_upscale(model.0, &input, null(), null_mut(), error)
        });
        gendr_pix_options(null_mut(), 0);
        gendr_pix_cancel(null());
        gendr_pix_cancel_free(null_mut());
        gendr_pix_model_free(null_mut());
        gendr_pix_picture_free(null_mut());
        gendr_pix_string_free(null_mut());
    }
}

#[test]
fn models_are_loaded_from_files() {
    let weights = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/nano.safetensors");
    let load = |path: &[u8]| {
        let path = CString::new(path).unwrap();
        let (mut model, mut error) = (null_mut(), null_mut());
        let status = unsafe { gendr_pix_model_load(path.as_ptr(), &mut model, &mut error) };
        (status, model, error)
    };
    let (status, model, error) = load(weights.as_bytes());
    assert_eq!((status, error), (GendrPixStatus::Ok, null_mut()));
    let (loaded, bundled) = (Model(model), Model::bundled());
    let mut bytes = [50; 4 * 4 * 3];
    assert_eq!(
        loaded.upscale(&mut bytes, [4, 4, 3], None),
        bundled.upscale(&mut bytes, [4, 4, 3], None)
    );

    let (status, model, error) =
        load(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml").as_bytes());
    assert_eq!((status, model), (GendrPixStatus::Weights, null_mut()));
    assert!(message(error).contains("safetensors"));
    let (status, _, error) = load(b"\xff");
    assert_eq!(status, GendrPixStatus::Argument);
    assert_eq!(message(error), "`path` is not UTF-8");
}

#[test]
fn the_version_is_that_of_the_crate() {
    let version = unsafe { CStr::from_ptr(gendr_pix_version()) };
    let version = version.to_str().unwrap();
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml");
    let manifest = std::fs::read_to_string(manifest).unwrap();
    let line = manifest.lines().find(|line| line.starts_with("version ="));
    assert_eq!(line, Some(format!("version = \"{version}\"").as_str()));

    let number = gendr_pix_version_number();
    let parts = [number / 1_000_000, number / 1_000 % 1_000, number % 1_000];
    let release = version.split(['-', '+']).next();
    assert_eq!(
        release,
        Some(parts.map(|part| part.to_string()).join(".").as_str())
    );
}
