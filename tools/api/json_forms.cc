#include "tools/api/json_forms.h"

#include "base/rfc3339.h"

namespace vaultfs {

using nlohmann::json;

json time_to_json(UnixNanos time) {
  if (time.value == 0) return nullptr;
  return seconds_to_json(time.seconds());
}

json seconds_to_json(std::int64_t unix_seconds) {
  const auto text = to_rfc3339(unix_seconds);
  return text ? json(*text) : json();
}

namespace {

const char* job_state_name(JobState state) {
  switch (state) {
    case JobState::in_progress:
      return "InProgress";
    case JobState::completed:
      return "Completed";
    case JobState::completed_no_change:
      return "CompletedNoChange";
    case JobState::completed_with_warnings:
      return "CompletedWithWarnings";
    case JobState::failed:
      return "Failed";
    case JobState::cancelled:
      return "Cancelled";
    case JobState::interrupted:
      return "Interrupted";
  }
  return "Unknown";
}

const char* job_kind_name(JobKind kind) {
  switch (kind) {
    case JobKind::backup:
      return "Backup";
    case JobKind::key_update:
      return "KeyUpdate";
    case JobKind::restore:
      return "Restore";
    case JobKind::reencryption:
      return "Reencryption";
  }
  return "Unknown";
}

const char* role_name(VersionRole role) {
  switch (role) {
    case VersionRole::active:
      return "Active";
    case VersionRole::retiring:
      return "Retiring";
    case VersionRole::retired:
      return "Retired";
  }
  return "Unknown";
}

const char* access_name(KeyAccess access) {
  switch (access) {
    case KeyAccess::available:
      return "Available";
    case KeyAccess::denied:
      return "Denied";
    case KeyAccess::unreachable:
      return "Unreachable";
    case KeyAccess::sealed:
      return "Sealed";
  }
  return "Unknown";
}

// Of the customer-managed key. Inconsistent: it is set, but what is set does not hold now: no access, an update that
// failed, a precondition that is not met any more.
const char* encryption_state(const EncryptionStatus& status) {
  if (!status.settings.customer_managed) return "Disabled";
  const bool holds = status.access == KeyAccess::available && !status.problem && status.unmet.empty() &&
                     !status.last_update_status.starts_with("Failed");
  return holds ? "Enabled" : "Inconsistent";
}

std::string key_uri(const EncryptionSettings& settings) {
  if (!settings.customer_managed) return "";
  KeyRef reference;
  reference.key_vault = settings.key_vault;
  reference.key = settings.key;
  reference.version = settings.pinned_version;
  return reference.to_string();
}

}  // namespace

json to_json(const JobInfo& job) {
  json form = {{"job", job.number.value},
               {"kind", job_kind_name(job.kind)},
               {"state", job_state_name(job.state)},
               {"item", job.item},
               {"started", time_to_json(job.started)},
               {"ended", time_to_json(job.ended)},
               {"logical_bytes", job.logical_bytes},
               {"stored_bytes", job.stored_bytes},
               {"detail", job.detail}};
  form["recovery_point_number"] = job.point.value == 0 ? json(nullptr) : json(job.point.value);
  return form;
}

json to_json(const PointInfo& point) {
  return {{"id", point.id()},
          {"item", point.item},
          {"created", time_to_json(point.created)},
          {"auto", point.automatic},
          {"after_interruption", point.after_interruption},
          {"consistency", point.crash_consistent ? "CrashConsistent" : "FileConsistent"},
          {"unproven", point.unproven},
          {"logical_bytes", point.logical_bytes},
          {"files", point.files}};
}

json to_json(const VersionRecord& version) {
  json form = {{"version", version.version},
               {"key", version.key_vault.empty() ? "platform-managed" : version.key_vault + "/" + version.key},
               {"role", role_name(version.role)},
               {"since", time_to_json(version.role_since)},
               {"took_effect", time_to_json(version.took_effect)},
               {"first_epoch", version.first_epoch.value},
               {"backup_completed", version.backup_completed},
               {"disabled_too_early", version.disabled_too_early},
               {"waiting_for", version.waiting_for},
               {"since_uncertain", version.since_uncertain}};
  form["since_generation"] = version.role_generation.value == 0 ? json(nullptr) : json(version.role_generation.value);
  form["last_epoch"] = version.last_epoch.value == 0 ? json(nullptr) : json(version.last_epoch.value);
  return form;
}

json expiry_to_json(const std::optional<KeyExpiry>& expiry) {
  if (!expiry) return nullptr;
  return {{"key", expiry->name.key_vault + "/" + expiry->name.key},
          {"version", expiry->name.version},
          {"expires", seconds_to_json(expiry->expires)},
          {"state", expiry->expired ? "Expired" : "ExpiresSoon"},
          {"message", expiry->message()}};
}

json to_json(const std::vector<KeyDrill>& drills) {
  json slots = json::array();
  json expiry = nullptr;
  for (const KeyDrill& drill : drills) {
    if (drill.expiry) expiry = expiry_to_json(drill.expiry);
    slots.push_back({{"role", drill.role == VersionRole::active ? "Active" : "Retiring"},
                     {"key", drill.key_vault.empty() ? "platform-managed" : drill.key_vault + "/" + drill.key},
                     {"version", drill.version},
                     {"opens", !drill.failure.has_value()},
                     {"problem", drill.failure ? error_to_json_form(*drill.failure) : json(nullptr)}});
  }
  return {{"slots", std::move(slots)}, {"key_expiry", std::move(expiry)}};
}

json escrowed_infrastructure_to_json(const EscrowStatus& escrow) {
  if (!escrow.has_infrastructure_key) return nullptr;
  return *escrow.has_infrastructure_key ? "Escrowed" : "NotEscrowed";
}

json to_json(const EncryptionStatus& status) {
  json versions = json::array();
  for (const VersionRecord& version : status.versions) versions.push_back(to_json(version));
  json form = {
      {"encryption_at_rest_type", status.settings.customer_managed ? "CustomerManaged" : "PlatformManaged"},
      {"key_uri", key_uri(status.settings)},
      {"follows_new_versions", status.settings.customer_managed && !status.settings.pinned_version.has_value()},
      {"identity", status.settings.identity},
      {"last_update_status", status.last_update_status},
      {"infrastructure_encryption_state", status.suite == Suite::aes_gcm_in_xchacha ? "Enabled" : "Disabled"},
      {"key_access", access_name(status.access)},
      {"refresh_minutes", status.settings.refresh_minutes},
      {"revocation_grace_seconds", status.settings.revocation_grace_seconds},
      {"outage_ttl_seconds", status.settings.outage_ttl_seconds},
      {"keyring_generation", status.keyring_generation.value},
      {"current_epoch", status.current_epoch.value},
      {"fingerprint", format_fingerprint(status.fingerprint)},
      {"versions", versions}};
  json unmet = json::array();
  for (const Error& error : status.unmet) unmet.push_back(error_to_json_form(error));
  form["unmet_preconditions"] = std::move(unmet);
  form["state"] = encryption_state(status);
  form["subscription_id"] = nullptr;  // of the source documents' property list; a machine has none
  form["escrow"] = nullptr;
  if (status.escrow) {
    form["escrow"] = {{"fingerprint", to_hex(status.escrow->fingerprint.view())},
                      {"since", time_to_json(status.escrow->since)},
                      {"infrastructure_key", escrowed_infrastructure_to_json(*status.escrow)}};
  }
  form["key_expiry"] = expiry_to_json(status.expiry);
  form["void_platform_key"] = nullptr;
  if (status.void_platform_key) form["void_platform_key"] = to_hex(status.void_platform_key->view());
  form["problem"] = nullptr;
  if (status.problem) form["problem"] = error_to_json_form(*status.problem);
  return form;
}

json to_json(const ActivityEntry& entry) {
  return {{"number", entry.number},   {"time", time_to_json(entry.time)}, {"operation", entry.operation},
          {"outcome", entry.outcome}, {"subject", entry.subject},         {"detail", entry.detail},
          {"uid", entry.uid}};
}

json to_json(const ActivityReport& report) {
  json damage = json::array();
  for (const ActivityDamage& one : report.damage) {
    damage.push_back({{"entry", one.entry},
                      {"file", one.file},
                      {"error", std::string(error_name(one.error.code))},
                      {"message", one.error.message}});
  }
  return {{"authenticated", report.authenticated},
          {"files", report.files},
          {"entries", report.entries},
          {"damage", damage}};
}

json to_json(const CommitOutcome& outcome) {
  json form = {{"job", to_json(outcome.job)}, {"retired_versions", outcome.retired}};
  form["recovery_point"] = outcome.point ? to_json(*outcome.point) : json(nullptr);
  form["healed_chunks"] = outcome.healed.chunks;
  form["healed_points"] = outcome.healed.points;
  return form;
}

json to_json(const BackupOutcome& outcome) {
  json form = to_json(outcome.commit);
  form["read_bytes"] = outcome.read_bytes;
  form["hole_bytes"] = outcome.hole_bytes;
  form["new_chunks"] = outcome.new_chunks;
  form["known_chunks"] = outcome.known_chunks;
  form["stored_bytes"] = outcome.stored_bytes;
  form["warnings"] = outcome.warnings;
  form["source_in_doubt"] = outcome.source_in_doubt;
  form["carried"] = outcome.carried;
  return form;
}

json to_json(const RestoreOutcome& outcome) {
  return {{"recovery_point", to_json(outcome.point)},   {"files", outcome.files},
          {"logical_bytes", outcome.logical_bytes},     {"written_bytes", outcome.written_bytes},
          {"lost_attributes", outcome.lost_attributes}, {"lost_owners", outcome.lost_owners},
          {"lost_modes", outcome.lost_modes},           {"lost_files", outcome.lost_files},
          {"split_links", outcome.split_links}};
}

namespace {

json damage_to_json(const Damage& found) {
  json form = {
      {"file", found.file}, {"error", std::string(error_name(found.error.code))}, {"message", found.error.message}};
  const bool located = found.bytes > 0;
  form["item"] = found.item.empty() ? json(nullptr) : json(found.item);
  form["recovery_point"] = found.point.empty() ? json(nullptr) : json(found.point);
  form["disk"] = located ? json(found.disk) : json(nullptr);
  form["offset"] = located ? json(found.offset) : json(nullptr);
  form["length"] = located ? json(found.bytes) : json(nullptr);
  return form;
}

}  // namespace

json to_json(const VerifyReport& report) {
  json damage = json::array();
  for (const Damage& found : report.damage) damage.push_back(damage_to_json(found));
  json notes = json::array();
  for (const Damage& found : report.notes) notes.push_back(damage_to_json(found));
  json segments = json::array();
  for (const ContainerNumber number : report.damaged_segments) segments.push_back(number.value);
  return {{"notes", notes},
          {"damaged_segments", segments},
          {"known_damage", 0},
          {"remembered", false},
          {"not_remembered", nullptr},
          {"healed_chunks", 0},
          {"healed_points", 0},
          {"authenticated", report.authenticated},
          {"files", report.counts.files},
          {"bytes", report.counts.bytes},
          {"records", report.counts.records},
          {"recovery_points", report.points_checked},
          {"damage", damage}};
}

json to_json(const ExaminedDamage& examined) {
  return {{"found", examined.found},
          {"known_damage", examined.known},
          {"healed_chunks", examined.healed.chunks},
          {"healed_points", examined.healed.points}};
}

void add_to_verify(const json& examined, json& form) {
  form["remembered"] = true;
  for (const char* member : {"known_damage", "healed_chunks", "healed_points"}) form[member] = examined[member];
}

json error_to_json_form(const Error& error) {
  return {{"name", std::string(error_name(error.code))}, {"message", error.message}};
}

Result<std::string> text_argument(const json& arguments, const std::string& name) {
  const auto found = arguments.find(name);
  if (found == arguments.end() || !found->is_string() || found->get_ref<const std::string&>().empty()) {
    return Error{ErrorCode::Usage, "\"" + name + "\" is empty or missing, and must be a text"};
  }
  return found->get<std::string>();
}

Result<std::string> optional_text_argument(const json& arguments, const std::string& name) {
  const auto found = arguments.find(name);
  if (found == arguments.end()) return std::string();
  if (!found->is_string()) return Error{ErrorCode::Usage, "\"" + name + "\" must be a text"};
  return found->get<std::string>();
}

Result<bool> flag_argument(const json& arguments, const std::string& name) {
  const auto found = arguments.find(name);
  if (found == arguments.end()) return false;
  if (!found->is_boolean()) return Error{ErrorCode::Usage, "\"" + name + "\" must be true or false"};
  return found->get<bool>();
}

}  // namespace vaultfs
