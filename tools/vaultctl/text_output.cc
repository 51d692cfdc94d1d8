#include "tools/vaultctl/text_output.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "base/thread/mutex.h"

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

namespace {

Mutex drawn_mutex;
std::size_t drawn_columns GUARDED_BY(drawn_mutex) = 0;

}  // namespace

void draw_line(const std::string& text) {
  const MutexLock lock(drawn_mutex);
  const std::size_t blanks = drawn_columns > text.size() ? drawn_columns - text.size() : 0;
  static_cast<void>(std::fprintf(stderr, "\r%s%s%s", text.c_str(), std::string(blanks, ' ').c_str(),
                                 std::string(blanks, '\b').c_str()));
  drawn_columns = text.size();
  static_cast<void>(std::fflush(stderr));
}

void erase_drawn_line() {
  const MutexLock lock(drawn_mutex);
  if (drawn_columns == 0) return;
  static_cast<void>(std::fprintf(stderr, "\r%s\r", std::string(drawn_columns, ' ').c_str()));
  drawn_columns = 0;
  static_cast<void>(std::fflush(stderr));
}

std::string shown_line(std::string_view pattern, std::initializer_list<Shown> arguments) {
  std::string line;
  const auto* next = arguments.begin();
  while (!pattern.empty()) {
    const std::size_t percent = std::min(pattern.find('%'), pattern.size());
    line += pattern.substr(0, percent);
    pattern.remove_prefix(percent);
    if (pattern.empty()) break;
    if (pattern.starts_with("%%")) {
      line += '%';
      pattern.remove_prefix(2);
      continue;
    }
    if (next != arguments.end()) line += (next++)->text();
    pattern.remove_prefix(std::min(pattern.find_first_of("suxd"), pattern.size() - 1) + 1);
  }
  return line;
}

namespace {

std::string hex_of(const std::string& text) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  std::string result;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    result.push_back(kDigits[byte >> 4U]);
    result.push_back(kDigits[byte & 0x0fU]);
  }
  return result;
}

// Beside each member whose text is no UTF-8, its bytes. This program's own objects are no deeper than a few levels.
void add_bytes(nlohmann::json& value) {
  if (!value.is_structured()) return;
  nlohmann::json bytes = nlohmann::json::object();
  for (auto& [key, each] : value.items()) {
    if (value.is_object() && each.is_string() && !is_utf8(each.get_ref<const std::string&>()))
      bytes[key + "_hex"] = hex_of(each.get_ref<const std::string&>());
    add_bytes(each);
  }
  if (!bytes.empty()) value.update(bytes);
}

}  // namespace

void print_json(const nlohmann::json& value) {
  nlohmann::json shown = value;
  add_bytes(shown);
  std::puts(shown.dump(2, ' ', true, nlohmann::json::error_handler_t::replace).c_str());
}

std::string plain(const nlohmann::json& value) {
  if (value.is_null()) return "-";
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (value.is_string())
    return value.get_ref<const std::string&>().empty() ? "-" : visible_text(value.get<std::string>());
  return value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

void print_table(const std::vector<std::string>& headings, const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::vector<std::string>> lines{headings};
  lines.insert(lines.end(), rows.begin(), rows.end());
  std::vector<std::size_t> widths(headings.size());
  for (auto& line : lines) {
    for (std::size_t i = 0; i < line.size(); ++i) {
      line[i] = visible_text(line[i]);
      if (i < widths.size()) widths[i] = std::max(widths[i], line[i].size());
    }
  }
  for (const auto& line : lines) {
    std::string text;
    for (std::size_t i = 0; i < line.size(); ++i) {
      text += line[i];
      if (i + 1 < line.size()) text.append(widths.at(i) - line[i].size() + 2, ' ');
    }
    std::puts(text.c_str());
  }
}

void print_key_expiry(const nlohmann::json& expiry) {
  if (expiry.is_null()) return;
  say("%s: %s.\n", expiry["state"] == "Expired" ? "Key expired" : "Key expires soon", plain(expiry["message"]).c_str());
}

void print_pairs(const std::vector<std::pair<std::string, std::string>>& pairs) {
  std::size_t width = 0;
  for (const auto& pair : pairs) width = std::max(width, pair.first.size() + 1);
  for (const auto& [label, value] : pairs) {
    const std::string padding(width - label.size() - 1, ' ');
    std::puts((visible_text(label) + ":" + padding + " " + visible_text(value)).c_str());
  }
}

void print_healed(const nlohmann::json& form) {
  const auto chunks = form["healed_chunks"].get<std::uint64_t>();
  const auto points = form["healed_points"].get<std::uint64_t>();
  say("%llu damaged %s healed in %llu %s.\n", static_cast<unsigned long long>(chunks), chunks == 1 ? "chunk" : "chunks",
      static_cast<unsigned long long>(points), points == 1 ? "point" : "points");
}

}  // namespace vaultfs
