#include "kernels/cpu/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <limits>
#include <map>
#include <optional>
#include <string>

#include "base/error.h"

namespace dinfer::cpu {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kPage = 4096;
constexpr size_t kSlab = 8 * kHugePage;  // what an arena asks the kernel for at a time

constexpr size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

std::optional<size_t> number_in(const std::string& path) {
  std::ifstream file(path);
  size_t value;
  if (file >> value) return value;
  return std::nullopt;  // not there, or "max"
}

size_t available_on_host() {
  std::ifstream file("/proc/meminfo");
  std::string key;
  size_t kib;
  while (file >> key >> kib) {
    if (key == "MemAvailable:") return kib * 1024;
    file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return 0;
}

// What a group may still take: its limit less its use, where page cache counts as free.
std::optional<size_t> left_in_group(const std::string& folder, const char* limit_name,
                                    const char* usage_name, const std::string& cache_key) {
  const auto limit = number_in(folder + limit_name);
  const auto usage = number_in(folder + usage_name);
  if (!limit || !usage) return std::nullopt;
  size_t cache = 0, value = 0;
  std::ifstream stat(folder + "memory.stat");
  for (std::string key; stat >> key >> value;) {
    if (key == cache_key) cache = value;
  }
  const size_t held = *usage - std::min(cache, *usage);
  return *limit - std::min(held, *limit);
}

size_t left_in_groups() {
  size_t left = std::numeric_limits<size_t>::max();
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    std::string path = line.substr(second + 1);
    const bool unified = controllers.empty();
    if (!unified && controllers.find("memory") == std::string::npos) continue;
    while (true) {  // a limit of any group above holds too
      const std::string folder =
          (unified ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory") + path + "/";
      const auto here = unified
                            ? left_in_group(folder, "memory.max", "memory.current", "inactive_file")
                            : left_in_group(folder, "memory.limit_in_bytes",
                                            "memory.usage_in_bytes", "total_inactive_file");
      if (here) left = std::min(left, *here);
      if (path.empty() || path == "/") break;
      path.resize(path.rfind('/'));
    }
  }
  return left;
}

}  // namespace

Pages::Pages(size_t bytes) : bytes_(bytes) {
  const bool huge = bytes >= kHugePage;
  mapped_ = round_up(std::max<size_t>(bytes, 1), kPage) + (huge ? kHugePage : 0);
  void* at = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) {
    fail(
        ExitCode::does_not_fit,
        "no memory for {} MiB on this host ({} MiB are free): use a smaller context, more ranks or "
        "fewer bits",
        bytes >> 20, free_memory() >> 20);
  }
  mapping_ = static_cast<std::byte*>(at);
  data_ = mapping_;
  if (huge) {
    data_ = reinterpret_cast<std::byte*>(round_up(reinterpret_cast<uintptr_t>(at), kHugePage));
    madvise(data_, round_up(bytes, kPage), MADV_HUGEPAGE);  // only a wish: nothing to do if refused
  }
}

Pages::~Pages() { munmap(mapping_, mapped_); }

Piece Arena::take(size_t bytes) {
  const size_t size = round_up(bytes, 64);
  if (size >= kSlab / 2) {
    auto own = std::make_shared<Pages>(size);
    return {own, own->data(), bytes};
  }
  if (!current_ || used_ + size > current_->bytes()) {
    current_ = std::make_shared<Pages>(kSlab);
    used_ = 0;
  }
  Piece piece{current_, current_->data() + used_, bytes};
  used_ += size;
  return piece;
}

std::byte* Scratch::reserve(size_t bytes) {
  if (!pages_ || pages_->bytes() < bytes) {
    pages_.reset();
    pages_ = std::make_unique<Pages>(bytes);
  }
  return pages_->data();
}

size_t cache_bytes() {
  // Linux tells of a cache once for each of its processors
  // (https://docs.kernel.org/admin-guide/abi-testing.html, cpuX/cache).
  std::map<std::string, size_t> caches;  // by the processors that share one
  for (int cpu = 0;; ++cpu) {
    const std::string folder =
        "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/cache/index3/";
    std::string sharers;
    size_t kib = 0;
    std::ifstream size(folder + "size"), list(folder + "shared_cpu_list");
    if (!(size >> kib) || !(list >> sharers)) break;
    caches[sharers] = kib << 10;
  }
  size_t sum = 0;
  for (const auto& [sharers, bytes] : caches) sum += bytes;
  return sum;
}

size_t free_memory() { return std::min(available_on_host(), left_in_groups()); }

}  // namespace dinfer::cpu
