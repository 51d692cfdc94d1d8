#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/files/env.h"
#include "base/ids.h"
#include "base/result.h"
#include "crypto/keyvault/provider.h"
#include "vaultmeta/machine/key_vault_resolver.h"

namespace vaultfs {

inline constexpr std::int64_t kIdentityFormat = 1;
inline constexpr std::string_view kSystemIdentity = "system";

// As whom a vault speaks to key vaults: HOME/identities/NAME.json (user-assigned) or HOME/identities/vault.ID.json (the
// vault's own, ID in hex):
//   {"format":1,"id","name","vault","created","enabled","options":{NAME:VALUE,…}}
// `id` is random: an identity that is made again under the same name is another one, which nobody has let in yet.
// `vault` is null for a user-assigned one. It holds no secret; options may name files that do.
struct Identity {
  std::string id;                // 32 hex digits
  std::string name;              // "system" for a vault's own
  std::optional<VaultId> vault;  // whose own it is
  std::int64_t created_unix_seconds = 0;
  bool enabled = true;
  ProviderOptions options;

  // "the user-assigned identity backup", "the system-assigned identity of the vault 1f2e…".
  [[nodiscard]] std::string description() const;
  // InvalidArgument if it would not read back as it is.
  [[nodiscard]] Result<std::string> encode() const;
  // DamagedMachineState naming `path`; UnsupportedFormat.
  [[nodiscard]] static Result<Identity> decode(std::string_view json, const std::string& path);
};

// The identities of a machine. Files are replaced durably, so reads take no lock; two processes may share it.
// Thread-safe.
class IdentityStore {
 public:
  IdentityStore(Env& env, const std::filesystem::path& home) : env_(env), directory_(home / "identities") {}

  // A user-assigned one. AlreadyExists; InvalidName ("system" is not to be had); InvalidArgument (options).
  [[nodiscard]] Result<Identity> create(const std::string& name, const ProviderOptions& options);
  // The vault's own. AlreadyExists if it has one.
  [[nodiscard]] Result<Identity> create_system(const VaultId& vault);
  // By name, user-assigned, the vault's own for "system". IdentityNotFound with what to do; DamagedMachineState;
  // PermissionDenied if others may write the file.
  [[nodiscard]] Result<Identity> find(const VaultIdentity& as);
  // By random id or by the name of a user-assigned one. IdentityNotFound.
  [[nodiscard]] Result<Identity> find(const std::string& id_or_name);
  // Sorted by name, the vaults' own ones first. A damaged one is its error.
  [[nodiscard]] Result<std::vector<Identity>> list();
  // IdentityNotFound if that very one is gone, though another of its name is there.
  [[nodiscard]] Status set_enabled(const Identity& identity, bool enabled);
  // Durable; nothing happens if that very one is gone.
  [[nodiscard]] Status remove(const Identity& identity);

 private:
  [[nodiscard]] std::filesystem::path path_of(const Identity& identity) const;
  [[nodiscard]] Result<Identity> read(const std::filesystem::path& path);
  [[nodiscard]] Result<Identity> add(Identity identity);
  [[nodiscard]] Result<std::unique_ptr<FileLock>> lock_directory();
  [[nodiscard]] Result<Identity> read_same(const Identity& identity);

  Env& env_;
  const std::filesystem::path directory_;
};

}  // namespace vaultfs
