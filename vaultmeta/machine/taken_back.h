#pragma once

#include <optional>
#include <string>

#include "base/ids.h"
#include "base/result.h"
#include "vaultmeta/machine/key_vault_resolver.h"
#include "vaultmeta/machine/platform_keys.h"

namespace vaultfs {

// A platform key that is removed again unless what it was made for comes about.
class NewPlatformKey {
 public:
  explicit NewPlatformKey(PlatformKeys& store) : store_(store) {}
  NewPlatformKey(const NewPlatformKey&) = delete;
  NewPlatformKey& operator=(const NewPlatformKey&) = delete;
  ~NewPlatformKey() {
    if (!id_) return;
    const Status ignored = store_.remove(*id_);  // what failed has its own error to tell
    static_cast<void>(ignored);
  }
  // The same key when asked again.
  [[nodiscard]] Result<PlatformKeyId> make() {
    if (!id_) {
      VAULTFS_ASSIGN_OR_RETURN(id_, store_.create());
    }
    return *id_;
  }
  void keep() noexcept { id_.reset(); }

 private:
  PlatformKeys& store_;
  std::optional<PlatformKeyId> id_;
};

// The vault's introduction to a key vault (KeyVaultResolver::introduce), taken back unless what it was for comes about.
class Introduction {
 public:
  Introduction() = default;
  Introduction(const Introduction&) = delete;
  Introduction& operator=(const Introduction&) = delete;
  ~Introduction() {
    if (take_back_) take_back_();
  }
  [[nodiscard]] Status make(KeyVaultResolver& resolver, const VaultIdentity& as, const std::string& key_vault) {
    if (take_back_) return ok_status();
    VAULTFS_ASSIGN_OR_RETURN(take_back_, resolver.introduce(as, key_vault));
    return ok_status();
  }
  void keep() noexcept { take_back_ = nullptr; }

 private:
  KeyVaultResolver::TakeBack take_back_;
};

}  // namespace vaultfs
