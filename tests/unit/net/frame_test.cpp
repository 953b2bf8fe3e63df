#include "net/frame.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <string>

#include "base/error.h"
#include "tests/support/sanitizers.h"

namespace dinfer {
namespace {

using Bytes = std::vector<std::byte>;

const Digest kKey = hmac(bytes_of("key"), {bytes_of("of the test")});

Bytes frames(std::initializer_list<std::string> texts) {
  FrameWriter writer(kKey);
  Bytes out;
  uint32_t call = 0;
  for (const std::string& text : texts) writer.append(out, 7, call++, bytes_of(text));
  return out;
}

std::string text_of(const Frame& frame) {
  return {reinterpret_cast<const char*>(frame.payload.data()), frame.payload.size()};
}

// Case 2 of RFC 4231.
TEST(Secret, HmacIsThatOfTheStandard) {
  const Digest digest =
      hmac(bytes_of("Jefe"), {bytes_of("what do ya want "), bytes_of("for nothing?")});
  EXPECT_EQ(std::to_integer<int>(digest[0]), 0x5b);
  EXPECT_EQ(std::to_integer<int>(digest[1]), 0xdc);
  EXPECT_EQ(std::to_integer<int>(digest[31]), 0x43);
}

TEST(Frame, ArrivesWholeInWhateverPieces) {
  const Bytes stream = frames({"one", "", "a longer third one"});
  for (const size_t piece : {size_t{1}, size_t{5}, size_t{33}, stream.size()}) {
    FrameReader reader(kKey);
    std::vector<std::string> texts;
    for (size_t at = 0; at < stream.size(); at += piece) {
      reader.add(ByteView(stream).subspan(at, std::min(piece, stream.size() - at)));
      while (const auto frame = reader.next()) {
        EXPECT_EQ(frame->type, 7u);
        EXPECT_EQ(frame->call, texts.size());
        texts.push_back(text_of(*frame));
      }
    }
    EXPECT_EQ(texts, (std::vector<std::string>{"one", "", "a longer third one"}));
  }
}

TEST(Frame, NoBitCanBeChanged) {
  const Bytes good = frames({"payload"});
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    Bytes bad = good;
    bad[bit / 8] ^= std::byte{1} << (bit % 8);
    FrameReader reader(kKey);
    reader.add(bad);
    try {
      // A changed length may leave the frame incomplete; it is never taken as good.
      EXPECT_FALSE(reader.next()) << "bit " << bit;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::peer);
    }
  }
}

TEST(Frame, CannotBeRepeatedDroppedOrOfAnotherKey) {
  const Bytes both = frames({"first", "second"});
  const Bytes one = frames({"first"});
  FrameReader repeated(kKey);
  repeated.add(one);
  repeated.add(one);
  EXPECT_TRUE(repeated.next());
  EXPECT_THROW(repeated.next(), Error);
  FrameReader dropped(kKey);
  dropped.add(ByteView(both).subspan(one.size()));
  EXPECT_THROW(dropped.next(), Error);
  FrameReader stranger(hmac(bytes_of("key"), {bytes_of("of another")}));
  stranger.add(one);
  EXPECT_THROW(stranger.next(), Error);
}

// KiB that this process has at present.
uint64_t resident_kib() {
  std::ifstream file("/proc/self/status");
  std::string word;
  while (file >> word && word != "VmRSS:") {
  }
  uint64_t kib = 0;
  file >> kib;
  return kib;
}

// The sender is ever half a frame ahead.
TEST(Frame, AStreamWithoutAPauseIsNotKept) {
  if (test::kSanitized) GTEST_SKIP();
  constexpr uint64_t kFrames = 128;
  const std::string text(size_t{1} << 20, 'x');
  FrameWriter writer(kKey);
  FrameReader reader(kKey);
  Bytes stream;
  writer.append(stream, 7, 0, bytes_of(text));
  const size_t half = stream.size() / 2;
  reader.add(ByteView(stream).first(half));
  const uint64_t before = resident_kib();
  for (uint64_t i = 1; i < kFrames; ++i) {
    Bytes next;
    writer.append(next, 7, 0, bytes_of(text));
    reader.add(ByteView(stream).subspan(half));
    reader.add(ByteView(next).first(half));
    ASSERT_TRUE(reader.next());
    stream = std::move(next);
  }
  EXPECT_LT(resident_kib(), before + kFrames * 1024 / 4);
}

TEST(Frame, LengthBeyondTheLongestIsRefusedBeforeAnythingIsHeld) {
  Bytes header(16);
  const uint64_t bytes = kLongestFrame + 1;
  std::memcpy(header.data() + 8, &bytes, sizeof bytes);
  FrameReader reader(kKey);
  reader.add(header);
  EXPECT_THROW(reader.next(), Error);
}

}  // namespace
}  // namespace dinfer
