#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace vaultfs {

// What is wrong with a command line that CLI11 has refused: the first word that is no command, or no option of the
// command, with what was probably meant; otherwise CLI11's own words.
[[nodiscard]] std::string usage_problem(const CLI::App& app, int argc, const char* const* argv,
                                        const CLI::ParseError& problem);

}  // namespace vaultfs
