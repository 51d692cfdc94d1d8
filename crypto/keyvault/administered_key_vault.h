#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "crypto/keyvault/key_vault.h"
#include "crypto/keyvault/rotation_policy.h"

namespace vaultfs {

// How a new key or version is to be.
struct KeyOptions {
  unsigned bits = 3072;                    // of an RSA key; providers of symmetric KEKs make AES-256
  std::optional<std::int64_t> not_before;  // Unix seconds
  std::optional<std::int64_t> expires;
};

// Which key vault it is, whatever its name on this machine.
struct KeyVaultPlace {
  std::string text;  // two registrations of the same address, or token, give the same text
  // Another text is another key vault for certain. A server may have several addresses.
  bool is_the_only_one = false;
};

// A key vault as its administrator sees it. What a provider cannot do is NotSupportedByProvider with the reason and
// where to do it instead: nothing is simulated. Errors beyond KeyVault's are named at each call. Thread-safe; calls may
// block on a network.
class AdministeredKeyVault : public KeyVault {
 public:
  // Of a token it is what the token says of itself, so that it must be there (KeyVaultUnavailable); all others ask
  // nobody.
  [[nodiscard]] virtual Result<KeyVaultPlace> place() = 0;
  // Whether a version's id names one key of this key vault whatever the key's name is.
  [[nodiscard]] virtual bool versions_name_keys() const noexcept { return false; }

  // The names of all keys, sorted.
  [[nodiscard]] virtual Result<std::vector<std::string>> list_keys() = 0;
  // A new key with its first version: KeyExists if there is one of that name. KeySizeUnsupported; InvalidArgument if
  // it would expire before it becomes valid.
  [[nodiscard]] virtual Result<KeyVersionInfo> create_key(const std::string& key, const KeyOptions& options);
  // A new version, made the newest. With `keep_bits` it has the size of the newest version and options.bits is not
  // read.
  [[nodiscard]] virtual Result<KeyVersionInfo> rotate_key(const std::string& key, const KeyOptions& options,
                                                          bool keep_bits);
  // Always reversible: a provider that could only destroy or deactivate for good answers NotSupportedByProvider.
  // Durable when it returns. No rule about vaults that need the version is checked here.
  [[nodiscard]] virtual Status set_enabled(const std::string& key, const std::string& version, bool enabled);
  // A key with all its versions: kept for recover_key where the key vault has soft delete, else gone.
  [[nodiscard]] virtual Status delete_key(const std::string& key);
  [[nodiscard]] virtual Status recover_key(const std::string& key);
  // Destroys a deleted key for good; refused where purge protection is on.
  [[nodiscard]] virtual Status purge_key(const std::string& key);
  // When the key gets new versions by itself; nothing if it does not.
  [[nodiscard]] virtual Result<std::optional<RotationPolicyText>> describe_rotation_policy(const std::string& key);
  // InvalidArgument as RotationPolicy::check; none takes it away.
  [[nodiscard]] virtual Status set_rotation_policy(const std::string& key, const std::optional<RotationPolicy>& policy);

 protected:
  // "the key vault hsm (pkcs11) cannot WHAT; INSTEAD".
  [[nodiscard]] Error not_supported(std::string_view what, std::string_view instead);
};

}  // namespace vaultfs
