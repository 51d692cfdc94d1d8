#include <utility>

#include "crypto/hash.h"
#include "vaultmeta/keys/custody_impl.h"
#include "vaultmeta/keys/newest_keyring.h"
#include "vaultmeta/machine/taken_back.h"
#include "vaultmeta/vault/key_drill.h"

// Creation and opening of a custody, and what is more than a call of one of its parts.

namespace vaultfs {
namespace {

constexpr std::size_t kKeyBytes = 32;

Result<KeyringSecrets> new_secrets(const KeyCustody::CreateRequest& request, UnixNanos now) {
  KeyringSecrets secrets;
  VAULTFS_ASSIGN_OR_RETURN(secrets.root_key, SecretBuffer::random(kKeyBytes));
  VAULTFS_ASSIGN_OR_RETURN(secrets.id_key, SecretBuffer::random(kKeyBytes));
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer dek, SecretBuffer::random(kKeyBytes));
  secrets.epochs.emplace(EpochNumber(1), EpochRecord{std::move(dek), now, std::nullopt});
  secrets.settings.identity = request.identity;
  if (request.key) {
    secrets.settings.customer_managed = true;
    secrets.settings.key_vault = request.key->key_vault;
    secrets.settings.key = request.key->key;
    secrets.settings.pinned_version = request.key->version;
  }
  return secrets;
}

Result<WrappedKey> first_wrap(const KeyCustody::Context& context, const VaultHeader& header,
                              const KeyCustody::CreateRequest& request, NewPlatformKey& platform) {
  const Generation first(1);
  if (!request.key) {
    VAULTFS_ASSIGN_OR_RETURN(const PlatformKeyId id, platform.make());
    return wrap_fresh_platform_key(header.id, first, context.platform_keys, id);
  }
  VAULTFS_ASSIGN_OR_RETURN(const ExaminedKey key, examine_key(context.resolver, context.env.clock(), *request.key,
                                                              header.region, {header.id, request.identity}));
  return wrap_fresh_key(header.id, first, request.identity, *key.reached.key_vault, key.reached.key, key.version.id);
}

}  // namespace

KeyringCustody::KeyringCustody(const Context& context, const VaultHeader& header, const Digest& header_digest,
                               bool read_only)
    : context_(context),
      header_(header),
      header_digest_(header_digest),
      read_only_(read_only),
      held_(header, context.env.clock()),
      file_(context, header, read_only, held_),
      kek_(context, header, header_digest, read_only, held_, file_),
      turns_(held_, file_),
      retirement_(context.env.clock(), held_, file_, kek_),
      rotation_(context, header, read_only, held_, file_, kek_, turns_, retirement_),
      requested_(context, header, held_, file_, kek_, turns_, retirement_, rotation_),
      escrow_(context, header, held_, file_, kek_, turns_, retirement_, rotation_) {}

Result<std::unique_ptr<KeyCustody>> KeyCustody::create(
    const Context& context, VaultHeader& header, const CreateRequest& request,
    const std::function<Result<Digest>(const VaultHeader&)>& write_header) {
  const UnixNanos now = context.env.clock().now();
  NewPlatformKey platform(context.platform_keys);
  VAULTFS_ASSIGN_OR_RETURN(WrappedKey wrapped, first_wrap(context, header, request, platform));

  Keyring keyring;
  keyring.vault = header.id;
  keyring.generation = Generation(1);
  VAULTFS_ASSIGN_OR_RETURN(keyring.secrets, new_secrets(request, now));
  VersionRecord first;
  first.key_vault = wrapped.slot.key_vault;
  first.key = wrapped.slot.key;
  first.version = wrapped.slot.version;
  first.role_since = now;
  first.took_effect = now;
  first.first_epoch = EpochNumber(1);
  first.role_generation = keyring.generation;
  if (request.key) keyring.secrets.last_update = KeyUpdate{JobNumber(1), "vault.create", first.version, now};
  keyring.secrets.rule.start(std::move(first));
  keyring.slots.push_back(std::move(wrapped.slot));
  if (request.escrow_key) {
    keyring.secrets.escrow = EscrowRecipient{*request.escrow_key, now};
    InfrastructureKey infrastructure{PlatformKeyId(header.infrastructure_key_id), {}};
    if (header.suite == Suite::aes_gcm_in_xchacha) {
      VAULTFS_ASSIGN_OR_RETURN(infrastructure.key, context.platform_keys.load(infrastructure.id));
    }
    VAULTFS_ASSIGN_OR_RETURN(keyring.escrow, wrap_for_escrow(header.id, keyring.generation, *keyring.secrets.escrow,
                                                             wrapped.key, infrastructure));
  }

  VAULTFS_ASSIGN_OR_RETURN(header.root_fingerprint, root_fingerprint(keyring.secrets.root_key, header.id));
  VAULTFS_ASSIGN_OR_RETURN(keyring.header_digest, write_header(header));
  VAULTFS_ASSIGN_OR_RETURN(const Bytes file, keyring.seal(wrapped.key));
  VAULTFS_RETURN_IF_ERROR(context.blobs.put(keyring_blob_name(keyring.generation), file));

  // Through storage and the provider once more: what was made is what will be opened.
  VAULTFS_ASSIGN_OR_RETURN(auto opened, open_newest_keyring(context, header, keyring.header_digest));
  if (opened.active_trouble) return *opened.active_trouble;
  auto custody = std::make_unique<KeyringCustody>(context, header, keyring.header_digest, false);
  VAULTFS_RETURN_IF_ERROR(custody->adopt(std::move(opened)));
  platform.keep();
  return std::unique_ptr<KeyCustody>(std::move(custody));
}

Result<std::unique_ptr<KeyCustody>> KeyCustody::open(const Context& context, const VaultHeader& header,
                                                     const Digest& header_digest, bool read_only,
                                                     const RsaKey* escrow_key) {
  VAULTFS_ASSIGN_OR_RETURN(auto opened, open_newest_keyring(context, header, header_digest, escrow_key));
  auto custody = std::make_unique<KeyringCustody>(context, header, header_digest, read_only);
  const std::optional<Error> trouble = opened.active_trouble;
  const ReachedKey active = std::move(opened.active);
  VAULTFS_RETURN_IF_ERROR(custody->adopt(std::move(opened)));
  custody->begin(trouble, active);
  return std::unique_ptr<KeyCustody>(std::move(custody));
}

void KeyringCustody::begin(const std::optional<Error>& active_trouble, const ReachedKey& active) {
  if (active_trouble) held_.note_trouble(*active_trouble);
  held_.note_expiry(active);
  // A reader may make no refresh; an owner makes one at once.
  if (read_only_) kek_.look_at_preconditions(active);
}

void KeyringCustody::attach(KeyChangeHost& host) {
  const Lsn now = host.next_lsn();
  file_.attach(host);
  const std::optional<KeyUpdate> last_update = held_.record_effect(now);
  update_of_before_ = last_update;
  if (last_update) host.reserve_job(last_update->job);
  // A list of an older vaultfs, or one that a crash left too long. As it is, it protects at least as much.
  static_cast<void>(file_.update_registration());
}

// A crash between the keyring and the job.
void KeyringCustody::record_update_of_before() {
  const std::optional<KeyUpdate> update = std::exchange(update_of_before_, std::nullopt);
  if (update) file_.host().ensure_recorded(*update);
}

Status KeyringCustody::job_completed(JobNumber job, Lsn begun) {
  VAULTFS_RETURN_IF_ERROR(file_.check_changeable());
  if (!held_.snapshot().rule.job_completed(job, begun)) return ok_status();
  VAULTFS_RETURN_IF_ERROR(file_.commit(
      [&](Keyring& next, const SecretBuffer&) {
        next.secrets.rule.job_completed(job, begun);
        return ok_status();
      },
      {}));
  return file_.write_head_if_behind();
}

Status KeyringCustody::item_attempted() {
  if (held_.snapshot().settings.item_ever_attempted) return ok_status();
  VAULTFS_RETURN_IF_ERROR(file_.check_changeable());
  VAULTFS_RETURN_IF_ERROR(file_.commit(
      [](Keyring& next, const SecretBuffer&) {
        next.secrets.settings.item_ever_attempted = true;
        return ok_status();
      },
      {}));
  return file_.write_head_if_behind();
}

Result<Digest> KeyringCustody::root_mac(std::string_view label, ByteView message) const {
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer key, root_key_for(label));
  return hmac_sha256(key.view(), {message});
}

bool KeyringCustody::enforce_deadlines(const std::function<void()>& before_wipe) {
  const HeldKeys::Deadline deadline = held_.deadline();
  if (deadline != HeldKeys::Deadline::over) return deadline == HeldKeys::Deadline::sealed;
  if (before_wipe) before_wipe();
  const std::optional<std::string> why = file_.wipe_if_over();
  // Closing took its time: access may be back.
  if (!why) return held_.deadline() == HeldKeys::Deadline::sealed;
  const Status ignored = context_.machine.audit("vault.sealed", "vault " + to_hex(header_.id.view()) + ": " + *why);
  static_cast<void>(ignored);  // sealing does not depend on its record
  return true;
}

Result<std::vector<KeyDrill>> KeyringCustody::drill() {
  return drill_keyring(context_, header_, header_digest_, status().fingerprint);
}

}  // namespace vaultfs
