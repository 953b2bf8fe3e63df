#include <algorithm>

#include "base/error.h"
#include "bootstrap/ring_config.h"
#include "net/frame.h"

// Any bytes on a connection are frames, wait for more, or are refused with an Error; so is any text
// as a ring's file. What is not authentic is never taken for a frame.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const dinfer::ByteView bytes = std::as_bytes(std::span(data, size));
  dinfer::FrameReader reader(dinfer::Digest{});
  try {
    for (size_t at = 0; at < size; at += 7) {
      reader.add(bytes.subspan(at, std::min<size_t>(7, size - at)));
      if (reader.next()) __builtin_trap();
    }
  } catch (const dinfer::Error&) {
  }
  try {
    dinfer::parse_ring_config({reinterpret_cast<const char*>(data), size}, "ring.json", false);
  } catch (const dinfer::Error&) {
  }
  return 0;
}
