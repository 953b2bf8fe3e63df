// What the compiler may use beyond Highway's target. Included once per target.
#if defined(DINFER_KERNELS_CPU_TARGET_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DINFER_KERNELS_CPU_TARGET_INL_H_
#undef DINFER_KERNELS_CPU_TARGET_INL_H_
#else
#define DINFER_KERNELS_CPU_TARGET_INL_H_
#endif

#include <hwy/highway.h>

// Highway 1.0.3 tests for AVX-512 VNNI at run time before it chooses AVX3_DL, but does not ask the
// compiler for it: such kernels stand between DINFER_BEFORE_KERNELS and DINFER_AFTER_KERNELS
// in place of Highway's pair. AMX comes with AVX-512 VNNI but not the other way round: what uses
// tiles is compiled for that target, and chosen by amx_works().
#undef DINFER_VNNI
#undef DINFER_TILES
#undef DINFER_BEFORE_KERNELS
#undef DINFER_AFTER_KERNELS
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3_DL
#define DINFER_VNNI 1
#if DINFER_AMX
#define DINFER_TILES 1
#define DINFER_BEFORE_KERNELS \
  HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512vnni,amx-tile,amx-int8,amx-bf16")
#else
#define DINFER_TILES 0
#define DINFER_BEFORE_KERNELS HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512vnni")
#endif
#define DINFER_AFTER_KERNELS HWY_POP_ATTRIBUTES
#else
#define DINFER_VNNI 0
#define DINFER_TILES 0
#define DINFER_BEFORE_KERNELS HWY_BEFORE_NAMESPACE();
#define DINFER_AFTER_KERNELS HWY_AFTER_NAMESPACE();
#endif

#endif
