#include "tools/api/answer_json.h"

#include <utility>

#include "tools/api/json_forms.h"

namespace vaultfs {
namespace {

using nlohmann::json;

json item_to_json(const ItemOverview& overview) {
  return {{"name", overview.item.name},
          {"first_seen", time_to_json(overview.item.first_seen)},
          {"interrupted", overview.item.interrupted},
          {"recovery_points", overview.points},
          {"unproven_recovery_points", overview.unproven_points}};
}

json reserve_to_json(const std::optional<ReserveOverview>& reserve) {
  if (!reserve) return nullptr;
  return {{"bytes", reserve->bytes}, {"files", reserve->files}, {"whole", reserve->whole}, {"spent", reserve->spent}};
}

json own_path(const std::filesystem::path& path) { return path.empty() ? json(nullptr) : json(path.string()); }

void add_key(const KeyOfBackup& key, json& form) {
  form["key_expiry"] = expiry_to_json(key.expiry);
  form["key_update_problem"] = key.update_problem ? json(*key.update_problem) : json(nullptr);
}

}  // namespace

json to_json(const VaultOverview& overview) {
  json items = json::array();
  for (const ItemOverview& item : overview.items) items.push_back(item_to_json(item));
  const VaultHeader& header = overview.header;
  const EncryptionStatus& status = overview.encryption;
  return {{"id", to_hex(header.id.view())},
          {"path", overview.path.string()},
          {"created", time_to_json(header.created)},
          {"region", header.region},
          {"root_fingerprint", format_fingerprint(header.root_fingerprint)},
          {"fingerprint", format_fingerprint(status.fingerprint)},
          {"epoch", status.fingerprint.epoch.value},
          {"mounted_on", own_path(overview.mounted_on)},
          {"read_only", overview.read_only},
          {"stored_bytes", overview.stored_bytes},
          {"chunks", overview.chunks},
          {"damaged_chunks", overview.damaged_chunks},
          {"files", overview.tree.files},
          {"logical_bytes", overview.tree.logical_bytes},
          {"dirty_bytes", overview.tree.dirty_bytes},
          {"set_aside_bytes", overview.tree.set_aside_bytes},
          {"reserve", reserve_to_json(overview.reserve)},
          {"items", std::move(items)},
          {"encryption", to_json(status)},
          {"key_export", vault_export_to_json(overview.key_exports)},
          {"notes", overview.notes}};
}

json to_json(const EncryptionOverview& overview) {
  json form = to_json(overview.status);
  json epochs = json::array();
  for (const EpochOverview& one : overview.epochs) {
    const EpochUse& use = one.use;
    epochs.push_back({{"epoch", use.epoch.value == 0 ? json(nullptr) : json(use.epoch.value)},
                      {"segments", use.segments},
                      {"bytes", use.stored_bytes},
                      {"versions", one.versions}});
  }
  form["epochs"] = std::move(epochs);
  return form;
}

json to_json(const RefreshAnswer& answer) {
  json form = to_json(answer.status);
  form["version_changed"] = answer.outcome.version_changed;
  form["retired_versions"] = answer.outcome.retired;
  return form;
}

json to_json(const VerifyAnswer& answer) {
  json form = to_json(answer.report);
  if (answer.known_damage) form["known_damage"] = *answer.known_damage;
  if (answer.examined) add_to_verify(to_json(*answer.examined), form);
  if (answer.not_remembered) form["not_remembered"] = error_to_json_form(*answer.not_remembered);
  return form;
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

json to_json(const BackupAnswer& answer) {
  json form = to_json(answer.outcome);
  add_key(answer.key, form);
  return form;
}

json to_json(const CommitAnswer& answer) {
  json form = to_json(answer.outcome);
  add_key(answer.key, form);
  return form;
}

}  // namespace vaultfs
