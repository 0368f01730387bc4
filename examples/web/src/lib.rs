//! The functions that the page's worker calls: they decode pictures, run the model on the CPU or
//! the GPU, and encode the results.

use burn_wgpu::graphics::WebGpu;
use burn_wgpu::init_setup_async;
use gendr_pix::picture::Picture;
use gendr_pix::{Error, GenDrPix, Padding, Tiling, Upscale, backend};
use image::{DynamicImage, ImageFormat, Limits, Rgb, RgbImage};
use wasm_bindgen::prelude::*;
use wgpu::{Device, ErrorFilter};

/// Largest number of pixels of the output: what fits in WebAssembly's 4 GB together with all
/// intermediate results.
const MAX_OUTPUT: u64 = 1 << 25;
/// Side and overlap of tiles in pixels.
const TILE: (usize, usize) = (1024, 128);
/// Largest difference between the GPU's picture and the CPU's, in levels of 8 bits.
const MAX_DIFFERENCE: u8 = 2;

/// A decoded picture.
#[wasm_bindgen]
pub struct Opened(Picture);

#[wasm_bindgen]
impl Opened {
    /// Decodes the bytes of a picture file.
    #[wasm_bindgen(constructor)]
    pub fn new(file: &[u8]) -> Result<Opened, JsError> {
        Ok(Self(Picture::from_bytes(file, Limits::default())?))
    }

    /// Width in pixels.
    #[wasm_bindgen(getter)]
    pub fn width(&self) -> u32 {
        self.0.image().width()
    }

    /// Height in pixels.
    #[wasm_bindgen(getter)]
    pub fn height(&self) -> u32 {
        self.0.image().height()
    }

    /// Returns the picture as a PNG file, so that browsers can show pictures in any format.
    pub fn preview(&self) -> Result<Vec<u8>, JsError> {
        Ok(self.0.to_bytes(ImageFormat::Png)?.0)
    }
}

/// The bundled model on the CPU and, after `useGpu`, on the GPU.
#[wasm_bindgen]
pub struct Model {
    cpu: GenDrPix<backend::Flex>,
    /// The model on the GPU, or the reason why there is none.
    gpu: Result<Gpu, String>,
}

#[wasm_bindgen]
impl Model {
    /// Loads the weights.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Result<Model, JsError> {
        Ok(Self {
            cpu: GenDrPix::pretrained(&Default::default())?,
            gpu: Err("it was not requested".to_owned()),
        })
    }

    /// Uses the GPU from now on, if its result for a small picture agrees with that of the CPU. The
    /// comparison also detects kernels that the browser refuses, which may be reported nowhere
    /// else.
    ///
    /// # Panics
    ///
    /// Panics if the browser has no WebGPU adapter, or the adapter has no device.
    #[wasm_bindgen(js_name = useGpu)]
    pub async fn use_gpu(&mut self) {
        self.gpu = match Gpu::new().await {
            Ok(gpu) => gpu.compared_with(&self.cpu).await,
            Err(error) => Err(error),
        }
        .map_err(|error| error.to_string());
    }

    /// Returns the reason why the GPU is not in use, or `undefined` if it is in use.
    #[wasm_bindgen(getter, js_name = whyNoGpu)]
    pub fn why_no_gpu(&self) -> Option<String> {
        self.gpu.as_ref().err().cloned()
    }

    /// Enlarges a picture and returns a PNG file. Runs all paddings that the model recommends if
    /// `best` is set, otherwise one.
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
    /// Enlarges on the GPU if there is one. If the GPU fails, the CPU is used from then on.
    async fn enlarge(
        &mut self,
        image: &DynamicImage,
        options: &Upscale,
    ) -> Result<DynamicImage, Error> {
        if let Ok(gpu) = &self.gpu {
            match gpu.upscale(image, options).await {
                Err(
                    error @ (Error::Device { .. } | Error::NonFiniteOutput | Error::ConstantOutput),
                ) => self.gpu = Err(error.to_string()),
                enlarged => return enlarged,
            }
        }
        self.cpu.upscale_with(image, options)
    }
}

/// The model on the GPU.
struct Gpu {
    model: GenDrPix<backend::Wgpu>,
    device: Device,
}

impl Gpu {
    async fn new() -> Result<Self, Error> {
        let device = Default::default();
        let setup = init_setup_async::<WebGpu>(&device, Default::default()).await;
        Ok(Self {
            model: GenDrPix::pretrained(&device)?,
            device: setup.device,
        })
    }

    /// Returns itself if its result for a small picture agrees with that of the CPU.
    async fn compared_with(self, cpu: &GenDrPix<backend::Flex>) -> Result<Self, Error> {
        let color = |x, y| Rgb([x * 10, y * 15, x * y].map(|value: u32| value as u8));
        let picture = RgbImage::from_fn(24, 16, color).into();
        let options = Upscale::new().ensemble(vec![Padding::CENTRED]);
        let expected = cpu.upscale_with(&picture, &options)?.into_rgb8();
        let found = self.upscale(&picture, &options).await?.into_rgb8();
        let pairs = expected.iter().zip(found.iter());
        let largest = pairs.map(|(a, &b)| a.abs_diff(b)).max();
        if largest > Some(MAX_DIFFERENCE) {
            let reason = "its result differs from the CPU's".to_owned();
            return Err(Error::Device { reason });
        }
        Ok(self)
    }

    async fn upscale(
        &self,
        image: &DynamicImage,
        options: &Upscale,
    ) -> Result<DynamicImage, Error> {
        // burn does not learn that the browser has refused a kernel, and continues with undefined
        // memory of the device.
        let filters = [
            ErrorFilter::OutOfMemory,
            ErrorFilter::Validation,
            ErrorFilter::Internal,
        ];
        let scopes = filters.map(|filter| self.device.push_error_scope(filter));
        let large = self.model.upscale_async(image, options).await;
        let mut refused = None;
        for scope in scopes.into_iter().rev() {
            refused = refused.or(scope.pop().await);
        }
        match refused {
            Some(error) => Err(Error::Device {
                reason: error.to_string(),
            }),
            None => large,
        }
    }
}
