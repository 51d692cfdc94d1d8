// vaultctl encryption show|set|refresh

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>

#include "tools/vaultctl/command_context.h"
#include "tools/vaultctl/pem_file.h"
#include "tools/vaultctl/text_output.h"

namespace vaultfs {
namespace {

using nlohmann::json;

std::string escrow_in_words(const json& escrow) {
  if (escrow.is_null()) return "none";
  std::string words = plain(escrow["fingerprint"]);
  if (escrow["infrastructure_key"] == "Escrowed") words += ", with the infrastructure key";
  if (escrow["infrastructure_key"] == "NotEscrowed") words += ", without the infrastructure key (vaultctl key rewrap)";
  return words;
}

// Which copies still need a Retired version. What decides is the keyring that a copy has; its date only helps to find
// it.
std::string copies_in_words(const json& form, const json& version) {
  const std::string name = plain(version["version"]);
  if (version["version"] == form["void_platform_key"]) {
    return "The platform key " + name + " is void: copies of this vault that need it hold no recovery point.";
  }
  std::string words = "Copies of this vault made before " + plain(version["since"]);
  if (version["since_uncertain"] == true) words += ", or later (this machine's clock had gone back),";
  words += " still need " + name;
  if (!version["since_generation"].is_null()) {
    words += ": all whose newest keyring is of a generation before " + plain(version["since_generation"]);
  }
  return words + ".";
}

void print_encryption(const json& form) {
  print_pairs(
      {{"Encryption at rest", plain(form["encryption_at_rest_type"])},
       {"Customer-managed key", plain(form["state"])},
       {"Key", plain(form["key_uri"]) + (form["follows_new_versions"] == true ? " (follows new versions)" : "")},
       {"Identity", plain(form["identity"])},
       {"Last update", plain(form["last_update_status"])},
       {"Infrastructure encryption", plain(form["infrastructure_encryption_state"])},
       {"Escrow key", escrow_in_words(form["escrow"])},
       {"Key access", plain(form["key_access"])},
       {"Refreshed every", plain(form["refresh_minutes"]) + " min"},
       {"Works on after a revocation", plain(form["revocation_grace_seconds"]) + " s"},
       {"Works on in an outage", plain(form["outage_ttl_seconds"]) + " s"},
       {"Current data key epoch", plain(form["current_epoch"])},
       {"Fingerprint", plain(form["fingerprint"])}});
  if (!form["problem"].is_null()) {
    say("Problem: %s: %s\n", plain(form["problem"]["name"]).c_str(), plain(form["problem"]["message"]).c_str());
  }
  for (const json& unmet : form["unmet_preconditions"]) {
    say("Precondition not met: %s: %s\n", plain(unmet["name"]).c_str(), plain(unmet["message"]).c_str());
  }
  print_key_expiry(form["key_expiry"]);
  std::vector<std::vector<std::string>> rows;
  for (const json& version : form["versions"]) {
    const std::string epochs =
        plain(version["first_epoch"]) + "-" + (version["last_epoch"].is_null() ? "now" : plain(version["last_epoch"]));
    rows.push_back({plain(version["version"]), plain(version["role"]), plain(version["since"]), epochs,
                    plain(version["waiting_for"])});
  }
  say("\n");
  print_table({"KEY VERSION", "ROLE", "SINCE", "EPOCHS", "WAITING FOR"}, rows);
  if (form.contains("epochs")) {
    std::vector<std::vector<std::string>> uses;
    for (const json& epoch : form["epochs"]) {
      std::string versions;
      for (const json& version : epoch["versions"]) versions += (versions.empty() ? "" : ", ") + plain(version);
      uses.push_back({epoch["epoch"].is_null() ? "unreadable" : plain(epoch["epoch"]), plain(epoch["segments"]),
                      human_bytes(epoch["bytes"]), versions});
    }
    say("\n");
    print_table({"EPOCH", "SEGMENTS", "STORED", "READABLE BY"}, uses);
  }
  for (const json& version : form["versions"]) {
    if (version["role"] == "Retired") say("%s\n", copies_in_words(form, version).c_str());
  }
}

// Whether the Active version has taken the place of the machine's platform key, and of no version in between.
bool replaced_platform_key(const json& form) {
  if (form["void_platform_key"].is_null()) return false;
  const json& active = form["versions"].back();
  return std::ranges::any_of(form["versions"], [&](const json& version) {
    return version["version"] == form["void_platform_key"] && version["since_generation"] == active["since_generation"];
  });
}

// What the change from a platform key to a customer-managed one has done to the former.
void note_void_platform_key(const json& form) {
  const std::string id = plain(form["void_platform_key"]);
  const bool two_layers = form["infrastructure_encryption_state"] == "Enabled";
  tell(
      "vaultctl: note: the platform key %s opens nothing of this vault any more and was deleted from this machine; a "
      "recovery file of it is void%s\n",
      id.c_str(),
      two_layers ? ". The infrastructure key stays as it was: a recovery file that holds it is still needed for that"
                 : "");
}

Result<int> run(CommandContext& context, VaultRequest wanted) {
  const bool new_key = wanted.verb == "encryption.set" && wanted.arguments.contains("key");
  VAULTFS_ASSIGN_OR_RETURN(const json form, request(context, std::move(wanted)));
  if (new_key && replaced_platform_key(form)) note_void_platform_key(form);
  print(context, form, [&form] {
    print_encryption(form);
    if (!form.contains("retired_versions")) return;
    for (const json& retired : form["retired_versions"]) say("Retired now: %s\n", plain(retired).c_str());
  });
  return 0;
}

struct SetArguments {
  std::string key, identity, escrow_key;
  bool no_escrow = false;
  std::optional<std::uint32_t> refresh_minutes, revocation_grace_seconds, outage_ttl_seconds;
};

// One request changes one thing, so that it can't be done by half.
Result<VaultRequest> settings_request(const std::string& vault, const SetArguments& wanted) {
  json numbers = json::object();
  if (wanted.refresh_minutes) numbers["refresh_minutes"] = *wanted.refresh_minutes;
  if (wanted.revocation_grace_seconds) numbers["revocation_grace_seconds"] = *wanted.revocation_grace_seconds;
  if (wanted.outage_ttl_seconds) numbers["outage_ttl_seconds"] = *wanted.outage_ttl_seconds;
  json names = json::object();
  if (!wanted.key.empty()) names["key"] = wanted.key;
  if (!wanted.identity.empty()) names["identity"] = wanted.identity;  // both: refused by name
  const bool escrow = wanted.no_escrow || !wanted.escrow_key.empty();
  if ((names.empty() ? 0 : 1) + (numbers.empty() ? 0 : 1) + (escrow ? 1 : 0) != 1 ||
      (wanted.no_escrow && !wanted.escrow_key.empty())) {
    return Error{ErrorCode::Usage,
                 "give --key, or --identity, or --escrow-key or --no-escrow, or some of --refresh-minutes, "
                 "--revocation-grace and --outage-ttl; one request changes either the key, or the identity, or the "
                 "escrow key, or the limits"};
  }
  if (escrow) {
    json form = {{"public_key", nullptr}};
    if (!wanted.no_escrow) {
      VAULTFS_ASSIGN_OR_RETURN(const Bytes public_key, read_escrow_public_key(wanted.escrow_key));
      form["public_key"] = to_hex(public_key);
    }
    return VaultRequest{vault, "encryption.set-escrow", form};
  }
  if (numbers.empty()) return VaultRequest{vault, "encryption.set", names};
  return VaultRequest{vault, "encryption.set-limits", numbers};
}

}  // namespace

void add_encryption_commands(CLI::App& app, CommandContext& context) {
  CLI::App* group = app.add_subcommand("encryption", "How a vault is encrypted");
  group->require_subcommand(1);
  const auto vault = std::make_shared<std::string>();

  CLI::App* shown = group->add_subcommand("show", "Settings, and the role of each key version");
  shown->add_option("VAULT", *vault)->required();
  on_run(*shown, context, [&context, vault] { return run(context, {*vault, "encryption.show"}); });

  CLI::App* refreshed = group->add_subcommand("refresh", "Look for new key versions now, and retire what may retire");
  refreshed->add_option("VAULT", *vault)->required();
  on_run(*refreshed, context, [&context, vault] { return run(context, {*vault, "encryption.refresh"}); });

  const auto wanted_settings = std::make_shared<SetArguments>();
  CLI::App* set = group->add_subcommand(
      "set", "Use another key, identity or escrow key, or change how long the vault works without asking");
  set->add_option("VAULT", *vault)->required();
  set->add_option("--key", wanted_settings->key, "KEYVAULT/KEY follows new versions, KEYVAULT/KEY/VERSION is pinned");
  set->add_option("--identity", wanted_settings->identity, "system, or the name of a user-assigned one");
  set->add_option("--escrow-key", wanted_settings->escrow_key,
                  "PEM file of an RSA public key whose private half, kept offline, opens the vault too");
  set->add_flag("--no-escrow", wanted_settings->no_escrow, "no such key from now on");
  set->add_option("--refresh-minutes", wanted_settings->refresh_minutes,
                  "minutes between two looks at the key vault (1 to 60)");
  set->add_option("--revocation-grace", wanted_settings->revocation_grace_seconds,
                  "seconds for which the vault works on after its key was disabled or denied");
  set->add_option("--outage-ttl", wanted_settings->outage_ttl_seconds,
                  "seconds for which the vault works on while its key vault cannot be reached");
  on_run(*set, context, [&context, vault, wanted_settings]() -> Result<int> {
    VAULTFS_ASSIGN_OR_RETURN(VaultRequest wanted, settings_request(*vault, *wanted_settings));
    return run(context, std::move(wanted));
  });
}

}  // namespace vaultfs
