#include "engine/rank_figures.h"

#include <unistd.h>

#include <fstream>

#include "engine/bytes.h"

namespace dinfer {

std::vector<std::byte> encode(const RankFigures& figures) {
  ByteWriter out;
  out.put(figures.pid);
  out.put(figures.steps);
  out.put(figures.step_s);
  out.put(figures.collective_s);
  out.put(figures.plan_wait_s);
  out.put(figures.moved_bytes);
  out.put(figures.memory_bytes);
  return out.take();
}

RankFigures decode_rank_figures(std::span<const std::byte> message) {
  ByteReader in(message, "figures of a rank");
  RankFigures figures;
  figures.pid = in.get<int64_t>();
  figures.steps = in.get<uint64_t>();
  figures.step_s = in.get<double>();
  figures.collective_s = in.get<double>();
  figures.plan_wait_s = in.get<double>();
  figures.moved_bytes = in.get<uint64_t>();
  figures.memory_bytes = in.get<uint64_t>();
  in.expect_end();
  return figures;
}

uint64_t process_memory() {
  std::ifstream file("/proc/self/statm");  // in pages: all, resident, ...
  uint64_t all = 0, resident = 0;
  if (!(file >> all >> resident)) return 0;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace dinfer
