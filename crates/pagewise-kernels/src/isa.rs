//! Which instructions the kernels may use.

#[cfg(target_arch = "x86_64")]
use crate::amx::TileForm;
use std::fmt;
use std::str::FromStr;

/// A family of kernels that this machine runs.
///
/// There is no other way to one than [`detect`](Self::detect), [`available`](Self::available) and
/// its name, so who holds a value may run its instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Isa(Family);

/// The families there are, the better ones later; no machine has some of both architectures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Family {
    /// Plain Rust, on every machine.
    Portable,
    /// 64-bit ARM.
    Neon,
    /// The same with products of four bytes.
    Dotprod,
    /// The same with products of small matrices of bytes.
    I8mm,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// The same with VNNI for vectors of 256 bits.
    AvxVnni,
    /// x86-64 with AVX-512 (F, BW, VL, DQ) and VNNI.
    Avx512Vnni,
    /// As [`Amx`](Self::Amx), but with weights of the `Q?K` types, and the activations that they meet, as bytes.
    /// It stands before that one, so that it is never detected: its speed was never measured.
    AmxInt8,
    /// [`Avx512Vnni`](Self::Avx512Vnni) with BF16, and AMX for that.
    Amx,
}

/// A name that is not one of a family that this machine runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownIsa {
    name: String,
}

impl Isa {
    /// Plain Rust, which every machine runs.
    pub const PORTABLE: Self = Self(Family::Portable);

    /// Returns the best family this machine runs.
    pub fn detect() -> Self {
        Self::available().last().unwrap_or(Self::PORTABLE)
    }

    /// Returns the families this machine runs, the better ones later.
    pub fn available() -> impl Iterator<Item = Self> {
        Family::ALL.into_iter().filter(|family| family.is_available()).map(Self)
    }

    /// Returns its name, from which it can be parsed.
    pub fn name(self) -> &'static str {
        match self.0 {
            Family::Portable => "portable",
            Family::Neon => "neon",
            Family::Dotprod => "dotprod",
            Family::I8mm => "i8mm",
            Family::Avx2 => "avx2",
            Family::AvxVnni => "avx-vnni",
            Family::Avx512Vnni => "avx512",
            Family::AmxInt8 => "amx-int8",
            Family::Amx => "amx",
        }
    }

    /// Returns whether products of many activations are made in tiles.
    pub fn has_tiles(self) -> bool {
        matches!(self.0, Family::AmxInt8 | Family::Amx)
    }

    /// Returns the family without products in tiles, which round weights and activations.
    pub fn without_tiles(self) -> Self {
        if self.has_tiles() { Self(Family::Avx512Vnni) } else { self }
    }

    pub(crate) fn family(self) -> Family {
        self.0
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Isa {
    type Err = UnknownIsa;

    fn from_str(name: &str) -> Result<Self, UnknownIsa> {
        let unknown = || UnknownIsa { name: name.to_owned() };
        Self::available().find(|isa| isa.name() == name).ok_or_else(unknown)
    }
}

impl fmt::Display for UnknownIsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Isa::available().map(Isa::name).collect();
        write!(f, "this machine has no \"{}\", but it has {}", self.name, names.join(", "))
    }
}

impl std::error::Error for UnknownIsa {}

impl Family {
    const ALL: [Self; 9] = [
        Self::Portable,
        Self::Neon,
        Self::Dotprod,
        Self::I8mm,
        Self::Avx2,
        Self::AvxVnni,
        Self::Avx512Vnni,
        Self::AmxInt8,
        Self::Amx,
    ];

    fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            let avx512_vnni = avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vnni");
            match self {
                Self::Portable => true,
                Self::Avx2 => avx2,
                Self::AvxVnni => avx2 && is_x86_feature_detected!("avxvnni"),
                Self::Avx512Vnni => avx512_vnni,
                Self::AmxInt8 => avx512_vnni && crate::amx::is_available(TileForm::Int8),
                Self::Amx => avx512_vnni && crate::amx::is_available(TileForm::Bf16),
                Self::Neon | Self::Dotprod | Self::I8mm => false,
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            use std::arch::is_aarch64_feature_detected;
            match self {
                Self::Portable => true,
                Self::Neon => is_aarch64_feature_detected!("neon"),
                Self::Dotprod => is_aarch64_feature_detected!("dotprod"),
                Self::I8mm => {
                    is_aarch64_feature_detected!("dotprod") && is_aarch64_feature_detected!("i8mm")
                }
                Self::Avx2 | Self::AvxVnni | Self::Avx512Vnni | Self::AmxInt8 | Self::Amx => false,
            }
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        {
            self == Self::Portable
        }
    }
}

/// Defines `$name`, which runs the `#[inline(always)]` function `$body` compiled for `isa`.
///
/// The body is plain Rust; what differs is how wide the compiler makes its loops.
macro_rules! multiversion {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:path) => {
        $(#[$doc])*
        #[allow(unsafe_code, clippy::too_many_arguments)]
        $vis fn $name(isa: $crate::Isa, $($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma,f16c")]
                fn avx2($($arg: $ty),*) $(-> $ret)? { $body($($arg),*) }
                #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
                fn avx512($($arg: $ty),*) $(-> $ret)? { $body($($arg),*) }
                match isa.family() {
                    $crate::isa::Family::Avx512Vnni
                    | $crate::isa::Family::AmxInt8
                    | $crate::isa::Family::Amx => {
                        // SAFETY: an `Isa` is only made for a machine that has its features.
                        return unsafe { avx512($($arg),*) };
                    }
                    // SAFETY: as above.
                    $crate::isa::Family::Avx2 | $crate::isa::Family::AvxVnni => {
                        return unsafe { avx2($($arg),*) };
                    }
                    _ => {}
                }
            }
            #[cfg(not(target_arch = "x86_64"))]
            let _ = isa;
            $body($($arg),*)
        }
    };
}
pub(crate) use multiversion;
