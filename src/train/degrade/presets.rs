//! Presets of [`SecondOrderDegradation`].

use super::second_order::{
    BlurConfig, CompressionConfig, DegradationRound, KernelWeights, NoiseConfig, ResizeConfig,
    SecondOrderDegradation, SincConfig,
};

impl SecondOrderDegradation {
    /// Returns the settings of Real-ESRGAN, for x4.
    ///
    /// Source: `options/train_realesrgan_x4plus.yml` of xinntao/Real-ESRGAN, with the kernel sizes
    /// (7 to 21) and cutoffs in the code of `realesrgan/data/realesrgan_dataset.py`. Three things
    /// differ. JPEG files are real ones, with a whole number as quality, and not a differentiable
    /// approximation. Blurs replicate the border and do not mirror it. The originals are not
    /// sharpened.
    #[must_use]
    pub fn real_esrgan() -> Self {
        let first = DegradationRound {
            blur: BlurConfig {
                probability: 1.0,
                radius: [3, 10],
                sinc: sinc(0.1, 1.0 / 5.0),
                forms: KernelWeights {
                    gaussian: 0.45,
                    stretched_gaussian: 0.25,
                    generalised: 0.12,
                    stretched_generalised: 0.03,
                    plateau: 0.12,
                    stretched_plateau: 0.03,
                },
                sigma: [0.2, 3.0],
                generalised: [0.5, 4.0],
                plateau: [1.0, 2.0],
            },
            resize: ResizeConfig {
                up: 0.2,
                down: 0.7,
                keep: 0.1,
                range: [0.15, 1.5],
                anywhere: false,
            },
            noise: NoiseConfig {
                probability: 1.0,
                gaussian: 0.5,
                sigma: [1.0, 30.0],
                poisson: [0.05, 3.0],
                grey: 0.4,
            },
            compression: CompressionConfig {
                probability: 1.0,
                predicted: 0.0,
                quantiser: [23, 38],
                jpeg_quality: [30, 95],
                chroma_subsampling: 1.0,
            },
        };
        let mut second = first.clone();
        second.blur.probability = 0.8;
        second.blur.sigma = [0.2, 1.5];
        second.resize = ResizeConfig {
            up: 0.3,
            down: 0.4,
            keep: 0.3,
            range: [0.3, 1.2],
            anywhere: false,
        };
        second.noise.sigma = [1.0, 25.0];
        second.noise.poisson = [0.05, 2.5];
        Self {
            first,
            second,
            last_sinc: sinc(0.8, 1.0 / 3.0),
            compression_last: 0.5,
        }
    }

    /// Returns the settings of APISR, without its video codecs.
    ///
    /// Source: `opt.py` and `degradation/` of Kiteretsu77/APISR. It compresses with WebP (0.6) and
    /// JPEG (0.4) in the first round. In the second, it compresses with H.264, H.265, AVIF and WebP
    /// (0.7 together), or with MPEG-2, MPEG-4 and JPEG.
    ///
    /// Here, a simplified intra coding replaces H.264, H.265, AVIF and WebP: 4x4 blocks are
    /// predicted from their neighbours, with H.264's step sizes at its constant rate factors 23 to
    /// 38. The `image` crate writes lossless WebP only, and there is no pure Rust encoder of the
    /// others. JPEG replaces MPEG-2 and MPEG-4, whose transform blocks are independent too. Left
    /// out are deblocking filters, diagonal prediction modes, blocks larger than 4x4, and
    /// prediction between the frames of a video.
    #[must_use]
    pub fn apisr() -> Self {
        let mut config = Self::real_esrgan();
        let resize = config.first.resize.clone();
        for round in [&mut config.first, &mut config.second] {
            round.blur.radius = [1, 5];
            round.blur.sinc.radius = [1, 5];
            round.resize = ResizeConfig {
                range: [0.15, 1.2],
                anywhere: true,
                ..resize
            };
            round.compression.jpeg_quality = [20, 95];
        }
        config.first.resize.range[0] = 0.1;
        config.first.compression.predicted = 0.6;
        config.second.compression.predicted = 0.7;
        config.last_sinc.share = 0.0;
        config.compression_last = 1.0;
        config
    }

    /// Returns settings for pictures that are small and mildly degraded. There is no source for the
    /// numbers: about a third of Real-ESRGAN's blur and noise, high JPEG qualities, and parts that
    /// are left out of many pictures.
    #[must_use]
    pub fn mild() -> Self {
        let mut config = Self::real_esrgan();
        config.first.blur.probability = 0.7;
        config.first.blur.sigma = [0.2, 1.2];
        config.first.resize.range = [0.5, 1.2];
        config.second.blur.probability = 0.3;
        config.second.blur.sigma = [0.2, 0.6];
        config.second.resize.range = [0.7, 1.1];
        for round in [&mut config.first, &mut config.second] {
            round.blur.sinc.share = 0.05;
            round.noise.probability = 0.5;
            round.noise.sigma = [1.0, 8.0];
            round.noise.poisson = [0.05, 0.8];
            round.compression.probability = 0.6;
            round.compression.jpeg_quality = [60, 95];
            round.compression.chroma_subsampling = 0.7;
        }
        config.last_sinc.share = 0.2;
        config
    }
}

/// Returns a sinc filter with Real-ESRGAN's kernel sizes.
fn sinc(share: f64, lowest: f64) -> SincConfig {
    SincConfig {
        share,
        radius: [3, 10],
        cutoff: [lowest, 1.0],
        small_cutoff: 1.0 / 3.0,
    }
}
