#include "cli/start_together.h"

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "engine/bytes.h"

namespace dinfer {

namespace {

void put_text(ByteWriter& out, std::string_view text) {
  out.put_list<char>(std::span(text.data(), text.size()));
}

std::string get_text(ByteReader& in) {
  const std::vector<char> text = in.get_list<char>();
  return {text.begin(), text.end()};
}

struct Failure {
  ExitCode code = ExitCode::ok;
  std::string message;
};

Failure outcome_of(const std::function<void()>& work) {
  try {
    work();
    return {};
  } catch (const Error& error) {
    return {error.code(), error.what()};
  } catch (const std::bad_alloc&) {
    return {ExitCode::does_not_fit, "out of memory"};
  } catch (const std::exception& error) {
    return {ExitCode::bug, error.what()};
  }
}

// "0, 2-5"
std::string list_ranks(const std::vector<size_t>& ranks) {
  std::string text;
  for (size_t i = 0; i < ranks.size();) {
    size_t end = i + 1;
    while (end < ranks.size() && ranks[end] == ranks[end - 1] + 1) ++end;
    text += fmt::format("{}{}", text.empty() ? "" : ", ", ranks[i]);
    if (end - i > 1) text += fmt::format("-{}", ranks[end - 1]);
    i = end;
  }
  return text;
}

}  // namespace

Deadline start_deadline(const Options& options) {
  return Deadline::after(std::chrono::duration<double>(options.start_timeout));
}

void together(ControlPlane& control, const World& world, Deadline deadline,
              const std::function<void()>& work) {
  if (world.size == 1) return work();
  const Failure own = outcome_of(work);
  ByteWriter out;
  out.put(static_cast<int32_t>(own.code));
  put_text(out, own.message);
  put_text(out, world.host);
  const std::vector<Bytes> all = control.all_gather(out.take(), deadline);

  Failure first;
  std::vector<size_t> failed;
  std::string host;
  for (size_t rank = 0; rank < all.size(); ++rank) {
    ByteReader in(all[rank], fmt::format("outcome of rank {}", rank));
    const auto code = static_cast<ExitCode>(in.get<int32_t>());
    std::string message = get_text(in);
    if (code == ExitCode::ok) continue;
    if (failed.empty()) {
      first = {code, std::move(message)};
      host = get_text(in);
      failed.push_back(rank);
    } else if (message == first.message) {
      failed.push_back(rank);
    }
  }
  if (failed.empty()) return;
  if (failed.size() == all.size()) throw JointError(first.code, first.message);
  throw JointError(first.code,
                   failed.size() == 1
                       ? fmt::format("rank {} ({}): {}", failed[0], host, first.message)
                       : fmt::format("ranks {}: {}", list_ranks(failed), first.message));
}

}  // namespace dinfer
