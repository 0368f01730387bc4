//! What the page's worker calls: a model, and pictures from and to the bytes of files.

use gendr_pix::picture::Picture;
use gendr_pix::{GenDrPix, Padding, Tiling, Upscale, backend};
use image::{ImageFormat, Limits};
use wasm_bindgen::prelude::*;

/// Most pixels of the output: what the memory of WebAssembly, 4 GB, holds with all that is computed on the way.
const MAX_OUTPUT: u64 = 1 << 25;
/// Sides and overlap of tiles in cells of 8 pixels: up to 1024 x 1024 pixels are restored at once.
const TILE: (usize, usize) = (128, 16);

/// A picture that was read.
#[wasm_bindgen]
pub struct Opened(Picture);

#[wasm_bindgen]
impl Opened {
    /// Reads the bytes of a file.
    #[wasm_bindgen(constructor)]
    pub fn new(file: &[u8]) -> Result<Opened, JsError> {
        Ok(Self(Picture::from_bytes(file, Limits::default())?))
    }

    /// Pixels of a row.
    #[wasm_bindgen(getter)]
    pub fn width(&self) -> u32 {
        self.0.image().width()
    }

    /// Rows.
    #[wasm_bindgen(getter)]
    pub fn height(&self) -> u32 {
        self.0.image().height()
    }

    /// The picture as a PNG file, which browsers can show whatever it was read from.
    pub fn preview(&self) -> Result<Vec<u8>, JsError> {
        Ok(self.0.to_bytes(ImageFormat::Png)?.0)
    }
}

/// The bundled model.
#[wasm_bindgen]
pub struct Model(GenDrPix<backend::Flex>);

#[wasm_bindgen]
impl Model {
    /// Reads the weights.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Result<Model, JsError> {
        Ok(Self(GenDrPix::pretrained(&Default::default())?))
    }

    /// The enlarged picture as a PNG file. `best` runs all paddings that the model recommends, else one.
    pub fn upscale(&self, picture: Opened, scale: f64, best: bool) -> Result<Vec<u8>, JsError> {
        let mut options = Upscale::new()
            .scale(scale)
            .tiling(Tiling::new(TILE.0, TILE.1)?)
            .max_output_pixels(MAX_OUTPUT);
        if !best {
            options = options.ensemble(vec![Padding::CENTRED]);
        }
        let large = picture
            .0
            .map(|image| self.0.upscale_with(image, &options))?;
        Ok(large.to_bytes(ImageFormat::Png)?.0)
    }
}
