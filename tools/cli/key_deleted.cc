// vaultctl key recover|purge, key list --deleted: deleted keys.

#include "crypto/keyvault/key_ref.h"
#include "tools/cli/key_arguments.h"
#include "tools/cli/text_output.h"
#include "tools/requests/json_forms.h"

namespace vaultfs {
namespace {

using nlohmann::json;

json time_of(std::int64_t unix_seconds) { return time_to_json({unix_seconds * 1'000'000'000}); }

}  // namespace

Result<int> key_recover(CommandContext& context, const KeyArguments& arguments) {
  VAULTFS_ASSIGN_OR_RETURN(const KeyRef key, unpinned_key(arguments));
  VAULTFS_ASSIGN_OR_RETURN(const auto key_vault, open_key_vault(context, key));
  VAULTFS_RETURN_IF_ERROR(key_vault->recover_key(key.key));
  VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
  VAULTFS_RETURN_IF_ERROR(machine->state().audit("key.recover", key.to_string()));
  print(context, {{"key", key.to_string()}, {"deleted", false}}, [&] {
    std::printf("Recovered %s with all its versions. Vaults that use it come back by themselves.\n",
                arguments.key.c_str());
  });
  return 0;
}

Result<int> key_purge(CommandContext& context, const KeyArguments& arguments) {
  VAULTFS_ASSIGN_OR_RETURN(const KeyRef key, unpinned_key(arguments));
  VAULTFS_ASSIGN_OR_RETURN(const auto key_vault, open_key_vault(context, key));
  VAULTFS_RETURN_IF_ERROR(key_vault->purge_key(key.key));
  VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
  VAULTFS_RETURN_IF_ERROR(machine->state().audit("key.purge", key.to_string()));
  print(context, {{"key", key.to_string()}, {"purged", true}},
        [&] { std::printf("Destroyed %s for good.\n", arguments.key.c_str()); });
  return 0;
}

Result<int> key_list_deleted(CommandContext& context, const KeyArguments& arguments) {
  VAULTFS_RETURN_IF_ERROR(check_key_name("key vault", arguments.key));
  VAULTFS_ASSIGN_OR_RETURN(const auto key_vault, open_local_key_vault(context, {arguments.key, "", std::nullopt}));
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<DeletedKey> deleted, key_vault->list_deleted());
  json keys = json::array();
  for (const DeletedKey& key : deleted) {
    keys.push_back({{"key", arguments.key + "/" + key.key},
                    {"deleted", time_of(key.deleted)},
                    {"purge_after", time_of(key.purge_after)},
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
