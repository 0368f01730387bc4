//! Detection of the unit that multiplies bf16 numbers: Intel's Advanced Matrix Extensions (AMX) on
//! Linux, or AVX512-BF16.

use super::super::element::Element;
use super::layout::{SIDE, STEP_DEPTH};

/// The unit that multiplies bf16 numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unit {
    /// The matrix unit, AMX.
    Matrix,
    /// The vector unit, AVX512-BF16. It computes two bf16 products in the time of one f32 product,
    /// so three bf16 products instead of one f32 product are no gain.
    Vectors,
}

/// Proof that this CPU has a unit that multiplies bf16 numbers, and that the operating system
/// permits its use. All CPUs with such a unit have AVX-512, so this is also the proof of AVX-512.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tiles {
    unit: Unit,
    /// bf16 numbers per value, one or two.
    parts: usize,
}

impl Tiles {
    /// Returns the unit for values of type `E`, if it is faster than f32 arithmetic on the vector
    /// unit.
    pub(crate) fn new<E: Element>() -> Option<Self> {
        let parts = E::PARTS;
        let matrix = has_amx().then_some(Self {
            unit: Unit::Matrix,
            parts,
        });
        matrix.or_else(|| Self::vector_unit().filter(|_| parts == 1))
    }

    /// Returns the vector unit for bf16, if the CPU has AVX512-BF16.
    pub(crate) fn vector_unit() -> Option<Self> {
        has_avx512_bf16().then_some(Self {
            unit: Unit::Vectors,
            parts: 1,
        })
    }

    /// Returns the unit for values of type `E`, if a product of this size is worth the packing. Per
    /// index of the inner dimension, the product packs `rows + columns` numbers for
    /// `rows * columns` multiplications.
    pub(crate) fn if_worthwhile<E: Element>(rows: usize, columns: usize) -> Option<Self> {
        /// Multiplications per packed number that make the packing worthwhile.
        const ENOUGH: usize = 48;
        Self::new::<E>().filter(|_| rows * columns >= ENOUGH * (rows + columns))
    }

    pub(crate) fn unit(self) -> Unit {
        self.unit
    }

    /// bf16 numbers per value, one or two.
    #[inline(always)]
    pub(crate) fn parts(self) -> usize {
        self.parts
    }

    /// Lines in a step of a panel: two tiles for each part.
    #[inline(always)]
    pub(crate) fn step(self) -> usize {
        self.parts * SIDE
    }

    /// Lines of a panel of 32 rows or columns with this inner dimension.
    pub(crate) fn lines(self, inner: usize) -> usize {
        inner.div_ceil(STEP_DEPTH) * self.step()
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn has_amx() -> bool {
    static HAS_AMX: std::sync::LazyLock<bool> =
        std::sync::LazyLock::new(|| amx_is_present() && amx_is_permitted());
    *HAS_AMX
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn amx_is_present() -> bool {
    const BF16: u32 = 1 << 22;
    const TILES: u32 = 1 << 24;
    // The function is unsafe in the oldest Rust version that the crate supports.
    #[allow(unused_unsafe)]
    let features = unsafe { std::arch::x86_64::__cpuid_count(7, 0) }.edx;
    features & (BF16 | TILES) == BF16 | TILES
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
}

/// Requests permission to use the tiles. Linux saves their 8 KB per thread only for processes that
/// have requested it.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn amx_is_permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: the call takes two numbers and changes nothing but the permission. A kernel without
    // this call returns an error.
    unsafe {
        libc::syscall(
            libc::SYS_arch_prctl,
            ARCH_REQ_XCOMP_PERM,
            XFEATURE_XTILEDATA,
        ) == 0
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
fn has_amx() -> bool {
    false
}

#[cfg(target_arch = "x86_64")]
fn has_avx512_bf16() -> bool {
    is_x86_feature_detected!("avx512bf16")
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx512_bf16() -> bool {
    false
}
