#include "vaultmeta/vault/key_drill.h"

#include <optional>
#include <utility>

#include "vaultmeta/keys/kek_access.h"
#include "vaultmeta/keys/newest_keyring.h"
#include "vaultmeta/machine/vault_place.h"
#include "vaultmeta/vault/opening.h"

namespace vaultfs {
namespace {

// With infrastructure encryption the keyring alone opens no data.
Status check_second_layer(const KeyCustody::Context& context, const VaultHeader& header) {
  if (header.suite != Suite::aes_gcm_in_xchacha) return ok_status();
  const auto key = context.platform_keys.load(PlatformKeyId(header.infrastructure_key_id));
  return key.ok() ? ok_status() : Status(key.error());
}

// Asked of the key vault once more: whether it opens and when it expires are two things.
std::optional<KeyExpiry> expiry_of_active(const KeyCustody::Context& context, const VaultHeader& header,
                                          const KeyringSlot& slot) {
  if (slot.role != VersionRole::active || slot.kind != SlotKind::key_vault) return std::nullopt;
  const auto reached =
      reach_version(context.resolver, {header.id, slot.identity}, slot.key_vault, slot.key, slot.version);
  const KeyVersionInfo* info = reached.ok() ? reached->find(slot.version) : nullptr;
  if (info == nullptr) return std::nullopt;
  return expiry_to_tell(slot.name(), info->expires, context.env.clock().now().seconds());
}

}  // namespace

Status opens_by(const KeyCustody::Context& context, const VaultHeader& header, ByteView file,
                const ClosedKeyring& closed, const KeyringSlot& slot, const VaultFingerprint& known) {
  ReachedKey reached;
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer key,
                           unwrap_slot(context.resolver, context.platform_keys, header.id, slot, reached));
  if (slot.role == VersionRole::retiring) {
    VAULTFS_ASSIGN_OR_RETURN(key, open_link(closed.vault, closed.generation, slot, key));
  }
  VAULTFS_ASSIGN_OR_RETURN(const Keyring keyring, open_keyring(file, key));
  VAULTFS_ASSIGN_OR_RETURN(const Digest fingerprint, root_fingerprint(keyring.secrets.root_key, header.id));
  if (fingerprint != header.root_fingerprint) {
    return Error{ErrorCode::ForeignRootKey, "the keyring holds another root key than the vault was created with"};
  }
  if (known.epoch.value == 0) return ok_status();
  // Whoever held an older key version has the root key. He has not the data key that this machine knows as newest.
  const auto epoch = keyring.secrets.epochs.find(known.epoch);
  if (epoch != keyring.secrets.epochs.end()) {
    VAULTFS_ASSIGN_OR_RETURN(const Digest digest,
                             epoch_fingerprint(keyring.secrets.root_key, epoch->second.dek, header.id, known.epoch));
    if (digest == known.digest) return ok_status();
  }
  return Error{ErrorCode::RollbackDetected, "the keyring lacks the newest data key that this machine has seen"};
}

Result<std::vector<KeyDrill>> drill_keyring(const KeyCustody::Context& context, const VaultHeader& header,
                                            const Digest& header_digest, const VaultFingerprint& known) {
  VAULTFS_ASSIGN_OR_RETURN(const std::optional<Pin> pin, pin_at(context.machine, header.id, context.place));
  VAULTFS_ASSIGN_OR_RETURN(const KeyringCandidates found,
                           find_keyrings(context.blobs, header.id, header_digest, pin ? &*pin : nullptr));
  VAULTFS_ASSIGN_OR_RETURN(const StoredKeyring file,
                           read_keyring(context.blobs, header.id, header_digest, found.newest_first.front()));
  std::vector<KeyDrill> drills;
  for (const KeyringSlot& slot : file.closed.slots) {
    KeyDrill drill{slot.role, slot.key_vault, slot.key, slot.version, std::nullopt};
    Status opened = opens_by(context, header, file.bytes, file.closed, slot, known);
    if (opened.ok()) opened = check_second_layer(context, header);
    if (!opened.ok()) drill.failure = opened.error();
    drill.expiry = expiry_of_active(context, header, slot);
    drills.push_back(std::move(drill));
  }
  return drills;
}

Result<std::vector<KeyDrill>> drill_vault(const Vault::Machine& machine, const std::filesystem::path& path) {
  VaultDirectory directory(machine.env, path);
  VAULTFS_RETURN_IF_ERROR(directory.open());
  Digest header_digest;
  VAULTFS_ASSIGN_OR_RETURN(const VaultHeader header, read_vault_header(directory, header_digest));
  VAULTFS_RETURN_IF_ERROR(check_vault_is_known_there(machine.state, directory, header.id));
  VAULTFS_ASSIGN_OR_RETURN(const std::filesystem::path place, known_place(machine.state, directory, header.id));
  VAULTFS_ASSIGN_OR_RETURN(const std::optional<Pin> pin, pin_at(machine.state, header.id, place));
  if (!pin) {
    return Error{ErrorCode::VaultUnverified, "this machine does not know the keys of " + directory.place().string() +
                                                 "; run: vaultctl vault trust --fingerprint F"};
  }
  if (pin->root_fingerprint != header.root_fingerprint) {
    return Error{ErrorCode::ForeignRootKey, "the vault in " + directory.place().string() +
                                                " has another root key than the one this machine trusts"};
  }
  const auto blobs = make_directory_blob_store(directory, directory.place());
  const KeyCustody::Context context{directory, *blobs, machine.state, machine.platform_keys, machine.resolver, place};
  return drill_keyring(context, header, header_digest, pin->fingerprint);
}

}  // namespace vaultfs
