#include <filesystem>
#include <optional>
#include <set>
#include <utility>

#include "base/thread/stop_request.h"
#include "fs/engine/vault_engine.h"
#include "tools/api/request_handler.h"
#include "tools/control/control_client.h"
#include "tools/control/request_target.h"
#include "tools/vaultctl/attempts.h"
#include "tools/vaultctl/command_context.h"
#include "tools/vaultctl/progress_line.h"
#include "tools/vaultctl/text_output.h"
#include "vaultmeta/machine/vault_place.h"
#include "vaultmeta/vault/opening.h"

namespace vaultfs {
namespace {

// The machine's key vaults, spoken to as one identity whatever the vault's own is.
class SpeaksAs final : public KeyVaultResolver {
 public:
  SpeaksAs(KeyVaultResolver& machine, std::string identity) : machine_(machine), identity_(std::move(identity)) {}
  Result<std::shared_ptr<KeyVault>> open(const std::string& key_vault, const VaultIdentity& as) override {
    return machine_.open(key_vault, {as.vault, identity_});
  }
  Result<Located> locate(const std::string& version, const VaultIdentity& as, Reach reach) override {
    return machine_.locate(version, {as.vault, identity_}, reach);
  }
  Status check_identity(const VaultIdentity& as) override { return machine_.check_identity(as); }

 private:
  KeyVaultResolver& machine_;
  const std::string identity_;
};

// The identity that is to take the place of one that was taken away, if that is what was asked for: with the old one
// the vault can't even be opened.
std::string replacing_identity(const VaultRequest& request, const Error& failure) {
  const bool taken_away = failure.code == ErrorCode::IdentityNotFound || failure.code == ErrorCode::IdentityDisabled ||
                          failure.code == ErrorCode::KeyRevoked;
  if (request.verb != "encryption.set" || !taken_away) return "";
  return request.arguments.value("identity", "");
}

// Whatever the command was, its owner's note of the vault's fingerprint is out of date now.
void tell_new_fingerprint(const nlohmann::json& form) {
  if (!form.is_object() || !form.value("fingerprint_changed", false)) return;
  tell(
      "vaultctl: note: the vault has a new data key. Its fingerprint is now (write it down, "
      "it replaces the one you have kept):\n  %s\n",
      form.value("fingerprint", "").c_str());
}

// The vault at the path, for its owner to compare. A vault that is new where this machine knows others is refused here:
// its owner may have opened it while it still was elsewhere.
Result<nlohmann::json> target_of(CommandContext& context, const VaultRequest& request,
                                 const std::filesystem::path& vault) {
  VaultDirectory directory(posix_env(), vault);
  VAULTFS_RETURN_IF_ERROR(directory.open());
  VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
  Digest digest;
  const auto header = read_vault_header(directory, digest);
  if (header.ok() && !request.allow_unverified) {
    VAULTFS_RETURN_IF_ERROR(check_vault_is_known_there(machine->state(), directory, header->id));
  }
  return request_target(directory);
}

// Opens the vault in this process, does the work, closes it.
Result<nlohmann::json> run_here(CommandContext& context, const std::filesystem::path& vault, VaultRequest& request,
                                VerbAccess access, ProgressLine& line,
                                std::optional<std::set<std::uint64_t>>& damaged_segments, bool& opened_vault) {
  VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
  VaultEngine::Options options;
  options.vault.path = vault;
  options.vault.read_only = access == VerbAccess::reads;
  options.vault.points_suffice = options.vault.read_only;
  options.vault.allow_unverified = request.allow_unverified;
  if (!request.fingerprint.empty()) {
    VAULTFS_ASSIGN_OR_RETURN(options.vault.fingerprint, parse_fingerprint(request.fingerprint));
  }
  options.vault.lock_wait_seconds = context.wait_seconds;
  options.vault.compression = request.compression.value_or(options.vault.compression);
  options.background = false;
  std::optional<SpeaksAs> replacing;
  auto opened = VaultEngine::open(machine->for_vault(), options);
  if (!opened.ok()) {
    const std::string identity = replacing_identity(request, opened.error());
    if (identity.empty()) return std::move(opened).error();
    replacing.emplace(machine->resolver(), identity);
    opened = VaultEngine::open({machine->env(), machine->state(), machine->platform_keys(), *replacing}, options);
  }
  VAULTFS_ASSIGN_OR_RETURN(const auto engine, std::move(opened));
  opened_vault = true;
  const UnixNanos started = engine->vault().env().clock().now();
  for (const std::string& note : engine->vault().opening_notes())
    if (!request.quiet) tell("vaultctl: note: %s\n", note.c_str());
  const RequestContext handler_context{*engine, *machine, ::getuid(), {}, 0, [&line](const Progress& now) {
                                         line.update(now.done_bytes, now.total_bytes);
                                         return !stop_requested();
                                       }};
  auto result = handle_request(handler_context, request.verb, request.arguments, request.descriptors);
  if (engine->vault().read_only()) {
    if (request.verb == "restore") {
      keep_restore(engine->vault(), request.arguments, started, result);
      for (const std::string& warning : engine->vault().take_warnings())
        tell("vaultctl: warning: %s\n", warning.c_str());
    }
    damaged_segments.emplace();
    for (const DamagedChunk& chunk : engine->vault().segments().take_damage()) {
      damaged_segments->insert(chunk.segment.value);
    }
  }
  const Status closed = engine->close();
  if (SpaceReserve* reserve = engine->vault().space_reserve(); reserve != nullptr && !engine->vault().read_only()) {
    for (const std::string& news : reserve->take_news()) tell("vaultctl: warning: %s\n", news.c_str());
  }
  if (result.ok() && !closed.ok()) return closed.error();
  return result;
}

// A restore that met damage is told of it once more by the next backup, which has the content.
void remember_what_restore_met(CommandContext& context, const std::string& vault,
                               const std::set<std::uint64_t>& segments) {
  const auto remembered = remember_damage(context, vault, segments);
  if (remembered.ok()) {
    tell(
        "vaultctl: note: the damage is remembered (%s chunks): a backup of the same content "
        "heals it; see: vaultctl verify\n",
        (*remembered)["known_damage"].dump().c_str());
    return;
  }
  tell("vaultctl: note: the damage is not remembered: %s: %s\n", std::string(error_name(remembered.code())).c_str(),
       remembered.error().message.c_str());
}

// `told_vault`: the vault has been asked, and whatever came of it, it knows.
Result<nlohmann::json> request_of(CommandContext& context, const std::filesystem::path& vault, VaultRequest& request,
                                  bool& told_vault) {
  VAULTFS_ASSIGN_OR_RETURN(const VerbAccess access, verb_access(request.verb));
  VAULTFS_ASSIGN_OR_RETURN(const auto owner, connect_to_owner(vault));
  ProgressLine line;
  if (!owner) {
    std::optional<std::set<std::uint64_t>> damaged_segments;  // of a vault that could be opened
    auto form = run_here(context, vault, request, access, line, damaged_segments, told_vault);
    if (form.ok()) tell_new_fingerprint(*form);
    const bool met_damage =
        request.verb == "restore" && damaged_segments && !form.ok() && is_integrity_error(form.code());
    if (met_damage) remember_what_restore_met(context, request.vault, *damaged_segments);
    return form;
  }
  VAULTFS_ASSIGN_OR_RETURN(const nlohmann::json target, target_of(context, request, vault));
  if (request.compression_is_wanted) {
    tell("vaultctl: note: the vault is mounted, so the mount's option compression= counts\n");
  }
  std::vector<int> descriptors;
  for (const FileDescriptor& descriptor : request.descriptors) descriptors.push_back(descriptor.get());
  const auto draw = [&line](const nlohmann::json& progress) {
    line.update(progress.value("done_bytes", std::uint64_t{0}), progress.value("total_bytes", std::uint64_t{0}));
  };
  auto form = ask_owner(*owner, request.verb, request.arguments, descriptors, draw, target);
  // The owner refuses what is meant for another vault before it looks at it.
  told_vault = form.ok() || form.code() != ErrorCode::AnotherVault;
  if (form.ok()) tell_new_fingerprint(*form);
  return form;
}

}  // namespace

Result<Machine*> CommandContext::machine() {
  if (!machine_) {
    machine_options.prompt = true;
    VAULTFS_ASSIGN_OR_RETURN(machine_, Machine::open(machine_options));
  }
  return machine_.get();
}

Result<nlohmann::json> request(CommandContext& context, VaultRequest request) {
  const std::filesystem::path vault = std::filesystem::absolute(request.vault).lexically_normal();
  bool told_vault = false;
  auto form = request_of(context, vault, request, told_vault);
  const std::string operation = attempted_operation(request.verb);
  if (form.ok() || told_vault || operation.empty()) return form;
  if (const auto machine = context.machine(); machine.ok()) {
    keep_unopened_attempt(**machine, vault, operation, form.error());
  }
  return form;
}

Result<nlohmann::json> remember_damage(CommandContext& context, const std::string& vault,
                                       const nlohmann::json& segments) {
  VaultRequest wanted{vault, "damage.examine"};
  wanted.arguments = {{"segments", segments}};
  wanted.quiet = true;
  return request(context, std::move(wanted));
}

void print(const CommandContext& context, const nlohmann::json& form, const std::function<void()>& text) {
  if (context.json) {
    print_json(form);
  } else {
    text();
  }
}

void on_run(CLI::App& command, CommandContext& context, std::function<Result<int>()> body) {
  command.callback([&context, body = std::move(body)] { context.run = body; });
}

}  // namespace vaultfs
