#include "crypto/keyvault/local/key_file.h"

#include <algorithm>
#include <limits>
#include <set>
#include <utility>

#include "base/clock.h"
#include "crypto/files/json_members.h"
#include "crypto/hash.h"
#include "crypto/memory/base64.h"

namespace vaultfs {
namespace {

constexpr std::uint64_t kKeyFileLimitBytes = std::uint64_t{16} * 1024 * 1024;  // some 3,000 versions of 4096 bits
constexpr std::size_t kVersionIdDigits = 32;

nlohmann::ordered_json optional_time(const std::optional<std::int64_t>& time) {
  return time ? nlohmann::ordered_json(*time) : nlohmann::ordered_json(nullptr);
}

Result<LocalKeyVersion> decode_version(const nlohmann::json& entry, const std::string& where) {
  JsonMembers members(entry, where);
  LocalKeyVersion version;
  version.info.id = members.text("id");
  version.info.created_unix_seconds = members.integer("created");
  version.info.enabled = members.boolean("enabled");
  version.info.not_before = members.optional_integer("nbf");
  version.info.expires = members.optional_integer("exp");
  version.exported = members.optional_integer("exported");
  version.info.key_type = "RSA";
  const std::int64_t bits = members.integer("bits");
  version.public_der = members.base64("public_key");
  version.sealed_private = members.base64("private_key");
  if (bits == 2048 || bits == 3072 || bits == 4096) {
    version.info.bits = static_cast<unsigned>(bits);
  } else {
    members.fail("\"bits\" is not 2048, 3072 or 4096");
  }
  if (!members.failed() && version.info.id != local_version_id(version.public_der)) {
    members.fail(R"("id" is not the hash of "public_key")");
  }
  VAULTFS_RETURN_IF_ERROR(members.finish());
  return version;
}

nlohmann::ordered_json policy_to_json(const RotationPolicy& policy) {
  nlohmann::ordered_json form = nlohmann::ordered_json::object();
  if (policy.after_create_days) form["after_create_days"] = *policy.after_create_days;
  if (policy.before_expiry_days) form["before_expiry_days"] = *policy.before_expiry_days;
  if (policy.expiry_days) form["expiry_days"] = *policy.expiry_days;
  return form;
}

Result<std::optional<LocalKeyDeletion>> decode_deletion(const nlohmann::json& state, const std::string& path) {
  const auto found = state.find("deleted");
  if (found == state.end()) return std::optional<LocalKeyDeletion>();
  const std::string where = path + ", member \"deleted\",";
  JsonMembers members(*found, where);
  LocalKeyDeletion deletion;
  deletion.at = members.integer("at");
  deletion.purge_after = members.integer("purge_after");
  VAULTFS_RETURN_IF_ERROR(members.finish());
  return std::optional(deletion);
}

Result<std::optional<RotationPolicy>> decode_policy(const nlohmann::json& state, const std::string& path) {
  const auto found = state.find("rotation_policy");
  if (found == state.end()) return std::optional<RotationPolicy>();
  const std::string where = path + ", member \"rotation_policy\",";
  JsonMembers members(*found, where);
  RotationPolicy policy;
  const auto read = [&members](const char* name, std::optional<std::uint32_t>& out) {
    const std::optional<std::int64_t> value = members.optional_integer(name);
    if (!value || members.failed()) return;
    if (*value < 0 || *value > std::numeric_limits<std::int32_t>::max()) {
      return members.fail("\"" + std::string(name) + "\" is no number of days");
    }
    out = static_cast<std::uint32_t>(*value);
  };
  read("after_create_days", policy.after_create_days);
  read("before_expiry_days", policy.before_expiry_days);
  read("expiry_days", policy.expiry_days);
  if (const Status sensible = policy.check(); !sensible.ok()) members.fail(sensible.error().message);
  VAULTFS_RETURN_IF_ERROR(members.finish());
  return std::optional(policy);
}

Result<std::optional<LocalRotationSighting>> decode_sighting(const nlohmann::json& state, const std::string& path) {
  const auto found = state.find("rotation_counts_from");
  if (found == state.end()) return std::optional<LocalRotationSighting>();
  const std::string where = path + ", member \"rotation_counts_from\",";
  JsonMembers members(*found, where);
  LocalRotationSighting sighting;
  sighting.version = members.text("version");
  sighting.at = members.integer("at");
  VAULTFS_RETURN_IF_ERROR(members.finish());
  return std::optional(std::move(sighting));
}

}  // namespace

LocalKeyVersion* LocalKeyFile::find(std::string_view id) {
  const auto it = std::ranges::find_if(versions, [&](const LocalKeyVersion& v) { return v.info.id == id; });
  return it == versions.end() ? nullptr : &*it;
}

std::vector<const LocalKeyVersion*> LocalKeyFile::oldest_first() const {
  std::vector<const LocalKeyVersion*> ordered;
  ordered.reserve(versions.size());
  for (const LocalKeyVersion& version : versions) ordered.push_back(&version);
  std::ranges::stable_sort(ordered, {}, [](const LocalKeyVersion* v) { return v->info.created_unix_seconds; });
  return ordered;
}

std::optional<KeyVersionInfo> LocalKeyFile::newest_for_policy(std::int64_t now_unix_seconds) const {
  KeyVersionInfo newest = oldest_first().back()->info;
  // No policy rotates within days, so that clocks may differ a little.
  if (newest.created_unix_seconds <= now_unix_seconds + kSecondsPerDay) return newest;
  const auto& seen = rotation_counts_from;
  if (!seen || seen->version != newest.id || seen->at > now_unix_seconds + kSecondsPerDay) return std::nullopt;
  const bool by_policy =
      rotation_policy && rotation_policy->expiry_days && newest.expires &&
      *newest.expires == newest.created_unix_seconds + kSecondsPerDay * *rotation_policy->expiry_days;
  if (by_policy) newest.expires = seen->at + kSecondsPerDay * *rotation_policy->expiry_days;
  newest.created_unix_seconds = seen->at;
  return newest;
}

std::string LocalKeyFile::encode() const {
  nlohmann::ordered_json state;
  state["format"] = kLocalKeyFormat;
  state["key"] = key;
  nlohmann::ordered_json& list = state["versions"] = nlohmann::ordered_json::array();
  for (const LocalKeyVersion& version : versions) {
    nlohmann::ordered_json entry;
    entry["id"] = version.info.id;
    entry["created"] = version.info.created_unix_seconds;
    entry["enabled"] = version.info.enabled;
    entry["nbf"] = optional_time(version.info.not_before);
    entry["exp"] = optional_time(version.info.expires);
    entry["bits"] = version.info.bits;
    entry["public_key"] = to_base64(version.public_der);
    entry["private_key"] = to_base64(version.sealed_private);
    if (version.exported) entry["exported"] = *version.exported;
    list.push_back(std::move(entry));
  }
  if (deleted) state["deleted"] = {{"at", deleted->at}, {"purge_after", deleted->purge_after}};
  if (rotation_policy) state["rotation_policy"] = policy_to_json(*rotation_policy);
  if (rotation_counts_from) {
    state["rotation_counts_from"] = {{"version", rotation_counts_from->version}, {"at", rotation_counts_from->at}};
  }
  return json_state_text(state);
}

Result<LocalKeyFile> LocalKeyFile::decode(std::string_view json, const std::string& key, const std::string& path) {
  VAULTFS_ASSIGN_OR_RETURN(const auto state, parse_json_state(json, kLocalKeyFormat, path));
  JsonMembers members(state, path);
  LocalKeyFile file;
  file.key = members.text("key");
  if (!members.failed() && file.key != key) members.fail("it belongs to a key of another name");
  const nlohmann::json* list = members.array("versions");
  VAULTFS_RETURN_IF_ERROR(members.finish());
  std::set<std::string> ids;
  for (const nlohmann::json& entry : *list) {
    const std::string where = path + ", version " + std::to_string(file.versions.size() + 1) + " of its list,";
    VAULTFS_ASSIGN_OR_RETURN(LocalKeyVersion version, decode_version(entry, where));
    if (!ids.insert(version.info.id).second) members.fail("version " + version.info.id + " is listed twice");
    file.versions.push_back(std::move(version));
  }
  if (file.versions.empty()) members.fail("it lists no version");
  VAULTFS_RETURN_IF_ERROR(members.finish());
  VAULTFS_ASSIGN_OR_RETURN(file.deleted, decode_deletion(state, path));
  VAULTFS_ASSIGN_OR_RETURN(file.rotation_policy, decode_policy(state, path));
  VAULTFS_ASSIGN_OR_RETURN(file.rotation_counts_from, decode_sighting(state, path));
  return file;
}

std::string local_version_id(ByteView public_der) {
  return to_hex(sha256(public_der).view()).substr(0, kVersionIdDigits);
}

Env::Path local_keys_directory(const Env::Path& directory) { return directory / "keys"; }

Env::Path local_key_file_path(const Env::Path& directory, const std::string& key) {
  return local_keys_directory(directory) / (key + ".json");
}

Result<LocalKeyFile> read_local_key_file(Env& env, const Env::Path& directory, const std::string& name,
                                         const std::string& key) {
  const Env::Path path = local_key_file_path(directory, key);
  const auto bytes = read_file(env, path, kKeyFileLimitBytes);
  if (bytes.ok()) return LocalKeyFile::decode(text_of(*bytes), key, path.string());
  switch (bytes.code()) {
    case ErrorCode::NotFound: {
      // A missing key is a revocation, so it must not be concluded from a key vault that is not whole.
      VAULTFS_ASSIGN_OR_RETURN(const FileInfo folder, env.info(local_keys_directory(directory)));
      if (folder.kind != FileKind::directory) {
        return Error{ErrorCode::DamagedMachineState, local_keys_directory(directory).string() +
                                                         " is missing; put back a copy of the key vault " + name};
      }
      return Error{ErrorCode::KeyNotFound, "key vault " + name + " has no key " + key +
                                               "; import it, or create it with: vaultctl key create " + name + "/" +
                                               key};
    }
    case ErrorCode::IoError:
      return Error{ErrorCode::KeyVaultUnavailable, "key vault " + name + " can't be read: " + bytes.error().message};
    case ErrorCode::InvalidArgument:
      return Error{ErrorCode::DamagedMachineState, path.string() + " is damaged: " + bytes.error().message};
    default:
      return bytes.error();
  }
}

Status write_local_key_file(Env& env, const Env::Path& directory, const LocalKeyFile& file) {
  const std::string text = file.encode();
  if (text.size() > kKeyFileLimitBytes) {
    return Error{ErrorCode::NotSupported,
                 "key " + file.key + " has too many versions; create another key and move to it"};
  }
  return write_file_durably(env, local_key_file_path(directory, file.key), bytes_of(text));
}

}  // namespace vaultfs
