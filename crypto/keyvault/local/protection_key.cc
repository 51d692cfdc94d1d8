#include "crypto/keyvault/local/protection_key.h"

#include <array>
#include <utility>

#include "base/thread/mutex.h"
#include "crypto/files/private_file.h"
#include "crypto/passphrase.h"

namespace vaultfs {
namespace {

constexpr KeyFileMagic kMachineKeyMagic{'V', 'L', 'M', 'K'};
constexpr std::string_view kLabel = "vaultfs/1 local-key-vault protection key";

}  // namespace

Env::Path machine_key_path(const Env::Path& directory) { return directory / "machine.key"; }

ProtectionKey::ProtectionKey(Env& env, Env::Path directory, LocalKeyVault::PassphraseSource source)
    : env_(env), directory_(std::move(directory)), source_(std::move(source)) {}

Result<SecretBuffer> ProtectionKey::get(const LocalVaultFile& vault) {
  return vault.options.protection == LocalProtection::passphrase ? from_passphrase(vault) : from_machine_key(vault);
}

Result<SecretBuffer> ProtectionKey::from_machine_key(const LocalVaultFile& vault) {
  const Env::Path path = machine_key_path(directory_);
  auto key = read_key_file(env_, path, kMachineKeyMagic, std::nullopt);
  if (!key.ok() && key.code() == ErrorCode::NotFound) {
    // Its absence is damage and not a missing key: the versions are there, and nobody has revoked anything.
    return Error{ErrorCode::DamagedMachineState,
                 path.string() + " is missing, so the private keys of key vault " + vault.name +
                     " can't be opened; put back a copy of it, or import the keys again from their exported files"};
  }
  return key;
}

Result<SecretBuffer> ProtectionKey::from_passphrase(const LocalVaultFile& vault) {
  const MutexLock guard(mutex_);
  if (!passphrase_) {
    if (!source_) {
      return Error{ErrorCode::PassphraseRequired,
                   "the private keys of key vault " + vault.name +
                       " are protected by a passphrase; give it by a file or descriptor"};
    }
    // A source that fails is asked again the next time: the disk with the passphrase file may come back.
    VAULTFS_ASSIGN_OR_RETURN(passphrase_, source_());
  }
  if (!opened_key_ || opened_box_ != vault.passphrase_box) {
    opened_key_ = open_with_passphrase(*passphrase_, kLabel, bytes_of(vault.name), vault.passphrase_box);
    opened_box_ = vault.passphrase_box;
    if (opened_key_->ok() && (*opened_key_)->size() != kKeyFileKeyBytes) {
      opened_key_ = Error{ErrorCode::AuthenticationFailed, "the key inside has a wrong length"};
    }
  }
  if (opened_key_->ok()) return (*opened_key_)->clone();
  const Error& error = opened_key_->error();
  switch (error.code) {
    case ErrorCode::WrongPassphrase:
      return Error{error.code,
                   "this is not the passphrase of key vault " + vault.name + "; give the one it was created with"};
    case ErrorCode::MemoryLockFailed:
      return error;
    default:
      return Error{ErrorCode::DamagedMachineState, local_vault_file_path(directory_).string() +
                                                       " is damaged: its passphrase_box does not open (" +
                                                       error.message + "); put back a copy of it"};
  }
}

Status ProtectionKey::create(Env& env, const Env::Path& directory, LocalVaultFile& vault,
                             const SecretBuffer* passphrase) {
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer key, SecretBuffer::allocate(kKeyFileKeyBytes));
  env.fill_random(key.mutable_view());
  if (vault.options.protection == LocalProtection::passphrase) {
    if (passphrase == nullptr || passphrase->empty()) {
      return Error{ErrorCode::PassphraseRequired,
                   "key vault " + vault.name + " is to be protected by a passphrase; give one"};
    }
    VAULTFS_ASSIGN_OR_RETURN(vault.passphrase_box,
                             seal_with_passphrase(*passphrase, kLabel, bytes_of(vault.name), key.view()));
    return ok_status();
  }
  if (passphrase != nullptr) {
    return Error{ErrorCode::InvalidArgument,
                 "key vault " + vault.name +
                     " is protected by a machine key and takes no passphrase; ask for passphrase protection"};
  }
  std::array<std::byte, kKeyFileIdBytes> id{};
  env.fill_random(id);
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer content, encode_key_file(kMachineKeyMagic, id, key));
  return write_file_durably(env, machine_key_path(directory), content.view());
}

}  // namespace vaultfs
