// How the commands ask the vaults of this machine, and what they print of it.

#include "tools/api/key_usage_json.h"
#include "tools/vaultctl/command_context.h"
#include "tools/vaultctl/text_output.h"

namespace vaultfs {
namespace {

class CommandContact final : public VaultContact {
 public:
  explicit CommandContact(CommandContext& context) : context_(context) {}
  Result<KeyUsage> key_usage(const std::filesystem::path& vault) override {
    VAULTFS_ASSIGN_OR_RETURN(const nlohmann::json form, request(context_, {vault.string(), "key.usage"}));
    return key_usage_from_json(form);
  }
  Status record(const std::filesystem::path& vault, const ActivityEntry& entry) override {
    VaultRequest wanted{vault.string(), "activity.record"};
    wanted.arguments = {{"operation", entry.operation},
                        {"outcome", entry.outcome},
                        {"subject", entry.subject},
                        {"detail", entry.detail}};
    VAULTFS_RETURN_IF_ERROR(request(context_, std::move(wanted)));
    return ok_status();
  }

 private:
  CommandContext& context_;
};

void tell_notice(const Notice& notice) {
  const std::string name(error_name(notice.error.code));
  switch (notice.kind) {
    case Notice::Kind::not_in_activity_log:
      tell("vaultctl: note: not in the activity log of %s: %s\n", notice.subject.c_str(), notice.error.message.c_str());
      return;
    case Notice::Kind::not_in_audit_log:
      tell("vaultctl: warning: done, but not in the machine's audit log (%s): %s: %s\n", notice.subject.c_str(),
           name.c_str(), notice.error.message.c_str());
      return;
    case Notice::Kind::refusal_not_in_audit_log:
      tell("vaultctl: warning: the refusal is not in the machine's audit log: %s: %s\n", name.c_str(),
           notice.error.message.c_str());
      return;
  }
}

}  // namespace

Result<MachineContext> CommandContext::machine_context() {
  VAULTFS_ASSIGN_OR_RETURN(Machine * opened, machine());
  if (!vaults_) vaults_ = std::make_unique<CommandContact>(*this);
  return MachineContext{*opened, *vaults_, tell_notice};
}

}  // namespace vaultfs
