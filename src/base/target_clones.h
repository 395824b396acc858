// The instruction sets for which loops are compiled that the compiler vectorizes.
#pragma once

/// Stands before a function: GCC compiles it several times, and the program's start chooses the one
/// for the processor at hand. The function should be in an anonymous namespace: others are exported
/// from a shared library, hidden or not. It is compiled once
/// - by clang, which (version 19) leaves out inline functions that only such a function calls;
/// - with ThreadSanitizer, because the code that would choose runs before the sanitizer is ready.
#if defined(__x86_64__) && !defined(__clang__) && !defined(__SANITIZE_THREAD__)
// NOLINTNEXTLINE(cppcoreguidelines-macro-usage): there is no other way to name an attribute
#define BITLOG2_TARGET_CLONES [[gnu::target_clones("default", "avx2", "arch=x86-64-v4")]]
#else
#define BITLOG2_TARGET_CLONES
#endif
