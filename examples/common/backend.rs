//! Chooses a backend by name and precision, for the measuring examples.

#[cfg(any(feature = "cuda", feature = "wgpu"))]
use gendr_pix::backend;
use gendr_pix::{Backend, GenDrPix, Precision, Result};

/// A backend that can report its device's memory.
pub trait Measured: Backend {
    /// Returns the bytes that the calling thread's memory pools have reserved on a GPU; `None` on a
    /// CPU. Pools return nothing on their own, so after a run this is the peak of the run.
    fn device_memory(_device: &Self::Device) -> Option<u64> {
        None
    }

    /// Returns how many of the [reserved bytes](Self::device_memory) tensors use at the moment;
    /// `None` on a CPU.
    fn device_memory_in_use(_device: &Self::Device) -> Option<u64> {
        None
    }
}

#[cfg(feature = "flex")]
impl Measured for gendr_pix::backend::Flex {}

/// Returns the bytes that the memory pools of `device` have reserved, and the bytes in use.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
fn pools<R: burn_cubecl::CubeRuntime>(device: &R::Device) -> Option<[u64; 2]> {
    let usage = R::client(device).memory_usage().ok()?;
    Some([usage.bytes_reserved, usage.bytes_in_use])
}

macro_rules! measured {
    ($runtime:ty, $($backend:ty),+) => {$(
        impl Measured for $backend {
            fn device_memory(device: &Self::Device) -> Option<u64> {
                pools::<$runtime>(device).map(|[reserved, _]| reserved)
            }

            fn device_memory_in_use(device: &Self::Device) -> Option<u64> {
                pools::<$runtime>(device).map(|[_, in_use]| in_use)
            }
        }
    )+};
}

#[cfg(feature = "wgpu")]
measured!(
    burn_wgpu::WgpuRuntime,
    backend::Wgpu<f32>,
    backend::Wgpu<half::f16>
);
#[cfg(feature = "cuda")]
measured!(
    burn_cubecl::cubecl::cuda::CudaRuntime,
    backend::Cuda<f32>,
    backend::Cuda<half::f16>,
    backend::Cuda<half::bf16>
);

/// The options of an example that choose backend and precision.
#[derive(clap::Args)]
pub struct BackendArgs {
    /// Backend to compute on; each one except `flex` needs the cargo feature of the same name.
    #[arg(long, value_parser = ["flex", "wgpu", "cuda"], default_value = "flex")]
    pub backend: String,
    /// Precision of weights and layers: bf16 on `flex` and `cuda`, f16 on GPUs.
    #[arg(long, value_parser = ["f32", "f16", "bf16"], default_value = "f32")]
    pub precision: String,
}

impl BackendArgs {
    /// Converts `model` to the requested precision, if that is not the backend's own.
    pub fn in_precision<B: Backend>(&self, model: GenDrPix<B>) -> Result<GenDrPix<B>> {
        match self.precision.as_str() {
            "bf16" => model.in_precision(Precision::Bf16),
            _ => Ok(model),
        }
    }

    /// Returns the error for a backend that is not in this build.
    pub fn missing(&self) -> String {
        let Self { backend, precision } = self;
        format!(
            "backend `{backend}` in {precision} is not built in: build with `--features {backend}` and choose a precision that it supports"
        )
    }
}

/// Calls `$run::<B>($($argument),*)` with the backend that `$args` selects. The error is boxed.
#[macro_export]
macro_rules! on_backend {
    ($args:expr, $run:ident($($argument:expr),*)) => {{
        let args: &$crate::common::backend::BackendArgs = $args;
        match (args.backend.as_str(), args.precision.as_str()) {
            #[cfg(feature = "flex")]
            ("flex", "f32" | "bf16") => $run::<gendr_pix::backend::Flex>($($argument),*),
            #[cfg(feature = "wgpu")]
            ("wgpu", "f32") => $run::<gendr_pix::backend::Wgpu>($($argument),*),
            #[cfg(feature = "wgpu")]
            ("wgpu", "f16") => $run::<gendr_pix::backend::Wgpu<half::f16>>($($argument),*),
            #[cfg(feature = "cuda")]
            ("cuda", "f32") => $run::<gendr_pix::backend::Cuda>($($argument),*),
            #[cfg(feature = "cuda")]
            ("cuda", "f16") => $run::<gendr_pix::backend::Cuda<half::f16>>($($argument),*),
            #[cfg(feature = "cuda")]
            ("cuda", "bf16") => $run::<gendr_pix::backend::Cuda<half::bf16>>($($argument),*),
            _ => Err(args.missing().into()),
        }
    }};
}
