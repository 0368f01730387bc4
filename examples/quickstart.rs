//! Enlarges a picture in a few lines.
//!
//! ```sh
//! cargo run --release --example quickstart -- photo.jpg
//! ```

use gendr_pix::{GenDrPix, backend};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os()
        .nth(1)
        .unwrap_or_else(|| "assets/sample.jpg".into());

    let model = GenDrPix::<backend::Cpu>::pretrained(&Default::default())?;
    let large = model.upscale(&image::open(path)?)?;

    large.save("upscaled.png")?;
    println!(
        "upscaled.png: {} x {} pixels",
        large.width(),
        large.height()
    );
    Ok(())
}
