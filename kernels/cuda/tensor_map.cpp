#include "kernels/cuda/tensor_map.h"

#include <cuda_runtime.h>

#include "base/error.h"
#include "kernels/cuda/error.h"

namespace dinfer::cuda {
namespace {

using Encode = decltype(::cuTensorMapEncodeTiled);

// The driver's function: found at run time, so that the program starts without a driver.
Encode* find_encode() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found{};
  require(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000,
                                           cudaEnableDefault, &found),
          "cudaGetDriverEntryPointByVersion");
  if (found != cudaDriverEntryPointSuccess) {
    fail(ExitCode::device,
         "the driver lacks cuTensorMapEncodeTiled: install one for CUDA 12 or newer");
  }
  return reinterpret_cast<Encode*>(function);
}

// More rows than any memory has: only those that exist are asked for.
constexpr cuuint64_t kRows = cuuint64_t{1} << 31;

}  // namespace

TensorMap map_rows(const void* rows, int columns, int box_columns, int box_rows) {
  static Encode* const encode = find_encode();
  TensorMap map;
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(columns), kRows};
  const cuuint64_t strides[] = {static_cast<cuuint64_t>(columns) * 2};  // bytes, of the second
  const cuuint32_t box[] = {static_cast<cuuint32_t>(box_columns),
                            static_cast<cuuint32_t>(box_rows)};
  const cuuint32_t steps[] = {1, 1};
  const CUresult result =
      encode(&map, CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 2, const_cast<void*>(rows), sizes, strides, box,
             steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    fail(ExitCode::device, "cuTensorMapEncodeTiled failed with {} for rows of {} numbers",
         static_cast<int>(result), columns);
  }
  return map;
}

}  // namespace dinfer::cuda
