#include "base/error.h"

#include <gtest/gtest.h>

#include "base/checked.h"
#include "base/deadline.h"

namespace dinfer {
namespace {

TEST(Error, CarriesCodeAndFormattedMessage) {
  try {
    fail(ExitCode::config, "{} ranks, but {} heads", 2, 9);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::config);
    EXPECT_STREQ(e.what(), "2 ranks, but 9 heads");
    return;
  }
  FAIL() << "fail() returned";
}

TEST(Error, CheckNamesThePlaceOfABrokenInvariant) {
  EXPECT_NO_THROW(check(true, "holds"));
  const int line = __LINE__ + 2;
  try {
    check(1 > 2, "one above two");
    FAIL() << "check(false) returned";
  } catch (const Bug& e) {
    EXPECT_NE(std::string(e.what()).find(fmt::format("error_test.cpp:{}: one above two", line)),
              std::string::npos)
        << e.what();
  }
}

TEST(Checked, IsEmptyOnOverflow) {
  EXPECT_EQ(checked_mul(uint64_t{1} << 32, uint64_t{1} << 31), uint64_t{1} << 63);
  EXPECT_EQ(checked_mul(uint64_t{1} << 32, uint64_t{1} << 32), std::nullopt);
  EXPECT_EQ(checked_add(UINT64_MAX - 1, 1), UINT64_MAX);
  EXPECT_EQ(checked_add(UINT64_MAX, 1), std::nullopt);
}

TEST(Deadline, ExpiresAndNeverHasNegativeTimeLeft) {
  EXPECT_TRUE(Deadline::after(std::chrono::duration<double>(-1)).expired());
  EXPECT_EQ(Deadline::after(std::chrono::duration<double>(-1)).remaining().count(), 0);
  const Deadline later = Deadline::after(std::chrono::duration<double>(60));
  EXPECT_FALSE(later.expired());
  EXPECT_GT(later.remaining().count(), 50'000);
}

}  // namespace
}  // namespace dinfer
