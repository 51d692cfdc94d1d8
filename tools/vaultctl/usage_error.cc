#include "tools/vaultctl/usage_error.h"

#include <span>
#include <string_view>
#include <vector>

#include "tools/did_you_mean.h"

namespace vaultfs {
namespace {

std::vector<std::string> command_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(command->get_name());
  return names;
}

void add_options(const CLI::App& app, std::vector<std::string>& names) {
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
}

}  // namespace

std::string usage_problem(const CLI::App& app, int argc, const char* const* argv, const CLI::ParseError& problem) {
  const CLI::App* command = &app;
  std::vector<std::string> options;
  add_options(app, options);
  bool value_follows = false;
  for (const std::string_view word : std::span(argv, static_cast<std::size_t>(argc)).subspan(1)) {
    if (word == "--") break;
    if (word.starts_with("--")) {
      const std::string name(word.substr(0, word.find('=')));
      const CLI::Option* known = command->get_option_no_throw(name);
      if (known == nullptr) known = app.get_option_no_throw(name);
      // Those of the command come behind it.
      const bool all_known = command->get_subcommands([](const CLI::App*) { return true; }).empty();
      if (known == nullptr && all_known) return "there is no option " + name + did_you_mean(name, options);
      value_follows = known != nullptr && known->get_expected_max() > 0 && word.find('=') == std::string_view::npos;
      continue;
    }
    if (value_follows || word.starts_with('-')) {
      value_follows = false;
      continue;
    }
    const std::vector<std::string> names = command_names(*command);
    if (names.empty()) continue;  // its arguments
    const auto wanted = command->get_subcommands([word](const CLI::App* each) { return each->get_name() == word; });
    if (wanted.empty()) {
      const std::string above = command == &app ? "" : command->get_name() + " ";
      return "there is no command " + above + std::string(word) + did_you_mean(word, names);
    }
    command = wanted.front();
    add_options(*command, options);
  }
  return problem.what();
}

}  // namespace vaultfs
