//! The architectures (strictly: system call ABIs) that a filter tells apart.

use oci::Arch as Named;

/// A system call ABI with its own numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Arch {
    X86_64,
    X86,
    X32,
    Aarch64,
    Arm,
    Riscv64,
    Loongarch64,
    Ppc64le,
}

impl Arch {
    /// How many there are.
    pub(super) const COUNT: usize = 8;

    /// Every one of them, in the order of the number table's columns.
    pub const ALL: [Self; Self::COUNT] = [
        Self::X86_64,
        Self::X86,
        Self::X32,
        Self::Aarch64,
        Self::Arm,
        Self::Riscv64,
        Self::Loongarch64,
        Self::Ppc64le,
    ];

    /// The one this program was compiled for.
    #[cfg(target_arch = "x86_64")]
    pub const NATIVE: Self = Self::X86_64;
    /// The one this program was compiled for.
    #[cfg(target_arch = "aarch64")]
    pub const NATIVE: Self = Self::Aarch64;
    /// The one this program was compiled for.
    #[cfg(target_arch = "riscv64")]
    pub const NATIVE: Self = Self::Riscv64;
    /// The one this program was compiled for.
    #[cfg(target_arch = "loongarch64")]
    pub const NATIVE: Self = Self::Loongarch64;
    /// The one this program was compiled for.
    #[cfg(all(target_arch = "powerpc64", target_endian = "little"))]
    pub const NATIVE: Self = Self::Ppc64le;
    /// The one this program was compiled for.
    #[cfg(target_arch = "arm")]
    pub const NATIVE: Self = Self::Arm;
    /// The one this program was compiled for.
    #[cfg(target_arch = "x86")]
    pub const NATIVE: Self = Self::X86;

    /// The `AUDIT_ARCH_*` value in `seccomp_data.arch`; x32 shares the one of x86_64.
    pub(super) fn audit_token(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
            Self::Riscv64 => 0xc000_00f3,
            Self::Loongarch64 => 0xc000_0102,
            Self::Ppc64le => 0xc000_0015,
        }
    }

    /// Whether its arguments have 32 bits, so that only the low half of a value can matter.
    ///
    /// x32 does not: it runs with 64-bit registers, and the kernel reports all of them.
    pub(super) fn is_32_bit(self) -> bool {
        matches!(self, Self::X86 | Self::Arm)
    }

    /// The name in `/linux/seccomp/architectures`.
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "SCMP_ARCH_X86_64",
            Self::X86 => "SCMP_ARCH_X86",
            Self::X32 => "SCMP_ARCH_X32",
            Self::Aarch64 => "SCMP_ARCH_AARCH64",
            Self::Arm => "SCMP_ARCH_ARM",
            Self::Riscv64 => "SCMP_ARCH_RISCV64",
            Self::Loongarch64 => "SCMP_ARCH_LOONGARCH64",
            Self::Ppc64le => "SCMP_ARCH_PPC64LE",
        }
    }

    /// The architecture of that name, `native` for `SCMP_ARCH_NATIVE`.
    ///
    /// `None` for one we have no numbers of. No kernel that we run on reports such a call, so
    /// rules for it could never match.
    pub(super) fn from_name(name: Named, native: Self) -> Option<Self> {
        match name {
            Named::ScmpArchNative => Some(native),
            Named::ScmpArchX86_64 => Some(Self::X86_64),
            Named::ScmpArchX86 => Some(Self::X86),
            Named::ScmpArchX32 => Some(Self::X32),
            Named::ScmpArchAarch64 => Some(Self::Aarch64),
            Named::ScmpArchArm => Some(Self::Arm),
            Named::ScmpArchRiscv64 => Some(Self::Riscv64),
            Named::ScmpArchLoongarch64 => Some(Self::Loongarch64),
            Named::ScmpArchPpc64le => Some(Self::Ppc64le),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back_as_itself() {
        for (index, arch) in Arch::ALL.into_iter().enumerate() {
            assert_eq!(
                arch as usize, index,
                "the table's columns are in this order"
            );
            let mut names = Named::ALL.iter();
            let named = names.find(|named| named.as_str() == arch.name()).unwrap();
            assert_eq!(Arch::from_name(*named, Arch::NATIVE), Some(arch));
        }
        assert_eq!(
            Arch::from_name(Named::ScmpArchNative, Arch::Arm),
            Some(Arch::Arm)
        );
        assert_eq!(Arch::from_name(Named::ScmpArchS390x, Arch::X86_64), None);
    }
}
