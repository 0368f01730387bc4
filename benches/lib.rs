//! Only benchmarks: see `upscale.rs`.
