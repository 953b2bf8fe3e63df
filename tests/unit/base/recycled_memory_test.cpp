#include "base/recycled_memory.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace dinfer {
namespace {

TEST(RecycledMemory, GivesOutAgainWhatFits) {
  RecycledMemory memory;
  std::byte* large = memory.take(1000);
  std::byte* small = memory.take(300);
  memory.give_back(large);
  memory.give_back(small);
  EXPECT_EQ(memory.take(250), small);
  EXPECT_EQ(memory.take(600), large);
}

TEST(RecycledMemory, NeverGivesOutWhatIsInUseOrTooSmall) {
  RecycledMemory memory;
  std::byte* first = memory.take(1000);
  std::byte* second = memory.take(1000);
  EXPECT_NE(first, second);
  memory.give_back(first);
  std::byte* larger = memory.take(1500);
  std::fill(larger, larger + 1500, std::byte{1});
  EXPECT_NE(larger, second);
}

TEST(RecycledMemory, RefusesWhatIsNotItsOwn) {
  RecycledMemory memory;
  std::byte other{};
  EXPECT_THROW(memory.give_back(&other), Bug);
  std::byte* once = memory.take(8);
  memory.give_back(once);
  EXPECT_THROW(memory.give_back(once), Bug);
}

TEST(RawBytes, KeepTheirMemoryWhenMovedAndHaveOtherWhenCopied) {
  const auto memory = std::make_shared<RecycledMemory>();
  const std::byte* first = nullptr;
  {
    RawBytes bytes(100, RawAllocator<std::byte>(memory));
    first = bytes.data();
    bytes[7] = std::byte{7};
    RawBytes moved;
    moved = std::move(bytes);
    EXPECT_EQ(moved.data(), first);
    const RawBytes copy = moved;
    EXPECT_NE(copy.data(), first);
    EXPECT_EQ(copy, moved);
  }
  EXPECT_EQ(memory->take(100), first);
}

}  // namespace
}  // namespace dinfer
