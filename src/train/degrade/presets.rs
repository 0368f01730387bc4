//! Settings of [`TwoOrder`].

use super::two_order::{
    BlurConfig, CompressionConfig, Forms, NoiseConfig, ResizeConfig, Round, Sinc, TwoOrder,
};

impl TwoOrder {
    /// Real-ESRGAN's, for x4.
    ///
    /// Source: `options/train_realesrgan_x4plus.yml` of xinntao/Real-ESRGAN, with the sizes of kernels (7 to 21) and the
    /// cutoffs that `realesrgan/data/realesrgan_dataset.py` has in code. Three things are done otherwise: the JPEG is a real
    /// file's (quality in whole numbers) and not its differentiable likeness; borders are replicated under a blur, not
    /// mirrored; and sharpening of the originals is no part of this.
    pub fn real_esrgan() -> Self {
        let first = Round {
            blur: BlurConfig {
                probability: 1.0,
                radius: [3, 10],
                sinc: sinc(0.1, 1.0 / 5.0),
                forms: Forms {
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

    /// APISR's, as far as it goes without codecs of video.
    ///
    /// Source: `opt.py` and `degradation/` of Kiteretsu77/APISR. Its compression is by WebP and JPEG in the first round (0.6
    /// and 0.4), by H.264, H.265, AVIF and WebP (0.7 together) and by MPEG-2, MPEG-4 and JPEG in the second.
    ///
    /// Here, the former kind is a sketch of intra coding (4x4 blocks predicted from their neighbours, with H.264's steps at
    /// its constant rate factors 23 to 38), since the `image` crate writes WebP without loss only and there is no encoder
    /// of the others in Rust without C; the latter, in which transform blocks stand by themselves, is JPEG. Left out are
    /// the filters that smooth blocks, the slanted modes of prediction, blocks larger than 4x4, and all that is between one
    /// picture of a video and the next.
    pub fn apisr() -> Self {
        let mut config = Self::real_esrgan();
        for round in [&mut config.first, &mut config.second] {
            round.blur.radius = [1, 5];
            round.blur.sinc.radius = [1, 5];
            round.resize = ResizeConfig {
                up: 0.2,
                down: 0.7,
                keep: 0.1,
                range: [0.15, 1.2],
                anywhere: true,
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

    /// For pictures that are small and a little worn rather than ruined. The numbers are ours: about a third of
    /// Real-ESRGAN's blur and noise, high JPEG qualities, and each part left out of many pictures.
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

/// A low-pass filter of Real-ESRGAN's sizes.
fn sinc(share: f64, lowest: f64) -> Sinc {
    Sinc {
        share,
        radius: [3, 10],
        cutoff: [lowest, 1.0],
        small_cutoff: 1.0 / 3.0,
    }
}
