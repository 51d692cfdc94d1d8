#include "tools/cli/text_output.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

namespace vaultfs {

std::string human_bytes(std::uint64_t bytes) {
  static constexpr std::array<const char*, 6> kUnits{"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  std::array<char, 32> text{};
  static_cast<void>(std::snprintf(text.data(), text.size(), unit == 0 ? "%.0f %s" : "%.1f %s", value, kUnits[unit]));
  return text.data();
}

std::string human_seconds(double seconds) {
  std::array<char, 48> text{};
  const auto whole = static_cast<std::uint64_t>(std::llround(std::max(0.0, seconds)));
  if (whole >= 3600) {
    static_cast<void>(std::snprintf(text.data(), text.size(), "%lu h %lu min", whole / 3600, whole % 3600 / 60));
  } else if (whole >= 60) {
    static_cast<void>(std::snprintf(text.data(), text.size(), "%lu min %lu s", whole / 60, whole % 60));
  } else {
    static_cast<void>(std::snprintf(text.data(), text.size(), "%lu s", whole));
  }
  return text.data();
}

std::string printable(const std::string& text) {
  std::string result;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7f) {
      result.push_back(c);
    } else {
      std::array<char, 8> escape{};
      static_cast<void>(std::snprintf(escape.data(), escape.size(), "\\x%02x", byte));
      result += escape.data();
    }
  }
  return result;
}

std::string plain(const nlohmann::json& value) {
  if (value.is_null()) return "-";
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (value.is_string()) return value.get_ref<const std::string&>().empty() ? "-" : printable(value.get<std::string>());
  return value.dump();
}

void print_table(const std::vector<std::string>& headings, const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  widths.reserve(headings.size());
  for (const std::string& heading : headings) widths.push_back(heading.size());
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size() && i < widths.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  const auto print_row = [&widths](const std::vector<std::string>& row) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (i + 1 == row.size()) {
        std::printf("%s", row[i].c_str());
      } else {
        std::printf("%-*s  ", static_cast<int>(widths[i]), row[i].c_str());
      }
    }
    std::printf("\n");
  };
  print_row(headings);
  for (const auto& row : rows) print_row(row);
}

void print_pairs(const std::vector<std::pair<std::string, std::string>>& pairs) {
  std::size_t width = 0;
  for (const auto& pair : pairs) width = std::max(width, pair.first.size() + 1);
  for (const auto& [label, value] : pairs) {
    std::printf("%-*s %s\n", static_cast<int>(width), (label + ":").c_str(), value.c_str());
  }
}

void print_healed(const nlohmann::json& form) {
  const auto chunks = form["healed_chunks"].get<std::uint64_t>();
  const auto points = form["healed_points"].get<std::uint64_t>();
  std::printf("%llu damaged %s healed in %llu %s.\n", static_cast<unsigned long long>(chunks),
              chunks == 1 ? "chunk" : "chunks", static_cast<unsigned long long>(points),
              points == 1 ? "point" : "points");
}

}  // namespace vaultfs
