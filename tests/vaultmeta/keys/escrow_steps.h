#pragma once

#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "crypto/hash.h"
#include "tests/support/assert_ok.h"
#include "tests/vaultmeta/keys/custody_steps.h"

namespace vaultfs {

// Two owners' keys for the whole process: making one takes long.
inline const RsaKey& escrow_key(int which = 0) {
  static const std::array<std::unique_ptr<RsaKey>, 2> kKeys{std::move(RsaKey::generate(2048)).value(),
                                                            std::move(RsaKey::generate(2048)).value()};
  return *kKeys.at(static_cast<std::size_t>(which));
}
inline Bytes public_of(const RsaKey& key) { return key.public_der().value(); }

inline ClosedKeyring newest_closed(const CustodyWorld& world) {
  return std::move(ClosedKeyring::decode(world.env.read(world.keyring_files().back()))).value();
}

using Refusal = std::optional<ErrorCode>;
inline constexpr Refusal kOpens = std::nullopt;

template <typename T>
Refusal refusal(const Result<T>& result) {
  return result.ok() ? std::nullopt : Refusal(result.code());
}

// A changed keyring file, with the digest at its end made to match.
inline void with_repaired_digest(CustodyWorld& world, const Env::Path& file, Bytes bytes) {
  const Digest digest = sha256(ByteView(bytes).first(bytes.size() - Digest::kSize));
  std::copy(digest.view().begin(), digest.view().end(), bytes.end() - static_cast<std::ptrdiff_t>(Digest::kSize));
  world.env.write(file, bytes);
}

// Opened by its owner with the escrow key, as recover_vault() does.
inline Status open_to_recover(CustodyWorld& world) {
  world.close();
  VAULTFS_ASSIGN_OR_RETURN(world.custody,
                           KeyCustody::open(world.context(), world.header, world.header_digest, false, &escrow_key()));
  world.host = std::make_unique<FakeHost>(world.env, *world.custody);
  world.custody->attach(*world.host);
  world.custody->record_update_of_before();
  return ok_status();
}

// REQUIRES: the key vault "spare" has the key "new".
inline Status recover_under_a_new_key(CustodyWorld& world) {
  return world.custody->recover({KeyRef::parse("spare/new").value(), std::nullopt});
}

// A vault on the machine's list, opened by its escrow key, and a key vault to recover it to.
class RecoveryWorld : public CustodyWorld {
 public:
  RecoveryWorld() {
    create();
    EXPECT_TRUE(machine->register_vault({header.id, "/vault", "kv", "kek", first()}).ok());
    EXPECT_TRUE(custody->set_escrow(public_of(escrow_key())).ok());
    spare = std::make_shared<FakeKeyVault>("spare", env.clock());
    recovered = {"spare", "new", spare->add_version("new")};
    resolver.add(spare);
    EXPECT_TRUE(open_to_recover(*this).ok());
  }
  [[nodiscard]] std::vector<RegisteredKey> first() const { return {{"kv", "kek", v1}}; }

  std::shared_ptr<FakeKeyVault> spare;
  RegisteredKey recovered;  // the version of spare/new
};

// The newest keyring of /vault once more, changed by somebody who has its key: as the direct successor, which counts as
// an interrupted change. REQUIRES: escrow_key() is its recipient, and no version is Retiring.
inline void rewrite_newest(SimEnv& env, const std::function<void(Keyring&)>& edit) {
  std::vector<Env::Path> files = env.files("/vault/keyrings");
  std::erase_if(files, [](const Env::Path& file) { return file.extension() != ".keyring"; });
  const Bytes bytes = env.read(files.back());
  const auto closed = ClosedKeyring::decode(bytes);
  ASSERT_OK(closed);
  const auto key = unwrap_by_escrow(closed->vault, closed->escrow, escrow_key());
  ASSERT_OK(key);
  auto keyring = open_keyring(bytes, *key);
  ASSERT_OK(keyring);
  keyring->predecessor = sha256(bytes);
  keyring->generation = keyring->generation.next();
  edit(*keyring);
  const auto written = keyring->seal(*key);
  ASSERT_OK(written);
  env.write("/vault/" + keyring_blob_name(keyring->generation), *written);
}

// As programs wrote it that knew no place for the infrastructure key.
inline void make_version_2(SimEnv& env) {
  rewrite_newest(env, [](Keyring& keyring) { keyring.escrow->wrapped_infrastructure_key.clear(); });
}

}  // namespace vaultfs
