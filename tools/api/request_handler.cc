#include "tools/api/request_handler.h"

#include <map>
#include <set>

#include "tools/api/answer_json.h"
#include "tools/api/backup_requests.h"
#include "tools/api/damage_requests.h"
#include "tools/api/job_records.h"
#include "tools/api/json_forms.h"
#include "tools/api/key_requests.h"
#include "tools/api/key_usage_json.h"
#include "tools/api/vault_overview.h"
#include "vaultmeta/vault/encryption_status.h"
#include "vaultmeta/vault/registration.h"

namespace vaultfs {
namespace {

using nlohmann::json;
using Handler = Result<json> (*)(const RequestContext&, const json&, std::vector<FileDescriptor>&);

Result<json> vault_show(const RequestContext& context, const json& /*arguments*/,
                        std::vector<FileDescriptor>& /*files*/) {
  return to_json(vault_overview(context));
}

Result<json> encryption_refresh(const RequestContext& context, const json& /*arguments*/,
                                std::vector<FileDescriptor>& /*files*/) {
  VAULTFS_ASSIGN_OR_RETURN(const RefreshOutcome outcome, context.engine.refresh());
  return to_json(RefreshAnswer{encryption_status(context.engine.vault()), outcome});
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

Result<json> key_usage(const RequestContext& context, const json& /*arguments*/,
                       std::vector<FileDescriptor>& /*files*/) {
  return to_json(key_usage_of(context.engine.vault()));
}

Result<json> recovery_point_list(const RequestContext& context, const json& arguments,
                                 std::vector<FileDescriptor>& /*files*/) {
  VAULTFS_ASSIGN_OR_RETURN(const std::string item, optional_text_argument(arguments, "item"));
  Catalogue& catalogue = context.engine.vault().catalogue();
  if (!item.empty() && !catalogue.item(item)) {
    return Error{ErrorCode::ItemNotFound, "the vault has no item \"" + item + "\"; see: vaultctl vault show"};
  }
  return list_to_json("recovery_points", item.empty() ? catalogue.points() : catalogue.points_of(item));
}

Result<json> verify(const RequestContext& context, const json& arguments, std::vector<FileDescriptor>& /*files*/) {
  VAULTFS_ASSIGN_OR_RETURN(const bool keyless, flag_argument(arguments, "keyless"));
  VAULTFS_ASSIGN_OR_RETURN(const VerifyAnswer answer, verify_and_remember(context, keyless));
  return to_json(answer);
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
  VAULTFS_ASSIGN_OR_RETURN(const ExaminedDamage examined, examine_segments(context.engine.vault(), segments));
  return to_json(examined);
}

Result<json> job_list(const RequestContext& context, const json& /*arguments*/,
                      std::vector<FileDescriptor>& /*files*/) {
  return list_to_json("jobs", job_records(context.engine.vault()));
}

Result<json> job_show(const RequestContext& context, const json& arguments, std::vector<FileDescriptor>& /*files*/) {
  const auto number = arguments.find("job");
  if (number == arguments.end() || !number->is_number_unsigned())
    return Error{ErrorCode::Usage, "name a job by its number"};
  VAULTFS_ASSIGN_OR_RETURN(const JobInfo job,
                           job_record(context.engine.vault(), JobNumber(number->get<std::uint64_t>())));
  return to_json(job);
}

Result<json> activity(const RequestContext& context, const json& /*arguments*/,
                      std::vector<FileDescriptor>& /*files*/) {
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<ActivityEntry> entries, activity_records(context.engine.vault()));
  return list_to_json("activities", entries);
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
