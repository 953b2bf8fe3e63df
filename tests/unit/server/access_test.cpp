#include "server/access.h"

#include <filesystem>

#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/support/temporary_directory.h"

namespace dinfer {
namespace {

class KeyFile {
 public:
  explicit KeyFile(const std::string& text) : path_(folder_.write("keys", text)) {
    using std::filesystem::perms;
    std::filesystem::permissions(path_, perms::owner_read | perms::owner_write);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  const test::TemporaryDirectory folder_;
  std::filesystem::path path_;
};

TEST(ApiKeys, one_of_the_files_keys_is_asked_for) {
  const KeyFile file("# team\nfirst-key\r\n\n  second  \n");
  const ApiKeys keys(file.path());
  EXPECT_TRUE(keys.required());
  for (const char* good : {"Bearer first-key", "bearer second", "Bearer  first-key "})
    EXPECT_TRUE(keys.admit(good)) << good;
  for (const char* bad : {"", "Bearer", "Bearer ", "first-key", "Basic first-key", "Bearer first",
                          "Bearer first-key2", "Bearer # team"})
    EXPECT_FALSE(keys.admit(bad)) << bad;
}

TEST(ApiKeys, without_a_file_everyone_is_let_in) {
  EXPECT_FALSE(ApiKeys().required());
  EXPECT_TRUE(ApiKeys().admit(""));
}

TEST(ApiKeys, a_file_without_keys_is_an_error) {
  const KeyFile file("# nothing\n");
  EXPECT_THROW(ApiKeys{file.path()}, Error);
  EXPECT_THROW(ApiKeys{"/nowhere/keys"}, Error);
}

TEST(HostAllowed, loopback_has_its_own_names) {
  for (const char* good :
       {"localhost", "LOCALHOST:1234", "127.0.0.1:80", "[::1]:1234", "a.localhost", "gpu1:9", ""})
    EXPECT_TRUE(host_allowed(good, {"GPU1"})) << good;
  for (const char* bad :
       {"evil.example", "127.0.0.1.evil.example", "localhost.evil", "[::2]", ":80"})
    EXPECT_FALSE(host_allowed(bad, {"gpu1"})) << bad;
}

TEST(IsJsonType, parameters_do_not_matter) {
  EXPECT_TRUE(is_json_type("application/json"));
  EXPECT_TRUE(is_json_type("Application/JSON; charset=utf-8"));
  for (const char* bad :
       {"", "text/plain", "application/jsonp", "application/x-www-form-urlencoded"})
    EXPECT_FALSE(is_json_type(bad)) << bad;
}

TEST(RequestId, plain_ids_are_kept) {
  HttpRequest request;
  request.headers["x-request-id"] = "abc-1.2_3";
  EXPECT_EQ(request_id(request), "abc-1.2_3");
  for (const std::string& bad :
       {std::string(), std::string("a b"), std::string("a\nb"), std::string(65, 'a')}) {
    request.headers["x-request-id"] = bad;
    EXPECT_EQ(request_id(request).size(), 24u);
  }
}

}  // namespace
}  // namespace dinfer
