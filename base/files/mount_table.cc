#include "base/files/mount_table.h"

#include <sys/sysmacros.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>

namespace vaultfs {
namespace {

// Blanks, tabs, newlines and backslashes are written as three octal digits.
std::string unescaped(std::string_view text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto digit = [&](std::size_t at) { return at < text.size() && text[at] >= '0' && text[at] <= '7'; };
    if (text[i] == '\\' && digit(i + 1) && digit(i + 2) && digit(i + 3)) {
      result.push_back(static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0')));
      i += 3;
    } else {
      result.push_back(text[i]);
    }
  }
  return result;
}

std::string_view next_word(std::string_view& line) {
  const std::size_t blank = line.find(' ');
  const std::string_view word = line.substr(0, blank);
  line.remove_prefix(blank == std::string_view::npos ? line.size() : blank + 1);
  return word;
}

std::optional<MountEntry> parse_line(std::string_view line) {
  MountEntry entry;
  entry.id = next_word(line);
  entry.parent = next_word(line);
  entry.device = next_word(line);
  next_word(line);  // which part of the file system
  entry.point = unescaped(next_word(line));
  entry.options = next_word(line);
  // Any number of fields, then a hyphen.
  while (!line.empty() && next_word(line) != "-") {
  }
  if (line.empty()) return std::nullopt;
  entry.type = unescaped(next_word(line));
  entry.source = unescaped(next_word(line));
  entry.options += ',';
  entry.options += next_word(line);
  return entry;
}

}  // namespace

bool MountEntry::has(std::string_view option) const {
  const std::string list = ',' + options + ',';
  return list.find(',' + std::string(option) + ',') != std::string::npos;
}

std::string MountEntry::value_of(std::string_view option) const {
  const std::string list = ',' + options;
  const std::string wanted = ',' + std::string(option) + '=';
  const std::size_t at = list.find(wanted);
  if (at == std::string::npos) return {};
  const std::size_t begin = at + wanted.size();
  return list.substr(begin, list.find(',', begin) - begin);
}

dev_t number_of_device(std::string_view device) {
  unsigned parts[2] = {0, 0};
  const std::size_t colon = device.find(':');
  if (colon == std::string_view::npos) return 0;
  const std::string_view texts[2] = {device.substr(0, colon), device.substr(colon + 1)};
  for (std::size_t i = 0; i < 2; ++i) {
    const char* const end = texts[i].data() + texts[i].size();
    const auto [read, problem] = std::from_chars(texts[i].data(), end, parts[i]);
    if (problem != std::errc() || read != end) return 0;
  }
  return makedev(parts[0], parts[1]);
}

std::vector<MountEntry> mount_table() {
  std::ifstream file("/proc/self/mountinfo", std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  return parse_mount_table(text);
}

std::vector<MountEntry> parse_mount_table(std::string_view text) {
  std::vector<MountEntry> table;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    if (auto entry = parse_line(text.substr(0, end))) table.push_back(*std::move(entry));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return table;
}

bool is_covered(const std::vector<MountEntry>& table, const MountEntry& mount) {
  return std::ranges::any_of(
      table, [&](const MountEntry& other) { return other.parent == mount.id && other.point == mount.point; });
}

std::optional<MountEntry> uppermost_at(const std::vector<MountEntry>& table, std::string_view point) {
  for (auto entry = table.rbegin(); entry != table.rend(); ++entry) {
    if (entry->point == point && !is_covered(table, *entry)) return *entry;
  }
  return std::nullopt;
}

}  // namespace vaultfs
