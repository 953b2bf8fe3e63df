#include "bootstrap/star.h"

#include <poll.h>

#include <algorithm>
#include <optional>

#include <fmt/ranges.h>

#include "base/json.h"
#include "base/log.h"

namespace dinfer {
namespace {

// After which a rank says for whom it waits; the head again at twice that, and so on.
constexpr std::chrono::duration<double> kFirstNotice{3};

enum class Answer : uint32_t { roster = 1, refusal, missing };

void send_text(Channel& to, Answer type, const std::string& text) {
  to.send(static_cast<uint32_t>(type), 0, bytes_of(text));
  // The last words of a job that does not form; a rank that does not read them times out.
  const Deadline soon = Deadline::after(std::chrono::seconds(1));
  while (!to.flush() && wait_ready(to.fd(), POLLOUT, soon)) {
  }
}

std::string encode(const std::vector<Member>& members) {
  Json roster = Json::array();
  for (const Member& member : members)
    roster.push_back({{"host", member.host},
                      {"pid", member.pid},
                      {"machine", member.machine},
                      {"address", member.address}});
  return roster.dump(-1, ' ', true, Json::error_handler_t::replace);
}

std::vector<Member> decode_members(std::string_view text, int size) {
  const Json roster = parse_json(text, "the head's list of ranks", ExitCode::config);
  std::vector<Member> members;
  try {
    for (const Json& each : roster)
      members.push_back({.host = each.at("host").get<std::string>(),
                         .pid = each.at("pid").get<int64_t>(),
                         .machine = each.at("machine").get<uint64_t>(),
                         .address = each.at("address").get<std::string>()});
  } catch (const Json::exception& error) {
    fail(ExitCode::config, "the head's list of ranks: {}", error.what());
  }
  if (members.size() != static_cast<size_t>(size))
    fail(ExitCode::config, "the head's list has {} ranks, not {}", members.size(), size);
  return members;
}

std::string place_of(const Guest& guest) {
  return fmt::format("pid {} on host {} ({})", guest.hello.pid, guest.hello.host, guest.from);
}

// The head's waiting room.
class Gathering {
 public:
  Gathering(const Socket& listener, const StarPlan& plan)
      : plan_(plan), reception_(listener, plan.secret), seats_(static_cast<size_t>(plan.size)) {}

  Star run(Deadline deadline) {
    std::chrono::duration<double> patience = kFirstNotice;
    for (Deadline notice = Deadline::after(patience); !complete();) {
      std::optional<Guest> guest =
          reception_.next(notice.remaining() < deadline.remaining() ? notice : deadline);
      if (guest) {
        seat(std::move(*guest));
      } else if (deadline.expired()) {
        fail_missing();
      } else if (notice.expired()) {
        log::info("the head waits for ranks: {}", attendance());
        patience *= 2;
        notice = Deadline::after(patience);
      }
    }
    return form();
  }

 private:
  struct Seat {
    std::optional<Guest> control, pulse;
  };

  bool complete() const {
    return std::all_of(seats_.begin() + 1, seats_.end(),
                       [](const Seat& seat) { return seat.control && seat.pulse; });
  }

  void seat(Guest guest) {
    const Hello& hello = guest.hello;
    if (hello.size != plan_.size || hello.local_size != plan_.local_size)
      disband(guest, fmt::format("rank {} ({}) was started for {} ranks, {} a node; the head for "
                                 "{}, {} a node: give all nodes the same sizes",
                                 hello.rank, place_of(guest), hello.size, hello.local_size,
                                 plan_.size, plan_.local_size));
    if (hello.rank <= 0 || hello.rank >= plan_.size)
      disband(guest, fmt::format("{} says that it is rank {} of {}, which only the head or nobody "
                                 "can be",
                                 place_of(guest), hello.rank, plan_.size));
    const bool control = hello.purpose == static_cast<uint32_t>(Purpose::control);
    if (!control && hello.purpose != static_cast<uint32_t>(Purpose::pulse))
      disband(guest,
              fmt::format("rank {} ({}) wants to reach its ring neighbour at the head's port: "
                          "exchange master_port and port, or right_port",
                          hello.rank, place_of(guest)));
    Seat& seat = seats_[static_cast<size_t>(hello.rank)];
    std::optional<Guest>& place = control ? seat.control : seat.pulse;
    if (place && is_there(*place))
      disband(guest, fmt::format("{} came twice: {} and {}", plan_.describe(hello.rank),
                                 place_of(*place), place_of(guest)));
    place = std::move(guest);
  }

  static bool is_there(Guest& guest) {
    guest.channel.receive();  // ranks say nothing before they have the roster
    return guest.channel.lost().empty();
  }

  // All ranks end with the same message.
  [[noreturn]] void disband(Guest& guest, const std::string& why) {
    send_text(guest.channel, Answer::refusal, why);
    for (Seat& seat : seats_)
      if (seat.control) send_text(seat.control->channel, Answer::refusal, why);
    throw Error(ExitCode::config, why);
  }

  // Who is missing, who has come, and who was here and is gone.
  std::string attendance() {
    std::vector<std::string> missing, here, gone;
    for (int rank = 1; rank < plan_.size; ++rank) {
      Seat& seat = seats_[static_cast<size_t>(rank)];
      const bool came = seat.control && seat.pulse;
      std::vector<std::string>& list = !came ? missing : is_there(*seat.control) ? here : gone;
      list.push_back(plan_.describe(rank));
    }
    std::string text;
    if (!here.empty()) text += fmt::format("connected: {}; ", fmt::join(here, ", "));
    if (!gone.empty()) text += fmt::format("came and ended: {}; ", fmt::join(gone, ", "));
    return text + fmt::format("no connection from {}", fmt::join(missing, ", "));
  }

  [[noreturn]] void fail_missing() {
    const std::string why =
        fmt::format("not all ranks came within --start-timeout: {}{}", attendance(),
                    reception_.last_refusal().empty()
                        ? ": are they started, and can they reach this host's port?"
                        : "; turned away: " + reception_.last_refusal());
    for (Seat& seat : seats_)
      if (seat.control) send_text(seat.control->channel, Answer::missing, why);
    throw Error(ExitCode::peer, why);
  }

  // Ranks that came from this very machine are reached where the head is: at the address by which
  // ranks of other machines reached it, if there are such.
  std::string public_address() const {
    std::string address;
    for (size_t rank = 1; rank < seats_.size(); ++rank) {
      const std::string here = local_address(seats_[rank].control->channel.socket());
      if (address.empty() || seats_[rank].control->from != here) address = here;
    }
    return address;
  }

  Star form() {
    Star star;
    const std::string here = public_address();
    const Hello self = introduce(Purpose::control, 0, plan_.size, plan_.local_size);
    star.members.push_back(
        {.host = self.host, .pid = self.pid, .machine = self.machine, .address = here});
    star.control.emplace_back(Socket(), SessionKeys{}, Side::listener);
    for (int rank = 1; rank < plan_.size; ++rank) {
      Seat& seat = seats_[static_cast<size_t>(rank)];
      const Guest& guest = *seat.control;
      const bool neighbour = guest.from == local_address(guest.channel.socket());
      star.members.push_back({.host = guest.hello.host,
                              .pid = guest.hello.pid,
                              .machine = guest.hello.machine,
                              .address = neighbour ? here : guest.from});
      star.control.push_back(std::move(seat.control->channel));
      star.pulse.push_back({.rank = rank, .channel = std::move(seat.pulse->channel)});
    }
    const std::string roster = encode(star.members);
    for (size_t rank = 1; rank < star.control.size(); ++rank)
      send_text(star.control[rank], Answer::roster, roster);
    return star;
  }

  const StarPlan& plan_;
  Reception reception_;
  std::vector<Seat> seats_;  // by rank
};

// The list of ranks, if it has come; why there will be none is thrown.
std::optional<std::string> listen_to_head(const StarPlan& plan, Channel& head) {
  const std::optional<Frame> frame = head.receive();
  if (!frame && !head.lost().empty())
    fail(ExitCode::peer,
         "the head at {} ended before all ranks had come ({}): its own message tells why",
         plan.head.text(), head.lost());
  if (!frame) return std::nullopt;
  std::string text(reinterpret_cast<const char*>(frame->payload.data()), frame->payload.size());
  if (frame->type == static_cast<uint32_t>(Answer::roster)) return text;
  // The same exit code as the head's, whichever of them a supervisor sees first.
  const bool missing = frame->type == static_cast<uint32_t>(Answer::missing);
  fail(missing ? ExitCode::peer : ExitCode::config, "the head at {} ended the start: {}",
       plan.head.text(), text);
}

}  // namespace

Star gather_ranks(const Socket& listener, const StarPlan& plan, Deadline deadline) {
  return Gathering(listener, plan).run(deadline);
}

Star join_head(const StarPlan& plan, Deadline deadline) {
  const auto connect = [&](Purpose purpose, const Look& look) {
    return call(plan.head, plan.secret, introduce(purpose, plan.rank, plan.size, plan.local_size),
                deadline, look);
  };
  Star star;
  bool told = false;
  const Look waiting = [&, notice = Deadline::after(kFirstNotice)] {
    if (!told && notice.expired())
      log::info("nobody answers yet at the head's {}", plan.head.text());
    told = told || notice.expired();
  };
  star.control.push_back(connect(Purpose::control, waiting));
  Channel& head = star.control.front();
  // A head that does not want this rank says so over the first connection and is gone.
  const Look refused = [&] { listen_to_head(plan, head); };
  star.pulse.push_back({.rank = 0, .channel = connect(Purpose::pulse, refused)});
  // The head names the ranks that are missing at its own deadline, which may end a little later.
  const Deadline patience = Deadline::after(deadline.remaining() + std::chrono::seconds(2));
  for (;;) {
    if (const std::optional<std::string> roster = listen_to_head(plan, head)) {
      star.members = decode_members(*roster, plan.size);
      return star;
    }
    if (!wait_ready(head.fd(), POLLIN, patience))
      fail(ExitCode::peer,
           "no answer from the head at {} within --start-timeout: it waits for other ranks, or is "
           "stopped",
           plan.head.text());
  }
}

}  // namespace dinfer
