#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "store/blobs/blob_store.h"
#include "tests/support/fake_key_vault.h"
#include "tests/support/sim_env.h"
#include "vaultmeta/keys/key_custody.h"

namespace vaultfs {

// What a vault is for its key custody, as little as needed: LSNs, segments, heads. A head is the generation and digest
// of the keyring in a file of the simulated disk, replaced durably.
class FakeHost final : public KeyChangeHost {
 public:
  FakeHost(SimEnv& env, KeyCustody& custody) : env_(env), custody_(custody) {}
  Lsn next_lsn() override { return lsn; }
  ContainerNumber highest_segment() override { return segment; }
  Status roll_containers() override;
  Status write_head() override;
  UnixNanos newest_time() override { return newest; }
  JobNumber next_job() override { return JobNumber(++jobs); }
  void record_key_change(JobNumber job, const std::string& what, const std::string& version,
                         const Error* failure) override;
  void reserve_job(JobNumber number) override { jobs = std::max(jobs, number.value); }
  void ensure_recorded(const KeyUpdate& update) override;
  void record_setting(const std::string& what, const std::string& subject) override;

  Lsn lsn{100};
  ContainerNumber segment{7};
  bool fail_head = false;
  bool fail_roll = false;
  bool grows_while_rolling = false;  // a segment is begun between the last look and the roll
  int rolls = 0;
  int heads = 0;
  UnixNanos newest;                    // what the vault around knows
  std::uint64_t jobs = 1;              // the newest job's number
  std::vector<std::uint64_t> numbers;  // of `changes`
  std::vector<KeyUpdate> found;        // what the keyring held when it was attached
  std::vector<std::string> changes;    // "key.take-effect VERSION ok" or "… ErrorName"

 private:
  SimEnv& env_;
  KeyCustody& custody_;
};

// A machine with a simulated disk, the key vault "kv" with the key "kek", and one vault at /vault.
class CustodyWorld {
 public:
  CustodyWorld();

  // Creates the vault; aborts on failure. Without `key`: platform-managed.
  void create(const std::optional<std::string>& key = "kv/kek", Suite suite = Suite::aes_gcm);
  // Opens the vault as its owner would: custody and host.
  Status open(bool read_only = false);
  void close();
  // The generation and digest in the newest head, if there is one.
  [[nodiscard]] std::optional<std::pair<Generation, Digest>> head() const;
  [[nodiscard]] KeyCustody::Context context() { return {env, *blobs, *machine, *platform_keys, resolver, "/vault"}; }
  // Oldest first; without what an interrupted write left.
  [[nodiscard]] std::vector<Env::Path> keyring_files() const;
  [[nodiscard]] VersionRole role(const std::string& version) const;
  [[nodiscard]] std::vector<std::string> versions_with(VersionRole role) const;
  // What the machine's list names. REQUIRES: one vault is registered.
  [[nodiscard]] std::vector<RegisteredKey> needed() const { return machine->registrations()->front().needed.value(); }

  SimEnv env;
  FakeResolver resolver;
  std::shared_ptr<FakeKeyVault> kv;
  std::unique_ptr<MachineState> machine;
  std::unique_ptr<PlatformKeys> platform_keys;
  std::unique_ptr<BlobStore> blobs;
  VaultHeader header;
  Digest header_digest;
  std::unique_ptr<KeyCustody> custody;
  std::unique_ptr<FakeHost> host;
  std::string v1;  // the first version of kv/kek
};

}  // namespace vaultfs
