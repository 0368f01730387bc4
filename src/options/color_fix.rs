//! The methods that match the colours of the output to those of the input.

/// How the colours of the model's output are matched to those of the input.
///
/// Measured with the bundled model at x4 on two photos (`benches/score.py`), clean (reduced to a
/// quarter) and real (blurred, reduced, noisy and compressed): PSNR and SSIM of luma, PSNR of RGB,
/// and the distance between the channel means of output and input.
///
/// | | PSNR | SSIM | PSNR, RGB | mean of a channel |
/// | --- | --- | --- | --- | --- |
/// | none: clean, real | 28.34, 26.37 dB | 0.8413, 0.7638 | 26.710, 24.263 dB | 0.18/255, 1.62/255 |
/// | mean and deviation: clean, real | 28.32, 26.31 dB | 0.8405, 0.7614 | 26.694, 24.220 dB | 0.02/255, 0.02/255 |
/// | wavelet: clean, real | 28.34, 26.37 dB | 0.8412, 0.7635 | 26.711, 24.272 dB | 0.02/255, 0.03/255 |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ColorFix {
    /// The colours of the model's output are unchanged.
    None,
    /// Each channel gets the mean and the standard deviation of the plain resize, over the whole
    /// picture.
    MeanStd,
    /// Structure coarser than about 32 output pixels comes from the plain resize. Other programs
    /// call this the "wavelet" fix.
    #[default]
    Wavelet,
}
