//! Where the arithmetic happens.

use std::num::NonZero;
use std::sync::Arc;

use candle_core::Device;
use pagewise_kernels::{Isa, ThreadPool};

use crate::LoadError;
use crate::rows::{Buffer, Buffers};

/// Which device a model is asked to run on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// A GPU if this build supports one and it is there, else the CPU.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// The first NVIDIA GPU.
    Cuda,
    /// Apple's GPU.
    Metal,
}

/// Where the arithmetic of a decoder happens.
#[derive(Clone)]
pub struct Compute {
    device: Device,
    /// Our own kernels, on the processor.
    pool: Option<Arc<ThreadPool>>,
    /// Whether our own kernels have keys and values in f32.
    has_exact_cache: bool,
    buffers: Arc<Buffers>,
}

impl Compute {
    /// Finds the device; `threads` is how many of the processor's to use, all of them if `None`.
    pub fn new(choice: DeviceChoice, threads: Option<usize>) -> Result<Self, LoadError> {
        let gpu = |device| Self::with(device, None);
        match choice {
            DeviceChoice::Cpu => Ok(Self::cpu(threads)),
            DeviceChoice::Cuda => cuda().map(gpu),
            DeviceChoice::Metal => metal().map(gpu),
            DeviceChoice::Auto => {
                Ok(cuda().or_else(|_| metal()).map_or_else(|_| Self::cpu(threads), gpu))
            }
        }
    }

    fn cpu(threads: Option<usize>) -> Self {
        let threads = threads
            .or_else(|| std::thread::available_parallelism().ok().map(NonZero::get))
            .unwrap_or(1);
        Self::with(Device::Cpu, Some(Arc::new(ThreadPool::new(threads))))
    }

    /// Takes the processor as if it were a GPU, everything on candle's tensors; slow, for
    /// comparisons.
    pub fn tensors() -> Self {
        Self::with(Device::Cpu, None)
    }

    fn with(device: Device, pool: Option<Arc<ThreadPool>>) -> Self {
        Self { device, pool, has_exact_cache: false, buffers: Arc::default() }
    }

    /// Uses only these instructions of the processor, where our own kernels compute.
    pub fn with_isa(self, isa: Isa) -> Self {
        let with_isa = |pool: Arc<ThreadPool>| Arc::new(ThreadPool::with_isa(pool.threads(), isa));
        Self { pool: self.pool.map(with_isa), ..self }
    }

    /// Makes no products in tiles of `bf16`, which depend on how many tokens are read at once: slower, for
    /// comparisons.
    pub fn without_tiles(self) -> Self {
        match self.isa() {
            Some(isa) => self.with_isa(isa.without_tiles()),
            None => self,
        }
    }

    /// Keeps more of each number than is worth its time: keys and values as f32 everywhere, and no
    /// products in tiles; for comparisons.
    pub fn exact(self) -> Self {
        Self { has_exact_cache: true, ..self.without_tiles() }
    }

    /// Returns the device as candle knows it.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Returns its name: `cpu`, `cuda` or `metal`.
    pub fn name(&self) -> &'static str {
        match self.device {
            Device::Cpu => "cpu",
            Device::Cuda(_) => "cuda",
            Device::Metal(_) => "metal",
        }
    }

    /// Whether our own kernels have keys and values in f32.
    pub(crate) fn has_exact_cache(&self) -> bool {
        self.has_exact_cache
    }

    /// Returns memory for `len` numbers, which have any value.
    pub(crate) fn buffer(&self, len: usize) -> Buffer {
        self.buffers.take(len)
    }

    /// Returns the instructions that our own kernels use, where these compute.
    pub fn isa(&self) -> Option<Isa> {
        self.pool.as_ref().map(|pool| pool.isa())
    }

    /// Returns the threads of our own kernels.
    pub(crate) fn pool(&self) -> Option<&Arc<ThreadPool>> {
        self.pool.as_ref()
    }
}

fn cuda() -> Result<Device, LoadError> {
    let reason = if cfg!(feature = "cuda") {
        match Device::new_cuda(0) {
            Ok(device) => return Ok(device),
            Err(error) => error.to_string(),
        }
    } else {
        "this program was built without CUDA; build it with the feature \"cuda\"".to_owned()
    };
    Err(LoadError::Device { device: "cuda", reason })
}

fn metal() -> Result<Device, LoadError> {
    let reason = if cfg!(feature = "metal") {
        match Device::new_metal(0) {
            Ok(device) => return Ok(device),
            Err(error) => error.to_string(),
        }
    } else {
        "this program was built without Metal; build it with the feature \"metal\"".to_owned()
    };
    Err(LoadError::Device { device: "metal", reason })
}
