#include "base/error.h"
#include "checkpoint/packed_parts.h"
#include "checkpoint/safetensors.h"
#include "tests/fuzz/memory_file.h"
#include "tests/fuzz/read_slices.h"

// Any bytes either open, and then all tensors can be read, as they are and as quantised weights, or
// are refused with an Error.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using Method = dinfer::QuantizationConfig::Method;
  const dinfer::fuzz::MemoryFile file(data, size);
  for (const Method method : {Method::gptq, Method::awq, Method::compressed_tensors, Method::fp8}) {
    try {
      const auto checkpoint = dinfer::open_safetensors(file.path());
      if (method == Method::gptq) dinfer::fuzz::read_slices(*checkpoint);
      dinfer::join_packed_matrices(
          *checkpoint,
          {.method = method, .bits = {4, 8}, .groups = {32}, .by_activation = size % 2 == 0});
      dinfer::fuzz::read_slices(*checkpoint);
    } catch (const dinfer::Error&) {
    }
  }
  return 0;
}
