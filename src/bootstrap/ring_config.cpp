#include "bootstrap/ring_config.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <fstream>
#include <sstream>

#include "base/json.h"
#include "base/nearest.h"
#include "bootstrap/world.h"

namespace dinfer {
namespace {

constexpr std::array<std::string_view, 7> kFields = {
    "rank", "world_size", "port", "right_ip", "right_port", "master_ip", "master_port"};

class Fields {
 public:
  Fields(const Json& json, const std::string& file) : json_(json), file_(file) {}

  int64_t number(const char* name, int64_t low, int64_t high) const {
    const auto found = json_.find(name);
    if (found == json_.end()) fail(ExitCode::config, "RING_CONFIG {}: {} is missing", file_, name);
    if (!found->is_number_integer() || *found < low || *found > high)
      fail(ExitCode::config, "RING_CONFIG {}: {} is {}, must be a whole number from {} to {}",
           file_, name, found->dump(), low, high);
    return found->get<int64_t>();
  }

  uint16_t port(const char* name) const { return static_cast<uint16_t>(number(name, 1, 65535)); }

  // Empty: not given.
  std::string host(const char* name) const {
    const auto found = json_.find(name);
    if (found == json_.end() || found->is_null()) return "";
    if (!found->is_string() || found->get<std::string>().empty())
      fail(ExitCode::config, "RING_CONFIG {}: {} is {}, must be a host name or address", file_,
           name, found->dump());
    return found->get<std::string>();
  }

 private:
  const Json& json_;
  const std::string& file_;
};

std::vector<std::string> unknown_fields(const Json& json, const std::string& file) {
  const std::vector<std::string> known(kFields.begin(), kFields.end());
  std::vector<std::string> warnings;
  for (const auto& [name, value] : json.items()) {
    if (std::ranges::find(known, name) != known.end()) continue;
    const std::string meant = nearest(name, known);
    warnings.push_back(fmt::format("RING_CONFIG {}: the field {} means nothing{}", file, name,
                                   meant.empty() ? "" : fmt::format("; did you mean {}?", meant)));
  }
  return warnings;
}

}  // namespace

RingConfig parse_ring_config(const std::string& text, const std::string& file, bool any_size) {
  const Json json = parse_json(text, "RING_CONFIG " + file, ExitCode::config);
  if (!json.is_object()) fail(ExitCode::config, "RING_CONFIG {}: must be a JSON object", file);
  const Fields fields(json, file);
  RingConfig ring{.warnings = unknown_fields(json, file)};
  ring.size = static_cast<int>(fields.number("world_size", 2, kMostRanks));
  if (!any_size && !std::has_single_bit(static_cast<unsigned>(ring.size)))
    fail(ExitCode::config,
         "RING_CONFIG {}: world_size {} is no power of two; --ring-any-size on all ranks allows it",
         file, ring.size);
  ring.rank = static_cast<int>(fields.number("rank", 0, ring.size - 1));
  ring.port = fields.port("port");
  ring.right = {fields.host("right_ip"), fields.port("right_port")};
  if (ring.right.host.empty()) ring.right.host = "127.0.0.1";
  ring.master = {fields.host("master_ip"), fields.port("master_port")};
  if (ring.rank != 0 && ring.master.host.empty())
    fail(ExitCode::config,
         "RING_CONFIG {}: master_ip is missing: rank {} must know where rank 0 is", file,
         ring.rank);
  if (ring.rank == 0 && ring.master.port == ring.port)
    fail(ExitCode::config,
         "RING_CONFIG {}: port and master_port are both {}: rank 0 waits for its neighbour at one "
         "and for all ranks at the other",
         file, ring.port);
  return ring;
}

RingConfig read_ring_config(const std::string& file, bool any_size) {
  std::ifstream in(file, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  if (!in)
    fail(ExitCode::config, "RING_CONFIG {}: {}", file, std::generic_category().message(errno));
  return parse_ring_config(text.str(), file, any_size);
}

}  // namespace dinfer
