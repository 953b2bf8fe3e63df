#include "base/random.h"

#include <gtest/gtest.h>

namespace dinfer {
namespace {

// Known answers of Random123 (kat_vectors, philox4x32 10).
TEST(Philox, gives_the_published_words) {
  using Words = std::array<uint32_t, 4>;
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(TokenNoise, depends_on_each_of_its_parts_and_not_on_the_order_of_asking) {
  TokenNoise noise(1, 2, 3);
  const uint32_t word = noise.word(77);
  noise.word(5);
  EXPECT_EQ(noise.word(77), word);
  EXPECT_NE(TokenNoise(9, 2, 3).word(77), word);
  EXPECT_NE(TokenNoise(1, 9, 3).word(77), word);
  EXPECT_NE(TokenNoise(1, 2, 9).word(77), word);
  EXPECT_NE(noise.word(78), word);
}

}  // namespace
}  // namespace dinfer
