//! What the options do, and options of programs that were built with another version of the header.

use super::{Model, Outcome, plain};
use gendr_pix_c::*;

#[test]
fn options_are_used() {
    let model = Model::bundled();
    let mut bytes: Vec<u8> = (0..10 * 10).map(|i| (i * 53 % 256) as u8).collect();
    let mut with = |options| {
        model
            .upscale(&mut bytes, [10, 10, 1], Some(options))
            .unwrap()
    };
    let (reference, _) = with(plain());
    for options in [
        GendrPixOptions::default(),
        GendrPixOptions {
            guidance: 1.5,
            ..plain()
        },
        GendrPixOptions {
            fidelity: 0.5,
            ..plain()
        },
        GendrPixOptions {
            tile: 16,
            ..plain()
        },
    ] {
        assert!(with(options).0 != reference, "{options:?}");
    }
    let sized = |scale, width, height| {
        let options = GendrPixOptions {
            scale,
            width,
            height,
            ..plain()
        };
        model
            .upscale(&mut [9; 10 * 5], [10, 5, 1], Some(options))
            .unwrap()
            .1
    };
    assert_eq!(sized(1.5, 0, 0), [15, 7, 1]);
    assert_eq!(sized(1.5, 30, 0), [30, 15, 1]);
    assert_eq!(sized(1.5, 0, 30), [60, 30, 1]);
    assert_eq!(sized(1.5, 20, 30), [20, 30, 1]);
}

#[test]
fn every_byte_but_zero_sets_a_flag() {
    let model = Model::bundled();
    let mut bytes: Vec<u8> = (0..10 * 10).map(|i| (i * 53 % 256) as u8).collect();
    let mut with = |fast| {
        let options = GendrPixOptions {
            fast,
            ..GendrPixOptions::default()
        };
        let outcome = model.upscale(&mut bytes, [10, 10, 1], Some(options));
        outcome.unwrap().0
    };
    let (unset, set) = (with(0), with(1));
    assert!(unset != set);
    for fast in [2, 0x80, 0xFF] {
        assert!(with(fast) == set, "{fast}");
    }
}

/// The struct of the first version.
#[repr(C)]
struct FirstOptions {
    size: usize,
    scale: f64,
    width: u32,
    height: u32,
    guidance: f64,
    fidelity: f64,
    fast: u8,
    tile: u32,
    max_output_pixels: u64,
}

/// The struct of a later version.
#[repr(C)]
struct LaterOptions {
    known: GendrPixOptions,
    new: [u8; 16],
}

/// # Safety
///
/// `options` must begin with its size in bytes, or with a size that is refused.
unsafe fn upscale<T>(model: &Model, options: &T) -> Outcome {
    let options = std::ptr::from_ref(options).cast();
    unsafe { model.upscale_at(&mut [7; 12], [2, 2, 3], options) }
}

#[test]
fn options_start_from_the_defaults() {
    let mut options = plain();
    unsafe { gendr_pix_options(&mut options, size_of::<GendrPixOptions>()) };
    assert_eq!(
        format!("{options:?}"),
        format!("{:?}", GendrPixOptions::default())
    );
}

#[test]
fn options_of_the_first_version_are_enough() {
    let model = Model::bundled();
    // The bytes after the first version are no valid pointers: a call that reads them crashes.
    let mut room = [u64::MAX; 16];
    let start = &raw mut room;
    unsafe {
        start.cast::<FirstOptions>().write(FirstOptions {
            size: size_of::<FirstOptions>(),
            scale: 3.0,
            width: 0,
            height: 0,
            guidance: f64::NAN,
            fidelity: 1.0,
            fast: 1,
            tile: 0,
            max_output_pixels: 1 << 27,
        });
        let (_, size) = model
            .upscale_at(&mut [7; 12], [2, 2, 3], start.cast())
            .unwrap();
        assert_eq!(size, [6, 6, 3]);
        // A part of a field is not read.
        start.cast::<usize>().write(size_of::<FirstOptions>() + 1);
        let (_, size) = model
            .upscale_at(&mut [7; 12], [2, 2, 3], start.cast())
            .unwrap();
        assert_eq!(size, [6, 6, 3]);
    }
}

#[test]
fn sizes_that_no_version_has_are_refused() {
    let model = Model::bundled();
    let first = size_of::<FirstOptions>();
    for size in [0, 1, 8, first - 1, 4097, usize::MAX] {
        let options = GendrPixOptions { size, ..plain() };
        let (status, message) = unsafe { upscale(&model, &options) }.unwrap_err();
        assert_eq!(status, GendrPixStatus::Argument);
        let expected = format!("`options->size` is {size}, not from {first} to 4096");
        assert!(message.starts_with(&expected), "{message}");
    }
}

#[test]
fn options_of_later_versions_must_be_zero() {
    let model = Model::bundled();
    let mut options = LaterOptions {
        known: plain(),
        new: [0xAA; 16],
    };
    unsafe { gendr_pix_options((&raw mut options).cast(), size_of::<LaterOptions>()) };
    assert_eq!(options.known.size, size_of::<LaterOptions>());
    assert_eq!(options.new, [0; 16]);
    assert!(unsafe { upscale(&model, &options) }.is_ok());

    options.new[9] = 1;
    let (status, message) = unsafe { upscale(&model, &options) }.unwrap_err();
    assert_eq!(status, GendrPixStatus::Argument);
    let at = size_of::<GendrPixOptions>() + 9;
    assert!(message.contains(&format!("at byte {at}")), "{message}");
}

#[test]
fn defaults_are_not_written_beyond_the_size() {
    let mut room = [0xAA_u8; 2 * size_of::<GendrPixOptions>()];
    for size in [0, 12, size_of::<FirstOptions>(), size_of::<LaterOptions>()] {
        room.fill(0xAA);
        unsafe { gendr_pix_options(room.as_mut_ptr().cast(), size) };
        assert!(room[size..].iter().all(|&byte| byte == 0xAA), "{size}");
    }
}
