#include "tools/api/request_handler.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/thread/mutex.h"
#include "fs/tree/content.h"
#include "tools/api/backup_requests.h"
#include "tools/api/json_forms.h"
#include "tools/api/key_exports.h"
#include "tools/api/key_requests.h"
#include "tools/api/key_usage_json.h"
#include "vaultmeta/layout/space_reserve.h"
#include "vaultmeta/vault/encryption_status.h"
#include "vaultmeta/vault/registration.h"

namespace vaultfs {
namespace {

using nlohmann::json;
using Handler = Result<json> (*)(const RequestContext&, const json&, std::vector<FileDescriptor>&);

json reserve_to_json(Vault& vault) {
  SpaceReserve* reserve = vault.space_reserve();
  if (reserve == nullptr) return nullptr;
  const SpaceReserve::State state = reserve->state();
  return json{{"bytes", state.bytes}, {"files", state.files}, {"whole", state.whole}, {"spent", reserve->spent()}};
}

json own_path(const std::filesystem::path& path) { return path.empty() ? json(nullptr) : json(path.string()); }

Result<json> vault_show(const RequestContext& context, const json& /*arguments*/,
                        std::vector<FileDescriptor>& /*files*/) {
  Vault& vault = context.engine.vault();
  const VaultHeader& header = vault.header();
  json items = json::array();
  const std::vector<std::string> present = context.engine.tree().item_names();
  for (const ItemInfo& item : vault.catalogue().items()) {
    const std::vector<PointInfo> points = vault.catalogue().points_of(item.name);
    // One of which nothing came, or nothing is left, is none.
    const bool is_there = std::ranges::find(present, item.name) != present.end();
    if (!is_there && points.empty()) continue;
    items.push_back({{"name", item.name},
                     {"first_seen", time_to_json(item.first_seen)},
                     {"interrupted", item.interrupted},
                     {"recovery_points", points.size()},
                     {"unproven_recovery_points",
                      std::count_if(points.begin(), points.end(), [](const PointInfo& one) { return one.unproven; })}});
  }
  const EncryptionStatus status = encryption_status(vault);
  const WorkingTree::Statistics statistics = context.engine.tree().statistics();
  return json{{"id", to_hex(header.id.view())},
              {"path", vault.path().string()},
              {"created", time_to_json(header.created)},
              {"region", header.region},
              {"root_fingerprint", format_fingerprint(header.root_fingerprint)},
              {"fingerprint", format_fingerprint(status.fingerprint)},
              {"epoch", status.fingerprint.epoch.value},
              {"mounted_on", own_path(context.mount_point)},
              {"read_only", vault.read_only()},
              {"stored_bytes", vault.segments().stored_bytes()},
              {"chunks", vault.segments().chunk_count()},
              {"damaged_chunks", vault.catalogue().damage_count()},
              {"files", statistics.files},
              {"logical_bytes", statistics.logical_bytes},
              {"dirty_bytes", statistics.dirty_bytes},
              {"set_aside_bytes", statistics.set_aside_bytes},
              {"reserve", reserve_to_json(vault)},
              {"items", items},
              {"encryption", to_json(status)},
              {"key_export", key_export_to_json(context.machine, status)},
              {"notes", vault.opening_notes()}};
}

Result<json> encryption_refresh(const RequestContext& context, const json& /*arguments*/,
                                std::vector<FileDescriptor>& /*files*/) {
  VAULTFS_ASSIGN_OR_RETURN(const RefreshOutcome outcome, context.engine.refresh());
  json form = to_json(encryption_status(context.engine.vault()));
  form["version_changed"] = outcome.version_changed;
  form["retired_versions"] = outcome.retired;
  return form;
}

Result<json> encryption_set(const RequestContext& context, const json& arguments,
                            std::vector<FileDescriptor>& /*files*/) {
  VAULTFS_ASSIGN_OR_RETURN(const std::string text, optional_text_argument(arguments, "key"));
  VAULTFS_ASSIGN_OR_RETURN(const std::string identity, optional_text_argument(arguments, "identity"));
  if (!text.empty() && !identity.empty()) {
    return Error{ErrorCode::IdentityAndKeyChange,
                 "identity and key never change in one request: change one, see that it works, then the other"};
  }
  if (text.empty() && identity.empty()) return Error{ErrorCode::Usage, "give --key KEYREF or --identity NAME"};
  Vault& vault = context.engine.vault();
  // The custody keeps the registration in step with the keys; here only that there is one.
  VAULTFS_RETURN_IF_ERROR(ensure_registered(context.machine.state(), vault.directory(), vault.place(),
                                            vault.header().id, vault.custody().status()));
  if (!identity.empty()) {
    VAULTFS_RETURN_IF_ERROR(vault.custody().set_identity(identity));
    return to_json(encryption_status(vault));
  }
  VAULTFS_ASSIGN_OR_RETURN(const KeyRef key, KeyRef::parse(text));
  VAULTFS_RETURN_IF_ERROR(vault.custody().set_key(key));
  return to_json(encryption_status(vault));
}

Result<json> key_usage(const RequestContext& context, const json& /*arguments*/, std::vector<FileDescriptor>& /*files*/) {
  return to_json(key_usage_of(context.engine.vault()));
}

Result<json> recovery_point_list(const RequestContext& context, const json& arguments,
                                 std::vector<FileDescriptor>& /*files*/) {
  VAULTFS_ASSIGN_OR_RETURN(const std::string item, optional_text_argument(arguments, "item"));
  Catalogue& catalogue = context.engine.vault().catalogue();
  if (!item.empty() && !catalogue.item(item)) {
    return Error{ErrorCode::ItemNotFound, "the vault has no item \"" + item + "\"; see: vaultctl vault show"};
  }
  json points = json::array();
  for (const PointInfo& point : item.empty() ? catalogue.points() : catalogue.points_of(item))
    points.push_back(to_json(point));
  return json{{"recovery_points", points}};
}

Result<json> verify(const RequestContext& context, const json& arguments, std::vector<FileDescriptor>& /*files*/) {
  VAULTFS_ASSIGN_OR_RETURN(const bool keyless, flag_argument(arguments, "keyless"));
  Vault& vault = context.engine.vault();
  // A segment that is compacted away between the look and the read would pass for damage.
  const ReaderLock references(vault.segments().long_uses());
  const std::uint64_t total = vault.segments().stored_bytes();
  WorkingTree& tree = context.engine.tree();
  VAULTFS_ASSIGN_OR_RETURN(
      const VerifyReport report,
      verify_vault(
          vault.env(), vault.path(), keyless ? nullptr : &vault,
          [&](const VerifyCounts& counts) {
            return context.progress({counts.bytes, std::max(total, counts.bytes)});
          },
          [&tree](const ContentLook& look, const LossTeller& tell) { return look_through_tree(tree, look, tell); }));
  json form = to_json(report);
  if (keyless) return form;
  const bool of_interest = !report.damage.empty() || !report.notes.empty() || vault.catalogue().damage_count() > 0;
  form["known_damage"] = vault.catalogue().damage_count();
  if (vault.read_only() || !of_interest) return form;
  const auto examined = vault.examine_damage(report.damaged_segments);
  if (examined.ok()) {
    add_to_verify(to_json(*examined), form);
  } else {
    form["not_remembered"] = error_to_json_form(examined.error());
  }
  return form;
}

// The owner looks for itself at what somebody else found damaged.
Result<json> damage_examine(const RequestContext& context, const json& arguments,
                            std::vector<FileDescriptor>& /*files*/) {
  const auto list = arguments.find("segments");
  if (list == arguments.end() || !list->is_array()) return Error{ErrorCode::Usage, "name the segments in a list"};
  std::set<ContainerNumber> segments;
  for (const json& number : *list) {
    if (!number.is_number_unsigned()) return Error{ErrorCode::Usage, "a segment is named by its number"};
    segments.insert(ContainerNumber(number.get<std::uint64_t>()));
  }
  Vault& vault = context.engine.vault();
  const ReaderLock references(vault.segments().long_uses());
  VAULTFS_ASSIGN_OR_RETURN(const ExaminedDamage examined, vault.examine_damage(segments));
  return to_json(examined);
}

// With what a reader finds that this machine keeps for the next owner.
std::vector<JobInfo> jobs_of(Vault& vault) {
  std::vector<JobInfo> jobs = vault.catalogue().jobs();
  if (!vault.read_only()) return jobs;
  for (JobInfo& kept : vault.kept_jobs()) jobs.push_back(std::move(kept));
  return jobs;
}

Result<json> job_list(const RequestContext& context, const json& /*arguments*/,
                      std::vector<FileDescriptor>& /*files*/) {
  json jobs = json::array();
  for (const JobInfo& job : jobs_of(context.engine.vault())) jobs.push_back(to_json(job));
  return json{{"jobs", jobs}};
}

Result<json> job_show(const RequestContext& context, const json& arguments, std::vector<FileDescriptor>& /*files*/) {
  const auto number = arguments.find("job");
  if (number == arguments.end() || !number->is_number_unsigned())
    return Error{ErrorCode::Usage, "name a job by its number"};
  const std::vector<JobInfo> jobs = jobs_of(context.engine.vault());
  const auto job = std::ranges::find(jobs, JobNumber(number->get<std::uint64_t>()), &JobInfo::number);
  if (job == jobs.end()) return Error{ErrorCode::JobNotFound, "no job " + number->dump() + "; see: vaultctl job list"};
  return to_json(*job);
}

// As the next owner will record them.
void add_kept(Vault& vault, const std::vector<ActivityEntry>& entries, json& list) {
  std::uint64_t number = entries.empty() ? 0 : entries.back().number;
  for (const JobInfo& job : vault.kept_jobs()) {
    const char* kind = job.kind == JobKind::backup ? "backup" : job.kind == JobKind::restore ? "restore" : "reencrypt";
    const bool cancelled = job.state == JobState::cancelled;
    const bool failed = job.state == JobState::failed;
    ActivityEntry entry;
    entry.number = ++number;
    entry.time = job.ended;
    entry.operation = std::string(kind) + (cancelled ? ".cancel" : failed ? ".fail" : ".complete");
    entry.outcome = cancelled ? "Cancelled" : failed ? "Failed" : "Succeeded";
    entry.subject = job.item;
    entry.detail = "job " + std::to_string(job.number.value) + ": " + job.detail;
    list.push_back(to_json(entry));
  }
}

Result<json> activity(const RequestContext& context, const json& /*arguments*/,
                      std::vector<FileDescriptor>& /*files*/) {
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<ActivityEntry> entries, context.engine.vault().activity().entries());
  json list = json::array();
  for (const ActivityEntry& entry : entries) list.push_back(to_json(entry));
  if (context.engine.vault().read_only()) add_kept(context.engine.vault(), entries, list);
  return json{{"activities", list}};
}

Result<json> activity_verify(const RequestContext& context, const json& /*arguments*/,
                             std::vector<FileDescriptor>& /*files*/) {
  VAULTFS_ASSIGN_OR_RETURN(const ActivityReport report, context.engine.vault().activity().verify());
  return to_json(report);
}

// Records what somebody asked for with the outcome: refusals of key operations above all.
Result<json> activity_record(const RequestContext& context, const json& arguments,
                             std::vector<FileDescriptor>& /*files*/) {
  ActivityEntry entry;
  VAULTFS_ASSIGN_OR_RETURN(entry.operation, text_argument(arguments, "operation"));
  VAULTFS_ASSIGN_OR_RETURN(entry.outcome, text_argument(arguments, "outcome"));
  VAULTFS_ASSIGN_OR_RETURN(entry.subject, optional_text_argument(arguments, "subject"));
  VAULTFS_ASSIGN_OR_RETURN(entry.detail, optional_text_argument(arguments, "detail"));
  entry.uid = context.uid;
  VAULTFS_RETURN_IF_ERROR(context.engine.vault().activity().append(entry));
  return json::object();
}

struct VerbEntry {
  VerbAccess access;
  Handler handler;
};

const std::map<std::string, VerbEntry>& verb_table() {
  static const std::map<std::string, VerbEntry> table{
      {"vault.show", {VerbAccess::reads, vault_show}},
      {"encryption.show", {VerbAccess::reads, encryption_show}},
      {"encryption.refresh", {VerbAccess::changes, encryption_refresh}},
      {"encryption.set", {VerbAccess::changes, encryption_set}},
      {"key.usage", {VerbAccess::reads, key_usage}},
      {"encryption.set-limits", {VerbAccess::changes, encryption_set_limits}},
      {"encryption.set-escrow", {VerbAccess::changes, encryption_set_escrow}},
      {"key.rewrap", {VerbAccess::changes, key_rewrap}},
      {"key.new-epoch", {VerbAccess::changes, key_new_epoch}},
      {"key.drill", {VerbAccess::reads, key_drill}},
      {"reencrypt", {VerbAccess::changes, reencrypt}},
      {"backup.run", {VerbAccess::changes, backup_run}},
      {"backup.commit", {VerbAccess::changes, backup_commit}},
      {"recovery-point.list", {VerbAccess::reads, recovery_point_list}},
      {"restore", {VerbAccess::reads, restore_point}},
      {"verify", {VerbAccess::reads, verify}},
      {"damage.examine", {VerbAccess::changes, damage_examine}},
      {"job.list", {VerbAccess::reads, job_list}},
      {"job.show", {VerbAccess::reads, job_show}},
      {"activity", {VerbAccess::reads, activity}},
      {"activity.verify", {VerbAccess::reads, activity_verify}},
      {"activity.record", {VerbAccess::changes, activity_record}},
  };
  return table;
}

}  // namespace

Result<VerbAccess> verb_access(const std::string& verb) {
  const auto found = verb_table().find(verb);
  if (found == verb_table().end()) return Error{ErrorCode::Usage, "unknown verb \"" + verb + "\""};
  return found->second.access;
}

Result<json> handle_request(const RequestContext& context, const std::string& verb, const json& arguments,
                            std::vector<FileDescriptor>& descriptors) {
  const auto found = verb_table().find(verb);
  if (found == verb_table().end()) return Error{ErrorCode::Usage, "unknown verb \"" + verb + "\""};
  if (found->second.access == VerbAccess::changes && context.engine.vault().read_only()) {
    return Error{ErrorCode::ReadOnly, "the vault is opened read-only"};
  }
  Vault& vault = context.engine.vault();
  // What a retirement in the opening for this command has changed is this command's to tell.
  const bool for_this_command = context.mount_point.empty();
  const EpochNumber before = for_this_command ? vault.epoch_at_opening() : vault.custody().status().current_epoch;
  auto form = found->second.handler(context, arguments, descriptors);
  if (form.ok() && found->second.access == VerbAccess::changes && verb != "activity.record") {
    const EncryptionStatus status = vault.custody().status();
    (*form)["fingerprint"] = format_fingerprint(status.fingerprint);
    (*form)["fingerprint_changed"] = status.current_epoch != before;
  }
  return form;
}

}  // namespace vaultfs
