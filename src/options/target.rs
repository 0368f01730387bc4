//! The size of the output.

use crate::error::{Error, Result};

/// The size of an enlarged picture. Pictures are never reduced: a target smaller than the picture
/// is an error.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Target {
    /// The ratio of output sides to input sides, at least 1 (which restores without enlarging).
    /// Sides are rounded down.
    Scale(f64),
    /// The width in pixels. The height follows from the aspect ratio.
    Width(u32),
    /// The height in pixels. The width follows from the aspect ratio.
    Height(u32),
    /// The longer side in pixels. The shorter side follows from the aspect ratio.
    Longest(u32),
    /// The width and the height in pixels. The picture is stretched if its aspect ratio differs.
    Size(u32, u32),
}

/// The enlargement of one picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Enlargement {
    /// The width of the result in pixels, at least that of the picture.
    pub(crate) width: usize,
    /// The height of the result in pixels, at least that of the picture.
    pub(crate) height: usize,
    /// The number of source pixels per pixel of the result, horizontally and vertically.
    pub(crate) steps: (f64, f64),
}

impl Target {
    /// Checks the scale.
    ///
    /// # Errors
    ///
    /// [`Error::Option`] for a scale that is not a finite number of at least 1.
    pub(crate) fn validate(self) -> Result<()> {
        match self {
            Self::Scale(scale) if !(scale.is_finite() && scale >= 1.0) => Err(Error::Option {
                option: "scale",
                reason: format!("{scale} is not a finite number of at least 1"),
            }),
            _ => Ok(()),
        }
    }

    /// Returns the enlargement of a picture of `width` x `height`, neither of them zero.
    ///
    /// # Errors
    ///
    /// The errors of [`validate`](Self::validate), [`Error::Option`] for a target smaller than the
    /// picture, and [`Error::OutputTooLarge`] for more pixels than `limit`.
    pub(crate) fn enlarge(self, width: u32, height: u32, limit: u64) -> Result<Enlargement> {
        self.validate()?;
        let scaled = |side: u32, from: u32, to: u32| {
            (u64::from(side) * u64::from(to) + u64::from(from) / 2) / u64::from(from)
        };
        let [w, h] = match self {
            Self::Scale(scale) => [width, height].map(|n| (f64::from(n) * scale).floor() as u64),
            Self::Width(to) => [to.into(), scaled(height, width, to)],
            Self::Height(to) => [scaled(width, height, to), to.into()],
            Self::Longest(to) if width >= height => [to.into(), scaled(height, width, to)],
            Self::Longest(to) => [scaled(width, height, to), to.into()],
            Self::Size(w, h) => [w.into(), h.into()],
        };
        if w < width.into() || h < height.into() {
            return Err(Error::Option {
                option: "target",
                reason: format!(
                    "{w}x{h} is smaller than the picture, {width}x{height}: pictures are not reduced"
                ),
            });
        }
        if u128::from(w) * u128::from(h) > u128::from(limit) {
            return Err(Error::OutputTooLarge {
                width: w,
                height: h,
                limit,
            });
        }
        let steps = match self {
            // As in PyTorch with a scale factor: the size is rounded down, but the step is exact.
            Self::Scale(scale) => (scale.recip(), scale.recip()),
            _ => (f64::from(width) / w as f64, f64::from(height) / h as f64),
        };
        Ok(Enlargement {
            width: w as usize,
            height: h as usize,
            steps,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn size(target: Target, width: u32, height: u32) -> (usize, usize) {
        let enlargement = target.enlarge(width, height, u64::MAX).unwrap();
        (enlargement.width, enlargement.height)
    }

    #[test]
    fn sides_follow_from_the_target() {
        assert_eq!(size(Target::Scale(1.5), 7, 3), (10, 4));
        assert_eq!(size(Target::Width(1920), 640, 427), (1920, 1281));
        assert_eq!(size(Target::Height(1080), 640, 427), (1619, 1080));
        assert_eq!(size(Target::Longest(1000), 640, 427), (1000, 667));
        assert_eq!(size(Target::Longest(1000), 427, 640), (667, 1000));
        assert_eq!(size(Target::Size(99, 700), 64, 64), (99, 700));
        assert_eq!(
            size(Target::Width(u32::MAX), 1, 1),
            (4_294_967_295, 4_294_967_295)
        );
    }

    #[test]
    fn smaller_targets_are_refused() {
        for target in [
            Target::Width(0),
            Target::Width(63),
            Target::Height(47),
            Target::Longest(1),
            Target::Size(64, 47),
        ] {
            let error = target.enlarge(64, 48, u64::MAX).unwrap_err();
            assert!(
                matches!(
                    error,
                    Error::Option {
                        option: "target",
                        ..
                    }
                ),
                "{error}"
            );
        }
    }

    proptest! {
        /// The steps cover the whole picture, and its proportions are kept to within half a pixel.
        #[test]
        fn proportions_are_kept(width in 1..5000_u32, height in 1..5000_u32, more in 0..5000_u32) {
            let longest = width.max(height) + more;
            let to = Target::Longest(longest).enlarge(width, height, u64::MAX).unwrap();
            prop_assert_eq!(to.width.max(to.height), longest as usize);
            let scale = f64::from(longest) / f64::from(width.max(height));
            prop_assert!((f64::from(width) * scale - to.width as f64).abs() <= 0.5 + 1e-9);
            prop_assert!((f64::from(height) * scale - to.height as f64).abs() <= 0.5 + 1e-9);
            prop_assert!((to.steps.0 * to.width as f64 - f64::from(width)).abs() < 1e-6);
        }
    }
}
