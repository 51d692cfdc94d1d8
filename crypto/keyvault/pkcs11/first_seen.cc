#include "crypto/keyvault/pkcs11/first_seen.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/thread/mutex.h"
#include "crypto/files/json_members.h"
#include "crypto/files/private_file.h"

namespace vaultfs {
namespace {

constexpr std::int64_t kFirstSeenFormat = 1;
constexpr std::uint64_t kFileLimitBytes = std::uint64_t{16} * 1024 * 1024;

}  // namespace

std::ptrdiff_t Pkcs11SightingList::find(std::string_view key, std::string_view version) const noexcept {
  const auto found = std::ranges::find_if(
      entries, [&](const Pkcs11Sighting& entry) { return entry.version == version && entry.key == key; });
  return found == entries.end() ? -1 : found - entries.begin();
}

bool Pkcs11SightingList::add(const std::string& key, const std::vector<std::string>& versions, std::int64_t now) {
  std::int64_t time = now;
  for (const Pkcs11Sighting& entry : entries) {
    if (entry.key == key) time = std::max(time, entry.unix_seconds);
  }
  const std::size_t before = entries.size();
  for (const std::string& version : versions) {
    if (find(key, version) < 0) entries.push_back({key, version, time});
  }
  return entries.size() != before;
}

std::string Pkcs11SightingList::encode() const {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Pkcs11Sighting& entry : entries) {
    list.push_back({{"key", entry.key}, {"version", entry.version}, {"first_seen", entry.unix_seconds}});
  }
  return json_state_text({{"format", kFirstSeenFormat}, {"versions", std::move(list)}});
}

Result<Pkcs11SightingList> Pkcs11SightingList::decode(std::string_view json, const std::string& path) {
  VAULTFS_ASSIGN_OR_RETURN(const nlohmann::json parsed, parse_json_state(json, kFirstSeenFormat, path));
  JsonMembers members(parsed, path);
  const nlohmann::json* const list = members.array("versions");
  VAULTFS_RETURN_IF_ERROR(members.finish());
  Pkcs11SightingList sightings;
  std::set<std::pair<std::string, std::string>> seen;
  for (const nlohmann::json& element : *list) {
    JsonMembers entry(element, path);
    sightings.entries.push_back({entry.text("key"), entry.text("version"), entry.integer("first_seen")});
    const Pkcs11Sighting& added = sightings.entries.back();
    if (!seen.emplace(added.key, added.version).second) entry.fail("a version is in it twice");
    VAULTFS_RETURN_IF_ERROR(entry.finish());
  }
  return sightings;
}

Result<Pkcs11SightingList> Pkcs11FirstSeen::read() {
  const auto content = read_file(env_, path(), kFileLimitBytes);
  if (!content.ok()) {
    if (content.code() == ErrorCode::NotFound) return Pkcs11SightingList{};
    return content.error();
  }
  return Pkcs11SightingList::decode(text_of(*content), path().string());
}

Result<Pkcs11SightingList> Pkcs11FirstSeen::see(const std::string& key, const std::vector<std::string>& versions) {
  const MutexLock guard(change_mutex_);
  // Mostly there is nothing new, and then no lock is needed: the file is only ever replaced as a whole.
  VAULTFS_ASSIGN_OR_RETURN(Pkcs11SightingList known, read());
  if (std::ranges::all_of(versions, [&](const std::string& version) { return known.find(key, version) >= 0; })) {
    return known;
  }
  VAULTFS_RETURN_IF_ERROR(ensure_private_directory(env_, directory_));
  VAULTFS_ASSIGN_OR_RETURN(const auto lock, wait_for_lock(env_, directory_ / "pkcs11-first-seen.lock"));
  VAULTFS_ASSIGN_OR_RETURN(known, read());
  if (!known.add(key, versions, env_.clock().now().seconds())) return known;
  const std::string encoded = known.encode();
  // A file that could not be read again would stop every call. What is not kept is seen for the first time again.
  if (encoded.size() > kFileLimitBytes) return known;
  VAULTFS_RETURN_IF_ERROR(write_file_durably(env_, path(), bytes_of(encoded)));
  return known;
}

}  // namespace vaultfs
