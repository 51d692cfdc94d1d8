// vaultctl key rotation-policy set|show, key rotate --due: versions that make themselves.

#include "crypto/keyvault/key_ref.h"
#include "tools/api/key_exports.h"
#include "tools/vaultctl/key/key_arguments.h"
#include "tools/vaultctl/text_output.h"

namespace vaultfs {
namespace {

using nlohmann::json;

Result<std::optional<std::uint32_t>> days_of(const std::string& option, const std::string& text) {
  if (text.empty()) return std::optional<std::uint32_t>();
  const auto days = parse_duration_days(text);
  if (!days.ok()) return with_context(days.error(), option + " " + text);
  return std::optional(*days);
}

// For the audit log.
std::string policy_words(const std::optional<RotationPolicy>& policy) {
  if (!policy) return " none";
  const RotationPolicyText text = rotation_policy_text(*policy);
  std::string words;
  if (!text.after_create.empty()) words += " after-create=" + text.after_create;
  if (!text.before_expiry.empty()) words += " before-expiry=" + text.before_expiry;
  if (!text.expiry.empty()) words += " expiry=" + text.expiry;
  return words;
}

void print_policy(const std::string& key, const std::optional<RotationPolicyText>& policy) {
  if (!policy) {
    say("%s has no rotation policy.\n", key.c_str());
    return;
  }
  const json form = rotation_policy_to_json(policy);
  print_pairs({{"Key", key},
               {"Rotate after creation", plain(form["after_create"])},
               {"Rotate before expiry", plain(form["before_expiry"])},
               {"Expiry of new versions", plain(form["expiry"])}});
}

// The local key vaults to look at: the named one, or all.
Result<std::vector<std::string>> key_vaults_of(CommandContext& context, const std::string& name) {
  VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
  if (name.empty()) return machine->key_vaults().list();
  VAULTFS_RETURN_IF_ERROR(check_key_name("key vault", name));
  VAULTFS_RETURN_IF_ERROR(local_key_vault_of(context, {name, "", std::nullopt}));
  return std::vector<std::string>{name};
}

}  // namespace

json rotation_policy_to_json(const std::optional<RotationPolicyText>& policy) {
  if (!policy) return nullptr;
  const auto duration = [](const std::string& text) { return text.empty() ? json(nullptr) : json(text); };
  return {{"after_create", duration(policy->after_create)},
          {"before_expiry", duration(policy->before_expiry)},
          {"expiry", duration(policy->expiry)}};
}

Result<int> key_policy_set(CommandContext& context, const KeyArguments& arguments) {
  VAULTFS_ASSIGN_OR_RETURN(const KeyRef key, unpinned_key(arguments));
  RotationPolicy policy;
  VAULTFS_ASSIGN_OR_RETURN(policy.after_create_days, days_of("--after-create", arguments.after_create));
  VAULTFS_ASSIGN_OR_RETURN(policy.before_expiry_days, days_of("--before-expiry", arguments.before_expiry));
  VAULTFS_ASSIGN_OR_RETURN(policy.expiry_days, days_of("--expiry", arguments.expiry));
  if (arguments.none && policy != RotationPolicy{}) {
    return Error{ErrorCode::Usage, "--none takes the policy away and goes with no other option"};
  }
  const std::optional<RotationPolicy> wanted = arguments.none ? std::nullopt : std::optional(policy);
  VAULTFS_ASSIGN_OR_RETURN(const auto key_vault, key_vault_of(context, key));
  VAULTFS_ASSIGN_OR_RETURN(const MachineContext machine, context.machine_context());
  VAULTFS_RETURN_IF_ERROR(audited<Status>(machine, "key.rotation-policy", key.to_string() + policy_words(wanted),
                                          [&] { return key_vault->set_rotation_policy(key.key, wanted); }));
  const auto set = wanted ? std::optional(rotation_policy_text(*wanted)) : std::nullopt;
  print(context, {{"key", key.to_string()}, {"rotation_policy", rotation_policy_to_json(set)}},
        [&] { print_policy(key.to_string(), set); });
  return 0;
}

Result<int> key_policy_show(CommandContext& context, const KeyArguments& arguments) {
  VAULTFS_ASSIGN_OR_RETURN(const KeyRef key, unpinned_key(arguments));
  VAULTFS_ASSIGN_OR_RETURN(const auto key_vault, key_vault_of(context, key));
  VAULTFS_ASSIGN_OR_RETURN(const auto policy, key_vault->describe_rotation_policy(key.key));
  print(context, {{"key", key.to_string()}, {"rotation_policy", rotation_policy_to_json(policy)}},
        [&] { print_policy(key.to_string(), policy); });
  return 0;
}

// For timers: whatever is due by a policy, and nothing else. One key's trouble must not keep the others waiting.
Result<int> key_rotate_due(CommandContext& context, const KeyArguments& arguments) {
  VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<std::string> names, key_vaults_of(context, arguments.key));
  json rotated = json::array();
  std::optional<Error> first_trouble;
  const auto note = [&](const std::string& where, const Error& error) {
    tell("vaultctl: note: %s: %s: %s\n", where.c_str(), std::string(error_name(error.code)).c_str(),
         error.message.c_str());
    if (!first_trouble) first_trouble = error;
  };
  for (const std::string& name : names) {
    const auto key_vault = machine->registry().open_local(name);
    const auto keys = key_vault.ok() ? (*key_vault)->list_keys() : Result<std::vector<std::string>>(key_vault.error());
    if (!keys.ok()) {
      note(name, keys.error());
      continue;
    }
    for (const std::string& key : *keys) {
      std::string full_name = name;
      full_name.append("/").append(key);
      const auto made = (*key_vault)->rotate_if_due(key, [&] {
        return machine->state().audit("key.rotate", full_name + " by its policy");
      });
      if (!made.ok()) {
        note(full_name, made.error());
      } else if (*made) {
        const KeyRef rotated_key{name, key, std::nullopt};
        json exported = key_export_to_json(*machine, rotated_key);
        warn_of_stale_export(rotated_key, exported);
        rotated.push_back({{"key", full_name}, {"version", (*made)->id}, {"export", std::move(exported)}});
      }
    }
  }
  print(context, {{"rotated", rotated}}, [&] {
    for (const json& one : rotated) {
      say("New version of %s: %s.\n", plain(one["key"]).c_str(), plain(one["version"]).c_str());
    }
    if (rotated.empty()) say("No rotation is due.\n");
  });
  if (first_trouble) return error_exit_code(first_trouble->code);
  return 0;
}

}  // namespace vaultfs
