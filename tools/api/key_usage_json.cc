#include "tools/api/key_usage_json.h"

#include <array>
#include <cstdlib>
#include <ctime>
#include <limits>
#include <utility>

#include "tools/api/json_forms.h"

namespace vaultfs {
namespace {

using nlohmann::json;

// What seconds_to_json writes; no time for null.
UnixNanos time_from_json(const json& form) {
  if (!form.is_string()) return {};
  std::tm parts{};
  const char* end = ::strptime(form.get_ref<const std::string&>().c_str(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  if (end == nullptr || *end != '\0') return {};
  const std::int64_t seconds = ::timegm(&parts);
  if (std::abs(seconds) > std::numeric_limits<std::int64_t>::max() / kNanosPerSecond) return {};
  return UnixNanos{seconds * kNanosPerSecond};
}

Result<VersionRole> role_from_json(const json& form) {
  constexpr std::array<std::pair<const char*, VersionRole>, 3> kRoles{
      {{"Active", VersionRole::active}, {"Retiring", VersionRole::retiring}, {"Retired", VersionRole::retired}}};
  for (const auto& [name, role] : kRoles) {
    if (form == name) return role;
  }
  return Error{ErrorCode::Internal, "a key version has no role that is known here"};
}

template <typename Number>
Number number_from_json(const json& form, const char* name) {
  const auto found = form.find(name);
  return found != form.end() && found->is_number_unsigned() ? Number(found->get<std::uint64_t>()) : Number();
}

// May throw what nlohmann's value() throws.
Result<VersionRecord> version_from_json(const json& form) {
  VersionRecord version;
  VAULTFS_ASSIGN_OR_RETURN(version.role, role_from_json(form.at("role")));
  version.version = form.at("version");
  const std::string key = form.at("key");
  // A platform key has a name without a slash.
  if (const std::size_t slash = key.find('/'); slash != std::string::npos) {
    version.key_vault = key.substr(0, slash);
    version.key = key.substr(slash + 1);
  }
  version.role_since = time_from_json(form.value("since", json()));
  version.took_effect = time_from_json(form.value("took_effect", json()));
  version.first_epoch = number_from_json<EpochNumber>(form, "first_epoch");
  version.last_epoch = number_from_json<EpochNumber>(form, "last_epoch");
  version.role_generation = number_from_json<Generation>(form, "since_generation");
  version.backup_completed = form.value("backup_completed", false);
  version.disabled_too_early = form.value("disabled_too_early", false);
  version.since_uncertain = form.value("since_uncertain", false);
  version.waiting_for = form.value("waiting_for", "");
  return version;
}

Result<KeyUsage> usage_from_json(const json& form) {
  KeyUsage usage;
  usage.vault = form.value("vault", "");
  usage.path = form.value("path", "");
  usage.recovery_points = form.value("recovery_points", std::uint64_t{0});
  usage.keyring_generation = form.value("keyring_generation", std::uint64_t{0});
  usage.identity = form.value("identity", "");
  usage.follows_new_versions = form.value("follows_new_versions", false);
  for (const json& one : form.at("versions")) {
    VAULTFS_ASSIGN_OR_RETURN(VersionRecord version, version_from_json(one));
    usage.versions.push_back(std::move(version));
  }
  return usage;
}

}  // namespace

json to_json(const KeyUsage& usage) {
  json versions = json::array();
  for (const VersionRecord& version : usage.versions) versions.push_back(to_json(version));
  return {{"vault", usage.vault},
          {"path", usage.path},
          {"recovery_points", usage.recovery_points},
          {"keyring_generation", usage.keyring_generation},
          {"identity", usage.identity},
          {"follows_new_versions", usage.follows_new_versions},
          {"versions", versions}};
}

Result<KeyUsage> key_usage_from_json(const json& form) {
  try {
    return usage_from_json(form);
  } catch (const json::exception&) {
    return Error{ErrorCode::Internal, "what the vault's owner says of its keys can't be read"};
  }
}

}  // namespace vaultfs
