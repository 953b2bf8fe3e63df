#include "base/error.h"
#include "checkpoint/safetensors.h"
#include "tests/fuzz/memory_file.h"
#include "tests/fuzz/read_slices.h"

// Any bytes either open, and then all tensors can be read, or are refused with an Error.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const dinfer::fuzz::MemoryFile file(data, size);
  try {
    dinfer::fuzz::read_slices(*dinfer::open_safetensors(file.path()));
  } catch (const dinfer::Error&) {
  }
  return 0;
}
