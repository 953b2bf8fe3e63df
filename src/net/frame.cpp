#include "net/frame.h"

#include <bit>
#include <cstring>

#include "base/error.h"

namespace dinfer {
namespace {

static_assert(std::endian::native == std::endian::little, "frames are little-endian");

struct Header {
  uint32_t type;
  uint32_t call;
  uint64_t bytes;
};

constexpr size_t kTagBytes = 16;

Digest seal(const Digest& key, uint64_t count, const Header& header, ByteView payload) {
  return hmac(key, {view_of(count), view_of(header), payload});
}

}  // namespace

void FrameWriter::append(std::vector<std::byte>& out, uint32_t type, uint32_t call,
                         ByteView payload) {
  check(payload.size() <= kLongestFrame, "a frame is within the longest");
  const Header header{type, call, payload.size()};
  const Digest tag = seal(key_, count_++, header, payload);
  const ByteView head = view_of(header);
  out.insert(out.end(), head.begin(), head.end());
  out.insert(out.end(), payload.begin(), payload.end());
  out.insert(out.end(), tag.begin(), tag.begin() + kTagBytes);
}

// What was given out makes room first: a stream need never pause between two frames.
void FrameReader::add(ByteView bytes) {
  buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<ptrdiff_t>(taken_));
  taken_ = 0;
  buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
}

std::optional<Frame> FrameReader::next() {
  const ByteView rest = ByteView(buffer_).subspan(taken_);
  Header header{};
  if (rest.size() < sizeof header) return std::nullopt;
  std::memcpy(&header, rest.data(), sizeof header);
  if (header.bytes > kLongestFrame)
    fail(ExitCode::peer, "a frame of {} bytes, beyond the longest of {}", header.bytes,
         kLongestFrame);
  const size_t whole = sizeof header + header.bytes + kTagBytes;
  if (rest.size() < whole) return std::nullopt;
  const ByteView payload = rest.subspan(sizeof header, header.bytes);
  const Digest tag = seal(key_, count_++, header, payload);
  if (!equal_digests(rest.subspan(sizeof header + header.bytes, kTagBytes),
                     ByteView(tag).first(kTagBytes)))
    fail(ExitCode::peer, "a frame that is not authentic");
  Frame frame{header.type, header.call, {payload.begin(), payload.end()}};
  taken_ += whole;
  return frame;
}

}  // namespace dinfer
