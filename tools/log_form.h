#pragma once

#include <spdlog/formatter.h>

#include <memory>

namespace vaultfs {

// How the daemon's log writes a line, whatever it is written to: time, name, level, then the message by visible_text().
// Names of items and files, answers of key services and error texts are in it, and an operator reads it at a terminal.
[[nodiscard]] std::unique_ptr<spdlog::formatter> make_log_form();

}  // namespace vaultfs
