//! What this processor can do that decides how an INT8 model runs on it.

/// The processor, as a receipt names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// The architecture, such as `x86_64`.
    pub architecture: &'static str,
    /// Those of the features that matter to 8-bit arithmetic which it has, in the order of the list in this file.
    pub features: Vec<&'static str>,
}

impl Cpu {
    /// The processor that this runs on.
    pub fn detect() -> Cpu {
        Cpu { architecture: std::env::consts::ARCH, features: features() }
    }

    /// Whether products of 8-bit numbers are summed in 32 bits by one instruction. Without it the sum of two goes through 16
    /// bits, which saturates for U8 times S8: weights then want one bit less.
    pub fn has_dot_product(&self) -> bool {
        ["avx512vnni", "avxvnni", "dotprod"].iter().any(|feature| self.features.contains(feature))
    }

    /// One line, such as `x86_64 avx2 avx512vnni`.
    pub fn line(&self) -> String {
        std::iter::once(self.architecture).chain(self.features.iter().copied()).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<&'static str> {
    macro_rules! present {
        ($($name:tt),*) => { [$(($name, std::is_x86_feature_detected!($name))),*] };
    }
    let known = present!("avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512vnni", "avxvnni", "avxvnniint8");
    known.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect()
}

#[cfg(target_arch = "aarch64")]
fn features() -> Vec<&'static str> {
    macro_rules! present {
        ($($name:tt),*) => { [$(($name, std::arch::is_aarch64_feature_detected!($name))),*] };
    }
    let known = present!("dotprod", "i8mm", "sve");
    known.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect()
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn features() -> Vec<&'static str> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_without_the_instruction_says_so() {
        let with = Cpu { architecture: "x86_64", features: vec!["avx2", "avx512vnni"] };
        let without = Cpu { architecture: "x86_64", features: vec!["avx2"] };
        assert!(with.has_dot_product() && !without.has_dot_product());
        assert_eq!(with.line(), "x86_64 avx2 avx512vnni");
        assert_eq!(Cpu::detect(), Cpu::detect());
    }
}
