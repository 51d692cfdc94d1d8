#include <algorithm>

#include "tools/api/json_forms.h"
#include "tools/api/key_requests.h"
#include "vaultmeta/vault/encryption_status.h"

namespace vaultfs {
namespace {

using nlohmann::json;

Result<std::uint64_t> rate_argument(const json& arguments) {
  const auto found = arguments.find("bytes_per_second");
  if (found == arguments.end()) return std::uint64_t{0};
  if (!found->is_number_unsigned()) return Error{ErrorCode::Usage, "\"bytes_per_second\" must be a whole number"};
  return found->get<std::uint64_t>();
}

json to_json(const ReencryptOutcome& outcome) {
  const auto share = [](std::uint64_t segments, std::uint64_t bytes) {
    return json{{"segments", segments}, {"bytes", bytes}};
  };
  return {{"job", to_json(outcome.job)},
          {"epoch", outcome.epoch.value},
          {"moved_chunks", outcome.moved_chunks},
          {"moved_bytes", outcome.moved_bytes},
          {"renewed_recovery_points", outcome.reencrypted_points},
          {"removed", share(outcome.removed_segments, outcome.removed_bytes)},
          {"waiting", share(outcome.waiting_segments, outcome.waiting_bytes)},
          {"left", share(outcome.left_segments, outcome.left_bytes)},
          {"damaged_records", outcome.damaged_records},
          {"damage", outcome.damage}};
}

}  // namespace

Result<json> reencrypt(const RequestContext& context, const json& arguments, std::vector<FileDescriptor>& /*files*/) {
  ReencryptRequest request;
  VAULTFS_ASSIGN_OR_RETURN(request.bytes_per_second, rate_argument(arguments));
  VAULTFS_ASSIGN_OR_RETURN(request.without_grace, flag_argument(arguments, "without_grace"));
  VAULTFS_ASSIGN_OR_RETURN(const bool new_epoch, flag_argument(arguments, "new_epoch"));
  if (new_epoch) VAULTFS_RETURN_IF_ERROR(context.engine.vault().custody().new_epoch());
  VAULTFS_ASSIGN_OR_RETURN(const ReencryptOutcome outcome, context.engine.reencrypt(request, context.progress));
  return to_json(outcome);
}

Result<json> encryption_show(const RequestContext& context, const json& /*arguments*/,
                             std::vector<FileDescriptor>& /*files*/) {
  Vault& vault = context.engine.vault();
  const EncryptionStatus status = encryption_status(vault);
  json form = to_json(status);
  json epochs = json::array();
  std::vector<EpochUse> uses = vault.segments().epochs();
  const auto has_current = [&](const EpochUse& use) { return use.epoch == status.current_epoch; };
  if (std::ranges::none_of(uses, has_current)) uses.push_back({status.current_epoch, 0, 0});
  for (const EpochUse& use : uses) {
    // Whoever had one of these versions at the time could read it.
    json versions = json::array();
    for (const VersionRecord& version : status.versions) {
      const bool read =
          version.first_epoch <= use.epoch && (version.last_epoch.value == 0 || use.epoch <= version.last_epoch);
      if (read) versions.push_back(version.version);
    }
    epochs.push_back({{"epoch", use.epoch.value == 0 ? json(nullptr) : json(use.epoch.value)},
                      {"segments", use.segments},
                      {"bytes", use.stored_bytes},
                      {"versions", versions}});
  }
  form["epochs"] = std::move(epochs);
  return form;
}

}  // namespace vaultfs
