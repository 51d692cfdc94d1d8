#pragma once

#include <filesystem>
#include <string>

#include "base/files/env.h"
#include "base/ids.h"
#include "base/result.h"
#include "crypto/memory/secret_buffer.h"

namespace vaultfs {

using PlatformKeyId = ByteId<struct PlatformKeyIdTag, 16>;  // random; written in hexadecimal in file names

// The machine's own symmetric keys: a vault without customer-managed keys is wrapped by one (platform-managed key), and
// the second layer of infrastructure encryption uses one. They exist on this machine only, in
//   $VAULTFS_HOME/platform-keys/ID.key    mode 0600, in a directory of mode 0700
//   magic "VPLK" ‖ version u16 = 1 ‖ id 16 ‖ key 32 ‖ SHA-256 of the 54 bytes before
// A file is written once and never overwritten: losing one loses the vaults that need it, unless a recovery file
// exists. Thread-safe, and processes may share a store: changes are made under platform-keys/lock, reads take no lock.
class PlatformKeys {
 public:
  PlatformKeys(Env& env, std::filesystem::path home);

  // Makes a random key and stores it durably.
  [[nodiscard]] Result<PlatformKeyId> create();
  // The 32-byte key. PlatformKeyMissing if this machine has none of that id; PermissionDenied if others than the owner
  // may use the file; DamagedMachineState, UnsupportedFormat.
  [[nodiscard]] Result<SecretBuffer> load(const PlatformKeyId& id);
  // Stores a key that came out of a recovery file (32 bytes, else InvalidArgument). The same key again is fine and
  // changes nothing; another key of that id, or a damaged file there, is RefusedOverwrite.
  [[nodiscard]] Status install(const PlatformKeyId& id, const SecretBuffer& key);
  // Removes the key's file durably (the medium may keep its blocks). PlatformKeyMissing if there is none.
  [[nodiscard]] Status remove(const PlatformKeyId& id);

 private:
  [[nodiscard]] std::filesystem::path path_of(const PlatformKeyId& id) const;
  // Takes the store's lock, makes its directory if need be, and removes what a crash left half written.
  [[nodiscard]] Result<std::unique_ptr<FileLock>> begin_change();
  [[nodiscard]] Status write_new(const PlatformKeyId& id, const SecretBuffer& key);

  Env& env_;
  std::filesystem::path directory_;
};

}  // namespace vaultfs
