#include "checkpoint/safetensors.h"

#include <gtest/gtest.h>

#include "tests/support/temporary_directory.h"
#include "tests/unit/checkpoint/model_bytes.h"

namespace dinfer {
namespace {

using test::kModels;
using test::model_error;
using test::safetensors;
using test::TemporaryDirectory;

const char* kTwoTensors = R"({"__metadata__":{"format":"pt"},)"
                          R"("b":{"dtype":"BF16","shape":[2,3],"data_offsets":[8,20]},)"
                          R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";

TEST(Safetensors, GivesShapesTypesAndPlaces) {
  TemporaryDirectory directory;
  const auto path = directory.write("x.safetensors", safetensors(kTwoTensors, 20));
  const auto checkpoint = open_safetensors(path);
  ASSERT_EQ(checkpoint->tensors().size(), 2u);
  const TensorInfo* b = checkpoint->find("b");
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(b->type, StorageType::bf16);
  EXPECT_EQ(b->shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(b->bytes, 12u);
  EXPECT_EQ(b->offset, 8 + std::string(kTwoTensors).size() + 8);
  EXPECT_EQ(checkpoint->find("c"), nullptr);
  EXPECT_EQ(checkpoint->file_of(*b), path.string());
}

TEST(Safetensors, ReadsTheBytesOfATensorAndNoOthers) {
  TemporaryDirectory directory;
  std::string bytes = safetensors(kTwoTensors, 20);
  for (int i = 0; i < 20; ++i) bytes[bytes.size() - 20 + i] = static_cast<char>(i);
  const auto checkpoint = open_safetensors(directory.write("x.safetensors", bytes));
  std::vector<std::byte> out(4);
  checkpoint->read(*checkpoint->find("b"), 8, out);
  EXPECT_EQ(out,
            (std::vector<std::byte>{std::byte{16}, std::byte{17}, std::byte{18}, std::byte{19}}));
  EXPECT_THROW(checkpoint->read(*checkpoint->find("b"), 9, out), Bug);
}

TEST(Safetensors, RefusesAFileCutAnywhere) {
  TemporaryDirectory directory;
  const std::string whole = safetensors(kTwoTensors, 20);
  for (size_t length = 0; length < whole.size(); ++length) {
    const auto path = directory.write("cut.safetensors", whole.substr(0, length));
    EXPECT_NE(model_error([&] { open_safetensors(path); }), "") << "cut to " << length;
  }
}

// Whatever a damaged header says, a file that opens has all its tensors inside.
TEST(Safetensors, SurvivesEveryChangeOfOneHeaderByte) {
  TemporaryDirectory directory;
  const std::string whole = safetensors(kTwoTensors, 20);
  int refused = 0;
  for (size_t at = 0; at + 20 < whole.size(); ++at) {
    for (const char value : {'\0', '0', '9', '"', '}', '[', '\xff'}) {
      std::string changed = whole;
      changed[at] = value;
      const auto path = directory.write("changed.safetensors", changed);
      const std::string error = model_error([&] {
        const auto checkpoint = open_safetensors(path);
        for (const TensorInfo& tensor : checkpoint->tensors()) {
          EXPECT_LE(tensor.offset + tensor.bytes, whole.size());
        }
      });
      refused += !error.empty();
    }
  }
  EXPECT_GT(refused, 500);
}

struct BadHeader {
  const char* name;
  const char* header;
  size_t data_bytes;
  const char* message;
};

class BadSafetensors : public testing::TestWithParam<BadHeader> {};

TEST_P(BadSafetensors, IsRefusedWithTheRule) {
  TemporaryDirectory directory;
  const auto path =
      directory.write("bad.safetensors", safetensors(GetParam().header, GetParam().data_bytes));
  const std::string error = model_error([&] { open_safetensors(path); });
  EXPECT_NE(error.find(GetParam().message), std::string::npos) << error;
  EXPECT_NE(error.find(path.string()), std::string::npos) << error;
}

const BadHeader kBadHeaders[] = {
    {"Overlap",
     R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
     12, "inside another one"},
    {"SameRange",
     R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
     8, "inside another one"},
    {"Hole",
     R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[12,20]}})",
     20, "leaves a gap"},
    {"GapAtTheStart", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})", 12,
     "leaves a gap"},
    {"BytesAfterTheLast", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 9,
     "belong to none"},
    {"OutsideTheFile", R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}})", 8,
     "truncated"},
    {"ShapeThatWrapsAround",
     R"({"a":{"dtype":"F32","shape":[4194305,4194305,211106198978564],"data_offsets":[0,16]}})", 16,
     "does not take"},
    {"ShapeNeedsMore", R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8,
     "does not take"},
    {"OffsetsReversed", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8,
     "end before they begin"},
    {"NameTwice",
     R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}})",
     16, "same name twice"},
    {"FieldTwice", R"({"a":{"dtype":"F32","dtype":"F16","shape":[2],"data_offsets":[0,8]}})", 8,
     "\"dtype\" twice"},
    {"MetadataTwice", R"({"__metadata__":{},"__metadata__":{}})", 0, "same name twice"},
    {"MetadataOfNumbers", R"({"__metadata__":{"a":1}})", 0, "a number"},
    {"FieldMissing", R"({"a":{"dtype":"F32","shape":[2]}})", 8, "not all of"},
    {"FieldUnknown", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}})", 8,
     "a field \"x\""},
    {"ThreeOffsets", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4,8]}})", 8,
     "more than two"},
    {"OneOffset", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8]}})", 8, "fewer than two"},
    {"NegativeSize", R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8,
     "negative number"},
    {"NegativeZero", R"({"a":{"dtype":"F32","shape":[-0],"data_offsets":[0,0]}})", 0,
     "negative number"},
    {"FloatSize", R"({"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}})", 8, "no integer"},
    {"HugeSize", R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,8]}})", 8,
     "2^63"},
    {"SizeBeyond64Bits",
     R"({"a":{"dtype":"F32","shape":[18446744073709551616],"data_offsets":[0,8]}})", 8,
     "no integer"},
    {"NineDimensions", R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}})",
     4, "more than 8 dimensions"},
    {"UnknownDtype", R"({"a":{"dtype":"F31","shape":[2],"data_offsets":[0,8]}})", 8,
     "unknown dtype \"F31\""},
    {"HalfAByte", R"({"a":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}})", 2, "does not take"},
    {"NotAnObject", R"({"a":[]})", 0, "an array"},
    {"NestedShape", R"({"a":{"dtype":"F32","shape":[[2]],"data_offsets":[0,8]}})", 8, "an array"},
    {"BytesAfterTheObject", R"({}x)", 0, "not valid JSON"},
    {"ByteOrderMark", "\xef\xbb\xbf{}", 0, "must begin with {"},
    {"InvalidUtf8", "{\"\xff\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", 4,
     "not valid JSON"},
};

INSTANTIATE_TEST_SUITE_P(Headers, BadSafetensors, testing::ValuesIn(kBadHeaders),
                         [](const auto& info) { return info.param.name; });

TEST(Safetensors, RefusesAHeaderLongerThanTheFileOrTheLimit) {
  TemporaryDirectory directory;
  for (const uint64_t length : {uint64_t{3}, uint64_t{100'000'001}, UINT64_MAX, UINT64_MAX - 7}) {
    std::string bytes;
    test::append_number(bytes, length);
    bytes += "{}";
    const auto path = directory.write("long.safetensors", bytes);
    EXPECT_NE(model_error([&] { open_safetensors(path); }).find("header length"),
              std::string::npos);
  }
}

TEST(Safetensors, AllowsEmptyTensorsPaddingAndScalars) {
  TemporaryDirectory directory;
  const auto path = directory.write(
      "x.safetensors", safetensors(R"({"e":{"dtype":"F32","shape":[0,4],"data_offsets":[4,4]},)"
                                   R"("s":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}    )",
                                   4));
  const auto checkpoint = open_safetensors(path);
  EXPECT_EQ(checkpoint->find("e")->bytes, 0u);
  EXPECT_EQ(checkpoint->find("s")->shape.size(), 0u);
}

TEST(Safetensors, RefusesOtherTypesOnlyWhenTheyAreWanted) {
  TemporaryDirectory directory;
  const auto path = directory.write(
      "x.safetensors", safetensors(R"({"q":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]},)"
                                   R"("w":{"dtype":"F16","shape":[2],"data_offsets":[4,8]}})",
                                   8));
  const auto checkpoint = open_safetensors(path);
  EXPECT_EQ(checkpoint->tensors().size(), 1u);
  EXPECT_NE(checkpoint->find("w"), nullptr);
  const std::string error = model_error([&] { checkpoint->find("q"); });
  EXPECT_NE(error.find("\"q\" is stored as F8_E4M3"), std::string::npos) << error;
}

TEST(Safetensors, OpensAllShardsOfAnIndex) {
  const auto checkpoint = open_safetensors(kModels / "hf/qwen3-sharded");
  EXPECT_EQ(checkpoint->tensors().size(), 36u);
  const TensorInfo* head = checkpoint->find("lm_head.weight");
  ASSERT_NE(head, nullptr);
  EXPECT_TRUE(checkpoint->file_of(*head).ends_with("model-00003-of-00003.safetensors"));
}

TEST(Safetensors, RefusesShardsElsewhereMissingOrOfAnotherModel) {
  TemporaryDirectory directory;
  directory.write("part.safetensors", safetensors(kTwoTensors, 20));
  const auto error_of_map = [&](const std::string& map) {
    directory.write("model.safetensors.index.json", R"({"weight_map":)" + map + "}");
    return model_error([&] { open_safetensors(directory.path()); });
  };
  EXPECT_EQ(error_of_map(R"({"a":"part.safetensors","b":"part.safetensors"})"), "");
  for (const char* map : {R"({"a":"../part.safetensors"})", R"({"a":"/tmp/part.safetensors"})",
                          R"({"a":"x/part.safetensors"})", R"({"a":"part.bin"})", R"({"a":7})"}) {
    EXPECT_NE(error_of_map(map).find("same directory"), std::string::npos) << map;
  }
  EXPECT_NE(error_of_map(R"({"c":"part.safetensors"})").find("no tensor \"c\""), std::string::npos);
  EXPECT_NE(error_of_map(R"({"a":"gone.safetensors"})").find("gone.safetensors"),
            std::string::npos);
  EXPECT_NE(error_of_map("{}").find("weight_map"), std::string::npos);
}

TEST(Safetensors, AsksForSafetensorsWhereThereArePickledFilesOnly) {
  TemporaryDirectory directory;
  EXPECT_NE(model_error([&] { open_safetensors(directory.path()); }).find("has neither"),
            std::string::npos);
  directory.write("pytorch_model.bin", "x");
  const std::string error = model_error([&] { open_safetensors(directory.path()); });
  EXPECT_NE(error.find("pytorch_model.bin"), std::string::npos) << error;
  EXPECT_NE(error.find("safetensors only"), std::string::npos) << error;
}

TEST(Safetensors, FingerprintFollowsHeaderAndSizeOfEveryFile) {
  TemporaryDirectory directory;
  const auto fingerprint = [&](const std::string& bytes) {
    return open_safetensors(directory.write("x.safetensors", bytes))->fingerprint();
  };
  const std::string one = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  const std::string other = R"({"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  EXPECT_EQ(fingerprint(safetensors(one, 8)), fingerprint(safetensors(one, 8)));
  EXPECT_NE(fingerprint(safetensors(one, 8)), fingerprint(safetensors(other, 8)));
}

}  // namespace
}  // namespace dinfer
