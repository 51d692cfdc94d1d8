// vaultctl key create|rotate|list|enable|disable|impact|export|import|rewrap

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <memory>

#include "tools/cli/command_context.h"
#include "tools/cli/key_impact.h"
#include "tools/cli/key_import.h"
#include "tools/cli/text_output.h"
#include "tools/requests/json_forms.h"
#include "vaultmeta/vault.h"

namespace vaultfs {
namespace {

using nlohmann::json;

struct KeyArguments {
  std::string key, not_before, expires, file, passphrase_file, override_name, vault;
  int passphrase_fd = -1;
  unsigned bits = 0;
  bool drop_retiring = false, enable = false;
};

Result<std::unique_ptr<LocalKeyVault>> open_key_vault(CommandContext& context, const KeyRef& key) {
  VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
  auto opened = machine->key_vaults().open(key.key_vault);
  if (!opened.ok() && opened.code() == ErrorCode::KeyVaultUnavailable) {
    return Error{ErrorCode::KeyVaultNotFound, "this machine has no key vault " + key.key_vault +
                                                  "; make one with: vaultctl keyvault create " + key.key_vault};
  }
  return opened;
}

// "2027-01-31" or "2027-01-31T12:00:00Z" as Unix seconds.
Result<std::optional<std::int64_t>> parse_time(const std::string& text) {
  if (text.empty()) return std::optional<std::int64_t>();
  std::tm parts{};
  const char* end = ::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  if (end == nullptr || *end != '\0') {
    parts = {};
    end = ::strptime(text.c_str(), "%Y-%m-%d", &parts);
  }
  if (end == nullptr || *end != '\0')
    return Error{ErrorCode::Usage, "\"" + text + "\" is no time; write 2027-01-31 or 2027-01-31T12:00:00Z"};
  return std::optional<std::int64_t>(::timegm(&parts));
}

Result<KeyOptions> key_options(const KeyArguments& arguments) {
  KeyOptions options;
  if (arguments.bits != 0) options.bits = arguments.bits;
  VAULTFS_ASSIGN_OR_RETURN(options.not_before, parse_time(arguments.not_before));
  VAULTFS_ASSIGN_OR_RETURN(options.expires, parse_time(arguments.expires));
  return options;
}

json version_to_json(const KeyVersionInfo& version) {
  json form = {
      {"version", version.id},        {"state", version.enabled ? "Enabled" : "Disabled"},
      {"enabled", version.enabled},   {"created", time_to_json({version.created_unix_seconds * 1'000'000'000})},
      {"key_type", version.key_type}, {"bits", version.bits}};
  form["not_before"] = version.not_before ? time_to_json({*version.not_before * 1'000'000'000}) : json(nullptr);
  form["expires"] = version.expires ? time_to_json({*version.expires * 1'000'000'000}) : json(nullptr);
  return form;
}

Result<int> create(CommandContext& context, const KeyArguments& arguments) {
  VAULTFS_ASSIGN_OR_RETURN(const KeyRef key, KeyRef::parse(arguments.key));
  if (key.pinned())
    return Error{ErrorCode::InvalidKeyRef, "name the key without a version: " + key.key_vault + "/" + key.key};
  VAULTFS_ASSIGN_OR_RETURN(const auto options, key_options(arguments));
  VAULTFS_ASSIGN_OR_RETURN(const auto key_vault, open_key_vault(context, key));
  VAULTFS_ASSIGN_OR_RETURN(const KeyVersionInfo version, key_vault->create_key(key.key, options));
  print(context, version_to_json(version), [&] {
    std::printf("Created the key %s (RSA %u), version %s.\n", arguments.key.c_str(), version.bits, version.id.c_str());
  });
  return 0;
}

Result<int> rotate(CommandContext& context, const KeyArguments& arguments) {
  VAULTFS_ASSIGN_OR_RETURN(const KeyRef key, KeyRef::parse(arguments.key));
  if (key.pinned())
    return Error{ErrorCode::InvalidKeyRef, "name the key without a version: " + key.key_vault + "/" + key.key};
  VAULTFS_ASSIGN_OR_RETURN(const auto options, key_options(arguments));
  VAULTFS_ASSIGN_OR_RETURN(const auto key_vault, open_key_vault(context, key));
  VAULTFS_ASSIGN_OR_RETURN(const KeyVersionInfo version, key_vault->rotate_key(key.key, options, arguments.bits == 0));
  print(context, version_to_json(version), [&] {
    std::printf("New version of %s: %s.\n", arguments.key.c_str(), version.id.c_str());
    std::printf(
        "Vaults that follow this key take it up at their next refresh (at most an hour; now with: vaultctl encryption "
        "refresh VAULT).\n"
        "Keep the old version enabled until each vault has completed a backup under the new one: vaultctl key impact "
        "%s\n",
        arguments.key.c_str());
  });
  return 0;
}

Result<int> list(CommandContext& context, const KeyArguments& arguments) {
  VAULTFS_ASSIGN_OR_RETURN(const KeyRef key, KeyRef::parse(arguments.key));
  VAULTFS_ASSIGN_OR_RETURN(const auto key_vault, open_key_vault(context, key));
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<KeyVersionInfo> versions, key_vault->list_versions(key.key));
  json forms = json::array();
  for (const KeyVersionInfo& version : versions) {
    if (!key.version || version.id == *key.version) forms.push_back(version_to_json(version));
  }
  if (key.version && forms.empty()) {
    return Error{ErrorCode::KeyVersionNotFound, "no version " + *key.version + " of " + key.key_vault + "/" + key.key};
  }
  print(context, {{"versions", forms}}, [&] {
    std::vector<std::vector<std::string>> rows;
    for (const json& form : forms) {
      rows.push_back({plain(form["version"]), plain(form["state"]), plain(form["key_type"]) + " " + plain(form["bits"]),
                      plain(form["created"]), plain(form["not_before"]), plain(form["expires"])});
    }
    print_table({"VERSION", "STATE", "TYPE", "CREATED", "NOT BEFORE", "EXPIRES"}, rows);
  });
  return 0;
}

json impact_to_json(const std::vector<VaultImpact>& impacts, const std::string& version) {
  json vaults = json::array();
  for (const VaultImpact& impact : impacts) {
    json form = {{"vault", impact.vault},
                 {"path", impact.path},
                 {"reachable", impact.reachable},
                 {"recovery_points", impact.recovery_points},
                 {"versions", impact.versions}};
    if (!version.empty()) {
      form["role"] = impact.role_of(version);
      form["needs_version"] = impact.needs(version);
    }
    if (!impact.reachable) form["problem"] = error_to_json_form(impact.problem);
    vaults.push_back(std::move(form));
  }
  return vaults;
}

Result<int> impact(CommandContext& context, const KeyArguments& arguments) {
  VAULTFS_ASSIGN_OR_RETURN(const KeyRef key, KeyRef::parse(arguments.key));
  VAULTFS_ASSIGN_OR_RETURN(const auto key_vault, open_key_vault(context, key));
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<KeyVersionInfo> versions, key_vault->list_versions(key.key));
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<VaultImpact> impacts, find_impact(context, key));
  print(context, {{"vaults", impact_to_json(impacts, key.version.value_or(""))}}, [&] {
    if (impacts.empty()) std::printf("No vault of this machine uses %s/%s.\n", key.key_vault.c_str(), key.key.c_str());
    std::vector<std::vector<std::string>> rows;
    for (const VaultImpact& found : impacts) {
      for (const KeyVersionInfo& version : versions) {
        if (key.version && version.id != *key.version) continue;
        const std::string role = found.role_of(version.id);
        if (role == "not used" && !key.version) continue;
        rows.push_back({found.path, version.id, role,
                        found.reachable ? std::to_string(found.recovery_points) : "unknown",
                        found.needs(version.id) ? "must stay enabled"
                                                : "may be disabled (older copies of the vault still need it)"});
      }
    }
    if (!rows.empty()) print_table({"VAULT", "VERSION", "ROLE", "POINTS", "SO IT"}, rows);
  });
  return 0;
}

// Writes the outcome of a decision about a version into the activity log of each vault it concerns. A vault that can't
// be asked is left out: the machine's audit log has the record too.
void record_decision(CommandContext& context, const std::vector<VaultImpact>& impacts, const std::string& version,
                     const std::string& operation, const std::string& outcome, const std::string& detail) {
  for (const VaultImpact& impact : impacts) {
    if (!impact.reachable) continue;
    VaultRequest record{impact.path, "activity.record"};
    record.arguments = {{"operation", operation}, {"outcome", outcome}, {"subject", version}, {"detail", detail}};
    const auto recorded = request(context, std::move(record));
    if (!recorded.ok()) {
      std::fprintf(stderr, "vaultctl: note: not in the activity log of %s: %s\n", impact.path.c_str(),
                   recorded.error().message.c_str());
    }
  }
}

std::string refusal_text(const KeyRef& key, const std::vector<VaultImpact>& needing) {
  std::string text = "version " + *key.version + " of " + key.key_vault + "/" + key.key + " is still needed:";
  for (const VaultImpact& impact : needing) {
    text += "\n  " + impact.path + ": ";
    if (!impact.reachable) {
      text += "can't be asked (" + std::string(error_name(impact.problem.code)) +
              "), so it counts as needing every version; `vaultctl vault forget` drops a vault that is gone";
      continue;
    }
    const std::string role = impact.role_of(*key.version);
    text += role + ", " + std::to_string(impact.recovery_points) + " recovery points";
    if (role == "Retiring")
      text += "; it retires when the next backup has completed: vaultctl backup run or backup commit";
    if (role == "Active") text += "; rotate first: vaultctl key rotate " + key.key_vault + "/" + key.key;
  }
  text += "\nAll of that would become unreadable. To do it all the same: --override " + key.key;
  return text;
}

// Whether what the vaults said still holds, without asking them again: the same registrations, the same keyrings. For
// use under the key vault's lock; reads files only.
Status check_unchanged(Machine& machine, const std::vector<Registration>& registrations,
                       const std::vector<VaultImpact>& impacts) {
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<Registration> now, machine.state().registrations());
  if (now != registrations)
    return Error{ErrorCode::TryAgain, "a vault was registered or changed meanwhile; nothing was changed, try again"};
  for (const VaultImpact& impact : impacts) {
    const auto glance = glance_at_vault(machine.env(), impact.path);
    if (glance.ok() && glance->keyring_generation.value == impact.keyring_generation) continue;
    return Error{ErrorCode::TryAgain,
                 "the keys of " + impact.path + " changed meanwhile; nothing was changed, try again"};
  }
  return ok_status();
}

Result<int> disable(CommandContext& context, const KeyArguments& arguments) {
  VAULTFS_ASSIGN_OR_RETURN(const KeyRef key, KeyRef::parse(arguments.key));
  if (!key.version) {
    return Error{ErrorCode::InvalidKeyRef,
                 "name the version to disable: " + key.key_vault + "/" + key.key + "/VERSION (see: vaultctl key list)"};
  }
  if (!arguments.override_name.empty() && arguments.override_name != key.key) {
    return Error{ErrorCode::Usage,
                 "--override wants the key's name, " + key.key + ", so that it is not given by mistake"};
  }
  const bool overridden = !arguments.override_name.empty();
  VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
  VAULTFS_ASSIGN_OR_RETURN(const auto key_vault, open_key_vault(context, key));
  // The vaults are asked without the key vault's lock; under it, everything they said must still hold.
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<Registration> registrations, machine->state().registrations());
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<VaultImpact> impacts, find_impact(context, key));
  std::vector<VaultImpact> needing;
  for (const VaultImpact& found : impacts) {
    if (found.needs(*key.version)) needing.push_back(found);
  }
  if (!needing.empty() && !overridden) {
    record_decision(context, needing, *key.version, "key.disable", "Refused", "still needed");
    return Error{ErrorCode::KeyVersionInUse, refusal_text(key, needing)};
  }
  VAULTFS_RETURN_IF_ERROR(key_vault->with_lock([&]() -> Status {
    const Status unchanged = overridden ? ok_status() : check_unchanged(*machine, registrations, impacts);
    if (!unchanged.ok()) return unchanged;
    return key_vault->set_enabled(key.key, *key.version, false);
  }));
  if (overridden) {
    VAULTFS_RETURN_IF_ERROR(machine->state().audit("key.disable.override", key.to_string()));
    record_decision(context, needing, *key.version, "key.disable.override", "Succeeded",
                    "disabled although it was needed");
  }
  print(context, {{"version", *key.version}, {"enabled", false}, {"overridden", overridden && !needing.empty()}}, [&] {
    std::printf("Disabled %s. It can be enabled again: vaultctl key enable %s\n", arguments.key.c_str(),
                arguments.key.c_str());
  });
  return 0;
}

Result<int> enable(CommandContext& context, const KeyArguments& arguments) {
  VAULTFS_ASSIGN_OR_RETURN(const KeyRef key, KeyRef::parse(arguments.key));
  if (!key.version) return Error{ErrorCode::InvalidKeyRef, "name the version to enable: " + arguments.key + "/VERSION"};
  VAULTFS_ASSIGN_OR_RETURN(const auto key_vault, open_key_vault(context, key));
  VAULTFS_RETURN_IF_ERROR(key_vault->set_enabled(key.key, *key.version, true));
  print(context, {{"version", *key.version}, {"enabled", true}},
        [&] { std::printf("Enabled %s.\n", arguments.key.c_str()); });
  return 0;
}

Status write_private_file(const std::string& path, const std::string& text) {
  const UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file.valid()) return Error{error_from_errno(errno), "cannot make " + path + ": " + std::strerror(errno)};
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t n = ::write(file.get(), text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error{error_from_errno(errno), "cannot write " + path + ": " + std::strerror(errno)};
    done += static_cast<std::size_t>(n);
  }
  if (::fsync(file.get()) != 0)
    return Error{error_from_errno(errno), "cannot sync " + path + ": " + std::strerror(errno)};
  return ok_status();
}

Result<int> export_key(CommandContext& context, const KeyArguments& arguments) {
  VAULTFS_ASSIGN_OR_RETURN(const KeyRef key, KeyRef::parse(arguments.key));
  VAULTFS_ASSIGN_OR_RETURN(const auto key_vault, open_key_vault(context, key));
  VAULTFS_ASSIGN_OR_RETURN(
      const SecretBuffer passphrase,
      obtain_passphrase(arguments.passphrase_file, arguments.passphrase_fd, true, true, "the exported key"));
  VAULTFS_ASSIGN_OR_RETURN(const std::string pem,
                           key_vault->export_version(key.key, key.version ? &*key.version : nullptr, passphrase));
  VAULTFS_RETURN_IF_ERROR(write_private_file(arguments.file, pem));
  print(context, {{"file", arguments.file}}, [&] {
    std::printf("Wrote %s, encrypted under the passphrase. Keep both apart from the vault.\n", arguments.file.c_str());
  });
  return 0;
}

// A private key may be in the clear in there: straight into locked memory.
Result<SecretBuffer> read_secret_file(const std::string& path) {
  constexpr std::uint64_t kMaxPemBytes = 64 * 1024;
  VAULTFS_ASSIGN_OR_RETURN(const auto file, posix_env().open(std::filesystem::absolute(path), OpenMode::read_only));
  VAULTFS_ASSIGN_OR_RETURN(const std::uint64_t size, file->size());
  if (size == 0 || size > kMaxPemBytes)
    return Error{ErrorCode::InvalidArgument, path + " is no PEM file: it has " + std::to_string(size) + " bytes"};
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer content, SecretBuffer::allocate(size));
  VAULTFS_ASSIGN_OR_RETURN(const std::size_t read, file->read_at(0, content.mutable_view()));
  if (read != size) return Error{ErrorCode::IoError, path + " became shorter while it was read"};
  return content;
}

Result<int> import_key(CommandContext& context, const KeyArguments& arguments) {
  VAULTFS_ASSIGN_OR_RETURN(const KeyRef key, KeyRef::parse(arguments.key));
  if (key.pinned())
    return Error{ErrorCode::InvalidKeyRef, "name the key without a version; the version follows from the key itself"};
  VAULTFS_ASSIGN_OR_RETURN(const auto key_vault, open_key_vault(context, key));
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer pem_file, read_secret_file(arguments.file));
  const ByteView pem = pem_file.view();
  SecretBuffer passphrase;
  const bool encrypted = text_of(pem).find("ENCRYPTED") != std::string_view::npos;
  if (encrypted) {
    VAULTFS_ASSIGN_OR_RETURN(
        passphrase, obtain_passphrase(arguments.passphrase_file, arguments.passphrase_fd, true, false, arguments.file));
  }
  if (!arguments.enable) {
    VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
    VAULTFS_RETURN_IF_ERROR(refuse_disabled_copy(*machine, key, pem, encrypted ? &passphrase : nullptr));
  }
  VAULTFS_ASSIGN_OR_RETURN(const KeyVersionInfo version,
                           key_vault->import_version(key.key, pem, encrypted ? &passphrase : nullptr, std::nullopt));
  print(context, version_to_json(version),
        [&] { std::printf("Imported version %s of %s.\n", version.id.c_str(), arguments.key.c_str()); });
  return 0;
}

Result<int> rewrap(CommandContext& context, const KeyArguments& arguments) {
  VaultRequest wanted{arguments.vault, "key.rewrap"};
  wanted.arguments = {{"drop_retiring", arguments.drop_retiring}};
  VAULTFS_ASSIGN_OR_RETURN(const json form, request(context, std::move(wanted)));
  print(context, form, [&] {
    std::printf(
        "The keyring has a fresh key, wrapped by the active version.\n"
        "This does not take a leaked key back: whoever had the old version and a copy of this vault can still read "
        "what that copy holds.\n");
  });
  return 0;
}

void add_secret_options(CLI::App& command, KeyArguments& arguments) {
  command.add_option("--file-passphrase-file", arguments.passphrase_file,
                     "file with the passphrase of the exported key");
  command.add_option("--file-passphrase-fd", arguments.passphrase_fd, "open descriptor to read it from");
}

}  // namespace

void add_key_commands(CLI::App& app, CommandContext& context) {
  CLI::App* group = app.add_subcommand("key", "Keys and their versions (KEYREF: KEYVAULT/KEY[/VERSION])");
  group->require_subcommand(1);
  add_key_verbs(*group, context);
  const auto arguments = std::make_shared<KeyArguments>();
  const auto add = [&](const char* name, const char* what, Result<int> (*body)(CommandContext&, const KeyArguments&)) {
    CLI::App* command = group->add_subcommand(name, what);
    on_run(*command, context, [&context, arguments, body] { return body(context, *arguments); });
    return command;
  };
  const auto add_with_key = [&](const char* name, const char* what,
                                Result<int> (*body)(CommandContext&, const KeyArguments&)) {
    CLI::App* command = add(name, what, body);
    command->add_option("KEYREF", arguments->key)->required();
    return command;
  };
  for (CLI::App* command :
       {add_with_key("create", "Make an RSA key", create), add_with_key("rotate", "Make a new version", rotate)}) {
    command->add_option("--bits", arguments->bits, "2048, 3072 or 4096");
    command->add_option("--not-before", arguments->not_before, "wraps only from then on (UTC)");
    command->add_option("--expires", arguments->expires, "wraps only until then (UTC); it unwraps for ever");
  }
  add_with_key("list", "The versions of a key, oldest first", list);
  add_with_key("impact", "Which vaults need which version", impact);
  add_with_key("enable", "Enable a version", enable);
  add_with_key("disable", "Disable a version, unless a vault needs it", disable)
      ->add_option("--override", arguments->override_name, "the key's name: disable although a vault needs it");
  CLI::App* exported = add_with_key("export", "Write a version's private key as encrypted PEM", export_key);
  exported->add_option("--to", arguments->file, "file to make")->required();
  add_secret_options(*exported, *arguments);
  CLI::App* imported = add_with_key("import", "Add a version from a PEM file", import_key);
  imported->add_option("--from", arguments->file, "PKCS#8 PEM")->required();
  imported->add_flag("--enable", arguments->enable, "also if the same version is disabled under another name here");
  add_secret_options(*imported, *arguments);
  CLI::App* rewrapped = add("rewrap", "Give a vault's keyring a fresh key under the active version", rewrap);
  rewrapped->add_option("VAULT", arguments->vault)->required();
  rewrapped->add_flag("--drop-retiring", arguments->drop_retiring,
                      "for a compromised version: do not wait for a backup");
}

}  // namespace vaultfs
