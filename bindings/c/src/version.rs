//! The version of the library.

use std::ffi::{CStr, c_char};

const VERSION: &CStr =
    match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => panic!("the version has a zero byte"),
    };

/// Major, minor and patch number in three decimal digits each.
const VERSION_NUMBER: u32 = number(env!("CARGO_PKG_VERSION_MAJOR")) * 1_000_000
    + number(env!("CARGO_PKG_VERSION_MINOR")) * 1_000
    + number(env!("CARGO_PKG_VERSION_PATCH"));

const fn number(digits: &str) -> u32 {
    match u32::from_str_radix(digits, 10) {
        Ok(number) => number,
        Err(_) => panic!("a part of the version is not a number"),
    }
}

/// Returns the version of the library that is running, such as "0.1.0". The string is static: do
/// not free it.
#[unsafe(no_mangle)]
pub extern "C" fn gendr_pix_version() -> *const c_char {
    VERSION.as_ptr()
}

/// Returns the version of the library that is running as a number that grows with each version:
/// `major * 1000000 + minor * 1000 + patch`. Version 1.2.3 is 1002003.
#[unsafe(no_mangle)]
pub extern "C" fn gendr_pix_version_number() -> u32 {
    VERSION_NUMBER
}
