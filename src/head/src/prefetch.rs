//! Asking the processor to load memory early.

/// Starts loading the cache line of `at`; does nothing where the processor has no such instruction.
#[inline(always)]
pub(crate) fn read<T>(at: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing that the program can see and the pointer is a valid reference.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(
            std::ptr::from_ref(at).cast(),
        );
    }

    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Starts loading all cache lines of a value.
#[inline(always)]
pub(crate) fn lines<T>(at: &T) {
    let mut offset = 0;
    while offset < size_of::<T>() {
        // SAFETY: the offset is within the value, whose bytes are only named here, not read.
        read(unsafe { &*std::ptr::from_ref(at).cast::<u8>().add(offset) });
        offset += 64;
    }
}
