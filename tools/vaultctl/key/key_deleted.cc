// vaultctl key recover, key list --deleted: deleted keys.

#include "crypto/keyvault/key_ref.h"
#include "tools/api/json_forms.h"
#include "tools/vaultctl/key/key_arguments.h"
#include "tools/vaultctl/text_output.h"

namespace vaultfs {
using nlohmann::json;

Result<int> key_recover(CommandContext& context, const KeyArguments& arguments) {
  VAULTFS_ASSIGN_OR_RETURN(const KeyRef key, unpinned_key(arguments));
  VAULTFS_ASSIGN_OR_RETURN(const auto key_vault, key_vault_of(context, key));
  VAULTFS_ASSIGN_OR_RETURN(const MachineContext machine, context.machine_context());
  VAULTFS_RETURN_IF_ERROR(
      audited<Status>(machine, "key.recover", key.to_string(), [&] { return key_vault->recover_key(key.key); }));
  print(context, {{"key", key.to_string()}, {"deleted", false}}, [&] {
    say("Recovered %s with all its versions. Vaults that use it come back by themselves.\n", arguments.key.c_str());
  });
  return 0;
}

Result<int> key_list_deleted(CommandContext& context, const KeyArguments& arguments) {
  VAULTFS_RETURN_IF_ERROR(check_key_name("key vault", arguments.key));
  VAULTFS_ASSIGN_OR_RETURN(const auto key_vault, local_key_vault_of(context, {arguments.key, "", std::nullopt}));
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<DeletedKey> deleted, key_vault->list_deleted());
  json keys = json::array();
  for (const DeletedKey& key : deleted) {
    keys.push_back({{"key", arguments.key + "/" + key.key},
                    {"deleted", seconds_to_json(key.deleted)},
                    {"purge_after", seconds_to_json(key.purge_after)},
                    {"versions", key.versions}});
  }
  print(context, {{"deleted_keys", keys}}, [&] {
    std::vector<std::vector<std::string>> rows;
    for (const json& key : keys) {
      rows.push_back({plain(key["key"]), plain(key["deleted"]), plain(key["purge_after"]), plain(key["versions"])});
    }
    print_table({"KEY", "DELETED", "GONE AFTER", "VERSIONS"}, rows);
  });
  return 0;
}

}  // namespace vaultfs
