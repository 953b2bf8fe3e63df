#include "cli/parse.h"

#include <algorithm>
#include <set>

#include <boost/program_options.hpp>

#include "base/error.h"
#include "base/nearest.h"

namespace dinfer {

namespace {

namespace po = boost::program_options;

bool takes(const Command& command, const OptionSpec& option) {
  return (command.bit & option.commands) != 0;
}

const Command& chosen_command(const std::string& name) {
  if (const Command* command = find_command(name)) {
    if (command->run == nullptr) {
      fail(ExitCode::usage, "the command {} is not available in this version", name);
    }
    return *command;
  }
  std::vector<std::string> names;
  for (const Command& command : command_table()) names.emplace_back(command.name);
  const std::string meant = nearest(name, names);
  if (!meant.empty()) fail(ExitCode::usage, "unknown command {}; did you mean {}?", name, meant);
  fail(ExitCode::usage, "unknown command {}; dinfer help lists the commands", name);
}

[[noreturn]] void fail_unknown(const Command& command, const std::string& flag) {
  const std::string name = flag.substr(flag.find_first_not_of('-'));
  std::vector<std::string> flags{"--help"};
  for (const OptionSpec& option : option_table()) {
    if (takes(command, option)) {
      flags.push_back(option.flag());
    } else if (option.name == name) {
      fail(ExitCode::usage, "{} is an option of {}, not of {}", flag, names_of(option.commands),
           command.name);
    }
  }
  if (std::ranges::count(future_options(), name) != 0) {
    fail(ExitCode::usage, "{} is not available in this version", flag);
  }
  const std::string meant = nearest(flag, flags);
  if (!meant.empty()) fail(ExitCode::usage, "unknown option {}; did you mean {}?", flag, meant);
  fail(ExitCode::usage, "unknown option {}; dinfer help {} lists the options", flag, command.name);
}

// `origin` is how the user wrote the option, up to its value.
void apply(const OptionSpec& option, const std::string& origin, std::string_view value,
           Options& options) {
  if (option.rule.set(options, value)) return;
  const std::string meant = nearest(value, option.rule.choices);
  fail(ExitCode::usage, "{}{}: must be {}{}", origin, value, option.rule.allowed,
       meant.empty() ? "" : "; did you mean " + meant + "?");
}

po::options_description describe(const Command& command) {
  po::options_description description;
  description.add_options()("help,h", "");
  for (const OptionSpec& option : option_table()) {
    if (!takes(command, option)) continue;
    std::string names(option.name);
    if (option.letter != '\0') names += {',', option.letter};
    if (option.is_switch()) {
      description.add_options()(names.c_str(), "");
    } else {
      description.add_options()(names.c_str(), po::value<std::string>(), "");
    }
  }
  return description;
}

po::parsed_options split(const Command& command, const po::options_description& description,
                         const std::vector<std::string>& arguments) {
  namespace style = po::command_line_style;
  try {
    return po::command_line_parser(arguments)
        .options(description)
        .style(style::unix_style & ~style::allow_guessing)
        .run();
  } catch (const po::unknown_option& e) {
    fail_unknown(command, e.get_option_name());
  } catch (const po::invalid_command_line_syntax& e) {
    if (e.kind() == po::invalid_syntax::extra_parameter) {
      fail(ExitCode::usage, "{} takes no value", e.get_option_name());
    }
    fail(ExitCode::usage, "{} needs a value (one that starts with - is given as --name=value)",
         e.get_option_name());
  } catch (const po::error& e) {
    fail(ExitCode::usage, "{}", e.what());
  }
}

const OptionSpec& option_named(std::string_view name) {
  const auto table = option_table();
  const auto found = std::ranges::find(table, name, &OptionSpec::name);
  check(found != table.end(), "the parser knows only options of the table");
  return *found;
}

// Applies DINFER_* variables of options that `given` does not hold; returns warnings.
std::vector<std::string> apply_environment(const Command& command,
                                           std::span<const std::string_view> environment,
                                           const std::set<std::string_view>& given,
                                           Options& options) {
  constexpr std::string_view kPrefix = "DINFER_";
  std::vector<std::string> known;  // without the prefix: it would make all names alike
  for (const OptionSpec& option : option_table()) {
    known.push_back(option.environment().substr(kPrefix.size()));
  }
  std::vector<std::string> warnings;
  for (const std::string_view entry : environment) {
    if (!entry.starts_with(kPrefix)) continue;
    const std::string name(entry.substr(0, entry.find('=')));
    const std::string_view value = entry.substr(std::min(entry.size(), name.size() + 1));
    const auto found = std::ranges::find(known, name.substr(kPrefix.size()));
    if (found != known.end()) {
      const OptionSpec& option = option_table()[static_cast<size_t>(found - known.begin())];
      if (value.empty() || !takes(command, option) || given.contains(option.name)) continue;
      apply(option, name + "=", value, options);
    } else if (std::ranges::count(script_variables(), name) == 0) {
      const std::string meant = nearest(name.substr(kPrefix.size()), known);
      warnings.push_back(
          fmt::format("{} in the environment is no option of dinfer{}", name,
                      meant.empty() ? "" : fmt::format("; did you mean {}{}?", kPrefix, meant)));
    }
  }
  return warnings;
}

Invocation help_of(std::string_view command) {
  Invocation invocation{.command = find_command("help")};
  if (!command.empty()) invocation.options.arguments.emplace_back(command);
  return invocation;
}

}  // namespace

Invocation parse_arguments(std::span<const std::string> arguments,
                           std::span<const std::string_view> environment) {
  if (arguments.empty()) fail(ExitCode::usage, "no command given; dinfer help lists the commands");
  const std::string& name = arguments.front();
  if (name == "--help" || name == "-h") return help_of("");
  Invocation invocation{.command = &chosen_command(name)};
  const Command& command = *invocation.command;
  Options& options = invocation.options;

  const po::options_description description = describe(command);
  const po::parsed_options parsed =
      split(command, description, {arguments.begin() + 1, arguments.end()});
  std::set<std::string_view> given;
  for (const po::option& part : parsed.options) {
    if (part.position_key >= 0) {
      options.arguments.insert(options.arguments.end(), part.value.begin(), part.value.end());
      continue;
    }
    if (part.string_key == "help") return help_of(command.name);
    const OptionSpec& option = option_named(part.string_key);
    given.insert(option.name);
    apply(option, option.flag() + " ", option.is_switch() ? "1" : part.value.at(0), options);
  }
  if (options.arguments.size() > command.most_arguments) {
    fail(ExitCode::usage, "{} takes no argument {} here; dinfer help {} shows its use",
         command.name, options.arguments[command.most_arguments], command.name);
  }
  invocation.warnings = apply_environment(command, environment, given, options);
  if (command.needs_model && options.model.empty() && options.shape.empty()) {
    fail(ExitCode::usage, "{} needs a model: -m MODEL, or DINFER_MODEL in the environment",
         command.name);
  }
  return invocation;
}

}  // namespace dinfer
