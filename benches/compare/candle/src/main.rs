//! Times passes of the same UNet with random weights in candle, and measures peak memory.
//! `compare.py` runs this program.
//!
//! `cargo run --release --manifest-path benches/compare/candle/Cargo.toml -- 512x512 3`
//!
//! The sample has the size of the picture in cells, without the extra cell of the other programs,
//! because candle's UNet does not support odd sizes.

use candle_core::{DType, Device, Tensor};
use candle_nn::{VarBuilder, VarMap};
use candle_transformers::models::stable_diffusion::unet_2d::{
    BlockConfig, UNet2DConditionModel, UNet2DConditionModelConfig,
};
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let size = args.next().ok_or("missing or invalid size: expected WIDTHxHEIGHT, such as 512x512")?;
    let (width, height) = size.split_once('x').ok_or("missing or invalid size: expected WIDTHxHEIGHT, such as 512x512")?;
    let runs: usize = args.next().ok_or("missing number of passes")?.parse()?;
    let (width, height): (usize, usize) = (width.parse()?, height.parse()?);

    let device = Device::Cpu;
    let weights = VarMap::new();
    let builder = VarBuilder::from_varmap(&weights, DType::F32, &device);
    let unet = UNet2DConditionModel::new(builder, 192, 192, false, sd21())?;
    let sample = Tensor::randn(0f32, 1.0, (1, 192, height / 8, width / 8), &device)?;
    let prompt = Tensor::randn(0f32, 1.0, (1, 77, 1024), &device)?;
    for run in 0..=runs {
        let start = Instant::now();
        unet.forward(&sample, 500.0, &prompt)?;
        if run > 0 {
            println!("pass: {:.3} s", start.elapsed().as_secs_f64());
        }
    }
    // SAFETY: `rusage` consists of numbers, for which zeros are valid. The call writes only to
    // `usage`.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    if unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) } == 0 {
        let bytes = usage.ru_maxrss as f64 * 1024.0;
        println!("peak memory of the process: {:.2} GB", bytes / 1e9);
    }
    Ok(())
}

/// The UNet of Stable Diffusion 2.1.
fn sd21() -> UNet2DConditionModelConfig {
    let block = |out_channels, attention: bool, attention_head_dim| BlockConfig {
        out_channels,
        use_cross_attn: attention.then_some(1),
        attention_head_dim,
    };
    UNet2DConditionModelConfig {
        blocks: vec![
            block(320, true, 5),
            block(640, true, 10),
            block(1280, true, 20),
            block(1280, false, 20),
        ],
        cross_attention_dim: 1024,
        use_linear_projection: true,
        ..Default::default()
    }
}
