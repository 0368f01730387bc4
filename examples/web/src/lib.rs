//! What the page's worker calls: a model, and pictures from and to the bytes of files.

use burn_wgpu::graphics::WebGpu;
use burn_wgpu::init_setup_async;
use gendr_pix::picture::Picture;
use gendr_pix::{Error, GenDrPix, Padding, Tiling, Upscale, backend};
use image::{DynamicImage, ImageFormat, Limits, Rgb, RgbImage};
use wasm_bindgen::prelude::*;

/// Most pixels of the output: what the memory of WebAssembly, 4 GB, holds with all that is computed on the way.
const MAX_OUTPUT: u64 = 1 << 25;
/// Sides and overlap of tiles in cells of 8 pixels: up to 1024 x 1024 pixels are restored at once.
const TILE: (usize, usize) = (128, 16);
/// Most that a GPU's picture may differ from the CPU's, in levels of 8 bits.
const MAX_DIFFERENCE: u8 = 2;

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

/// The bundled model, on the CPU and, once asked for, on the GPU.
#[wasm_bindgen]
pub struct Model {
    cpu: GenDrPix<backend::Flex>,
    gpu: Option<GenDrPix<backend::Wgpu>>,
}

#[wasm_bindgen]
impl Model {
    /// Reads the weights.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Result<Model, JsError> {
        Ok(Self {
            cpu: GenDrPix::pretrained(&Default::default())?,
            gpu: None,
        })
    }

    /// Takes the GPU from now on, if it makes of a picture what the CPU makes: a kernel that a browser refuses is an error
    /// nowhere else. The browser must have a WebGPU adapter; without one, or a device of it, this panics.
    #[wasm_bindgen(js_name = useGpu)]
    pub async fn use_gpu(&mut self) -> Result<(), JsError> {
        let device = Default::default();
        init_setup_async::<WebGpu>(&device, Default::default()).await;
        let gpu = GenDrPix::<backend::Wgpu>::pretrained(&device)?;
        let color = |x, y| Rgb([x * 10, y * 15, x * y].map(|value: u32| value as u8));
        let picture = RgbImage::from_fn(24, 16, color).into();
        let options = Upscale::new().ensemble(vec![Padding::CENTRED]);
        let expected = self.cpu.upscale_with(&picture, &options)?.into_rgb8();
        let found = gpu.upscale_async(&picture, &options).await?.into_rgb8();
        let mut pairs = expected.iter().zip(found.iter());
        if pairs.any(|(a, &b)| a.abs_diff(b) > MAX_DIFFERENCE) {
            return Err(JsError::new("the GPU does not compute what the CPU does"));
        }
        self.gpu = Some(gpu);
        Ok(())
    }

    /// Which of the two enlarged the last picture, or will enlarge the first.
    #[wasm_bindgen(getter)]
    pub fn device(&self) -> String {
        match self.gpu {
            Some(_) => "GPU".to_owned(),
            None => "CPU".to_owned(),
        }
    }

    /// The enlarged picture as a PNG file. `best` runs all paddings that the model recommends, else one.
    pub async fn upscale(
        &mut self,
        picture: Opened,
        scale: f64,
        best: bool,
    ) -> Result<Vec<u8>, JsError> {
        let mut options = Upscale::new()
            .scale(scale)
            .tiling(Tiling::new(TILE.0, TILE.1)?)
            .max_output_pixels(MAX_OUTPUT);
        if !best {
            options = options.ensemble(vec![Padding::CENTRED]);
        }
        let enlarge = async |image: &DynamicImage| self.enlarge(image, &options).await;
        let large = picture.0.map_async(enlarge).await?;
        Ok(large.to_bytes(ImageFormat::Png)?.0)
    }
}

impl Model {
    /// On the GPU, if there is one; should it fail, from then on on the CPU.
    async fn enlarge(
        &mut self,
        image: &DynamicImage,
        options: &Upscale,
    ) -> Result<DynamicImage, Error> {
        if let Some(gpu) = &self.gpu {
            match gpu.upscale_async(image, options).await {
                Err(Error::Device { .. } | Error::NonFiniteOutput | Error::ConstantOutput) => {
                    self.gpu = None;
                }
                enlarged => return enlarged,
            }
        }
        self.cpu.upscale_with(image, options)
    }
}
