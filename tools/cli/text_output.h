#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace vaultfs {

// "1.4 GiB"; below 1 KiB "17 B".
[[nodiscard]] std::string human_bytes(std::uint64_t bytes);
// "42 s", "3 min 10 s".
[[nodiscard]] std::string human_seconds(double seconds);
// A JSON value as a person reads it: texts without quotes, null as "-", booleans as yes and no.
[[nodiscard]] std::string plain(const nlohmann::json& value);
// Terminal-safe: control characters are shown as \xNN.
[[nodiscard]] std::string printable(const std::string& text);

// "3 damaged chunks healed in 2 points." of a form with `healed_chunks` and `healed_points`.
void print_healed(const nlohmann::json& form);

// Rows under headings, columns aligned by their widest cell, to stdout.
void print_table(const std::vector<std::string>& headings, const std::vector<std::vector<std::string>>& rows);
// "Label:   value" lines.
void print_pairs(const std::vector<std::pair<std::string, std::string>>& pairs);

}  // namespace vaultfs
