#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "net/secret.h"

namespace dinfer {

// A message on a stream: header (type, call, bytes; little-endian), payload, and the first half of
// an HMAC over all of it and over the number of frames before it, so that none can be changed,
// dropped, repeated or put in by others.
struct Frame {
  uint32_t type = 0;
  uint32_t call = 0;  // the sender's count of calls, for those who must be in step
  std::vector<std::byte> payload;
};

// Far beyond any message of a job; bounds what a broken peer can make this process hold.
inline constexpr uint64_t kLongestFrame = uint64_t{1} << 30;  // bytes of payload

class FrameWriter {
 public:
  explicit FrameWriter(const Digest& key) : key_(key) {}
  void append(std::vector<std::byte>& out, uint32_t type, uint32_t call, ByteView payload);

 private:
  Digest key_;
  uint64_t count_ = 0;
};

class FrameReader {
 public:
  explicit FrameReader(const Digest& key) : key_(key) {}

  void add(ByteView bytes);

  // The next whole frame. A frame that is too long or not authentic is an Error(peer).
  std::optional<Frame> next();

 private:
  Digest key_;
  uint64_t count_ = 0;
  std::vector<std::byte> buffer_;
  size_t taken_ = 0;  // bytes of the buffer that were given out
};

}  // namespace dinfer
