#include "base/error.h"
#include "checkpoint/gguf_checkpoint.h"
#include "checkpoint/model_files.h"
#include "tests/fuzz/memory_file.h"
#include "tests/fuzz/read_slices.h"

// Any bytes either open, and then all tensors can be read, or are refused with an Error; the same
// for the model's config, and for the check that both fit.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const dinfer::fuzz::MemoryFile file(data, size);
  try {
    const auto checkpoint = dinfer::open_gguf(file.path());
    dinfer::fuzz::read_slices(*checkpoint);
    dinfer::check_tensors(*checkpoint, dinfer::read_model_config({file.path(), true}));
  } catch (const dinfer::Error&) {
  }
  return 0;
}
