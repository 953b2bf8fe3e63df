// What MISTRALRS_MN_* and RING_CONFIG say, and what they must not say.
#include <gtest/gtest.h>

#include <map>

#include "bootstrap/multinode.h"
#include "bootstrap/ring_config.h"
#include "tests/unit/bootstrap/refusal.h"

namespace dinfer {
namespace {

using Variables = std::map<std::string, std::string>;

MultinodePlan multinode(const Variables& variables) {
  return read_multinode(
      [&](const char* name) -> const char* {
        const auto found = variables.find(name);
        return found == variables.end() ? nullptr : found->second.c_str();
      },
      1);
}

Variables with(Variables base, const Variables& changes) {
  for (const auto& [name, value] : changes) base[name] = value;
  return base;
}

const Variables kSizes = {{"MISTRALRS_MN_GLOBAL_WORLD_SIZE", "8"},
                          {"MISTRALRS_MN_LOCAL_WORLD_SIZE", "4"}};
const Variables kHead =
    with(kSizes, {{"MISTRALRS_MN_HEAD_NUM_WORKERS", "1"}, {"MISTRALRS_MN_HEAD_PORT", "9000"}});
const Variables kWorker = with(kSizes, {{"MISTRALRS_MN_WORKER_SERVER_ADDR", "10.0.0.1:9000"},
                                        {"MISTRALRS_MN_WORKER_ID", "0"}});

TEST(Multinode, TwoNodesOfFourRanks) {
  const MultinodePlan head = multinode(kHead);
  EXPECT_EQ(head.size, 8);
  EXPECT_EQ(head.first_rank(), 0);
  EXPECT_EQ(head.nodes(), 2);
  EXPECT_EQ(head.head.port, 9000);
  // Ranks of a worker come after the head's local ranks, not after the head alone.
  const MultinodePlan worker = multinode(kWorker);
  EXPECT_EQ(worker.first_rank(), 4);
  EXPECT_EQ(worker.head.text(), "10.0.0.1:9000");
  EXPECT_EQ(describe_rank(worker, 6), "rank 6 (worker 0, local rank 2)");
  EXPECT_EQ(describe_rank(worker, 3), "rank 3 (head node, local rank 3)");
}

TEST(Multinode, OneRankANodeIsTheDefaultAndIsNoLessAJob) {
  const MultinodePlan plan = multinode({{"MISTRALRS_MN_GLOBAL_WORLD_SIZE", "2"},
                                        {"MISTRALRS_MN_WORKER_SERVER_ADDR", "node0:9000"},
                                        {"MISTRALRS_MN_WORKER_ID", "0"}});
  EXPECT_EQ(plan.local_size, 1);
  EXPECT_EQ(plan.first_rank(), 1);
  EXPECT_EQ(plan.head.host, "node0");
}

TEST(Multinode, WhatCannotBeIsRefusedNamingTheVariables) {
  const auto names = [](const Variables& variables, std::initializer_list<const char*> words) {
    const std::string message = refusal([&] { multinode(variables); });
    for (const char* word : words) EXPECT_NE(message.find(word), std::string::npos) << message;
  };
  names(with(kHead, kWorker), {"MISTRALRS_MN_HEAD_PORT", "MISTRALRS_MN_WORKER_SERVER_ADDR"});
  names(kSizes, {"MISTRALRS_MN_HEAD_PORT", "MISTRALRS_MN_WORKER_ID"});
  names(with(kHead, {{"MISTRALRS_MN_GLOBAL_WORLD_SIZE", "6"}}), {"6", "4", "multiple"});
  names(with(kHead, {{"MISTRALRS_MN_HEAD_NUM_WORKERS", "2"}}), {"NUM_WORKERS=2", "2 nodes"});
  names(with(kHead, {{"MISTRALRS_MN_HEAD_PORT", "90000"}}), {"MISTRALRS_MN_HEAD_PORT=90000"});
  names(with(kHead, {{"MISTRALRS_MN_GLOBAL_WORLD_SIZE", "eight"}}), {"GLOBAL_WORLD_SIZE=eight"});
  names(with(kWorker, {{"MISTRALRS_MN_WORKER_ID", "1"}}), {"MISTRALRS_MN_WORKER_ID=1"});
  names({{"MISTRALRS_MN_HEAD_PORT", "9000"}}, {"MISTRALRS_MN_GLOBAL_WORLD_SIZE"});
}

// The seed's example.
constexpr auto kRank0 = R"({"master_ip": "10.0.0.1", "master_port": 9000, "port": 9001,
  "right_port": 9002, "right_ip": "10.0.0.2", "rank": 0, "world_size": 2})";

TEST(RingConfig, ReadsTheFileOfTheGuide) {
  const RingConfig ring = parse_ring_config(kRank0, "ring.json", false);
  EXPECT_EQ(ring.rank, 0);
  EXPECT_EQ(ring.size, 2);
  EXPECT_EQ(ring.port, 9001);
  EXPECT_EQ(ring.right.text(), "10.0.0.2:9002");
  EXPECT_EQ(ring.master.text(), "10.0.0.1:9000");
  EXPECT_TRUE(ring.warnings.empty());
}

std::string ring_text(const std::string& more) {
  return R"({"master_port": 9000, "port": 9001, "right_port": 9002)" + more + "}";
}

TEST(RingConfig, NoRightIpIsThisHost) {
  const RingConfig ring =
      parse_ring_config(ring_text(R"(, "rank": 0, "world_size": 4)"), "ring.json", false);
  EXPECT_EQ(ring.right.text(), "127.0.0.1:9002");
}

TEST(RingConfig, AnUnknownFieldIsWarnedOfWithTheNearestName) {
  const RingConfig ring = parse_ring_config(
      ring_text(R"(, "rank": 0, "world_size": 2, "rigth_ip": "10.0.0.2")"), "ring.json", false);
  ASSERT_EQ(ring.warnings.size(), 1u);
  EXPECT_NE(ring.warnings[0].find("did you mean right_ip?"), std::string::npos) << ring.warnings[0];
}

TEST(RingConfig, WhatCannotBeIsRefusedNamingTheField) {
  const auto names = [](const std::string& text, const char* word) {
    const std::string message = refusal([&] { parse_ring_config(text, "ring.json", false); });
    EXPECT_NE(message.find(word), std::string::npos) << message;
    EXPECT_NE(message.find("ring.json"), std::string::npos) << message;
  };
  names("nonsense", "ring.json");
  names("[]", "object");
  names(ring_text(R"(, "rank": 0)"), "world_size is missing");
  names(ring_text(R"(, "rank": 1, "world_size": 2)"), "master_ip is missing");
  names(ring_text(R"(, "rank": 2, "world_size": 2)"), "rank is 2");
  names(ring_text(R"(, "rank": -1, "world_size": 2)"), "rank is -1");
  names(ring_text(R"(, "rank": 0, "world_size": 1)"), "world_size is 1");
  names(ring_text(R"(, "rank": 0, "world_size": 6)"), "--ring-any-size");
  names(ring_text(R"(, "rank": 0, "world_size": 18446744073709551615)"), "world_size");
  names(R"({"rank": 0, "world_size": 2, "port": 9000, "master_port": 9000, "right_port": 9002})",
        "port and master_port");
}

TEST(RingConfig, AnySizeIsTakenWhenAskedFor) {
  EXPECT_EQ(parse_ring_config(ring_text(R"(, "rank": 0, "world_size": 6)"), "ring.json", true).size,
            6);
}

}  // namespace
}  // namespace dinfer
