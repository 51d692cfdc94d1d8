#include "vaultmeta/machine/audit_log.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "crypto/files/json_members.h"
#include "crypto/hash.h"

namespace vaultfs {
namespace {

constexpr std::uint64_t kMaxLogBytes = 256ULL << 20;

// One line, keys sorted, whatever bytes the texts hold.
std::string dump(const nlohmann::json& object) {
  return object.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

// Names of keys, files and vaults may be strangers' choice, and people read this log on terminals: what is not
// printable ASCII stands as \\xNN.
std::string printable_text(const std::string& text) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f) {
      out += c;
    } else {
      out.append("\\x").append(1, kDigits[byte >> 4U]).append(1, kDigits[byte & 15U]);
    }
  }
  return out;
}

}  // namespace

struct AuditLog::Content {
  std::vector<AuditEntry> entries;
  Digest chain;
  std::uint64_t whole_bytes = 0;  // length of all whole lines
  bool exists = false;
};

Result<AuditLog::Content> AuditLog::read() {
  Content content;
  VAULTFS_ASSIGN_OR_RETURN(const FileInfo info, env_.info(path_));
  if (info.kind == FileKind::missing) return content;
  content.exists = true;
  VAULTFS_ASSIGN_OR_RETURN(const Bytes bytes, read_file(env_, path_, kMaxLogBytes));
  const std::string_view text = text_of(bytes);
  std::size_t number = 0;
  for (std::size_t begin = 0;; ++number) {
    const std::size_t end = text.find('\n', begin);
    if (end == std::string_view::npos) break;
    const std::string where = path_.string() + ", line " + std::to_string(number + 1);
    auto line = nlohmann::json::parse(text.substr(begin, end - begin), nullptr, false);
    JsonMembers members(line, where);
    const std::string chain = members.text("chain");
    AuditEntry entry;
    entry.time = UnixNanos{members.integer("time")};
    entry.uid = static_cast<std::uint32_t>(members.integer("uid"));
    entry.what = members.text("what");
    entry.detail = members.text("detail");
    VAULTFS_RETURN_IF_ERROR(members.finish());
    line.erase("chain");
    const std::string without = dump(line);
    content.chain = sha256({content.chain.view(), bytes_of(without)});
    if (to_hex(content.chain.view()) != chain) {
      return Error{ErrorCode::DamagedMachineState,
                   where + " is not what was written there, or a line before it is gone"};
    }
    content.entries.push_back(std::move(entry));
    begin = end + 1;
    content.whole_bytes = begin;
  }
  return content;
}

Status AuditLog::append(const AuditEntry& entry) {
  VAULTFS_ASSIGN_OR_RETURN(const Content before, read());
  nlohmann::json line{{"time", entry.time.value},
                      {"uid", entry.uid},
                      {"what", printable_text(entry.what)},
                      {"detail", printable_text(entry.detail)}};
  // Through text once, so that the chain is over what a reader will parse.
  line = nlohmann::json::parse(dump(line), nullptr, false);
  const std::string without = dump(line);
  line["chain"] = to_hex(sha256({before.chain.view(), bytes_of(without)}).view());
  const std::string text = dump(line) + "\n";
  const OpenMode mode = before.exists ? OpenMode::read_write : OpenMode::create_exclusive;
  VAULTFS_ASSIGN_OR_RETURN(const auto file, env_.open(path_, mode));
  VAULTFS_ASSIGN_OR_RETURN(const std::uint64_t size, file->size());
  if (size > before.whole_bytes) VAULTFS_RETURN_IF_ERROR(file->truncate(before.whole_bytes));
  Status written = file->write_at(before.whole_bytes, bytes_of(text));
  if (written.ok()) written = file->sync();
  if (!written.ok()) {
    // After a failed sync the kernel may show the line until the next restart, and has lost it: no line is to follow.
    static_cast<void>(file->truncate(before.whole_bytes));
    return written;
  }
  return before.exists ? ok_status() : env_.sync_directory(path_.parent_path());
}

Result<std::vector<AuditEntry>> AuditLog::entries() {
  VAULTFS_ASSIGN_OR_RETURN(Content content, read());
  return std::move(content.entries);
}

}  // namespace vaultfs
