#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fs/engine/vault_engine.h"
#include "tests/simulation/cheap_key_vault.h"
#include "tests/simulation/numbers.h"
#include "tests/support/sim_env.h"
#include "vaultmeta/vault/vault.h"

namespace vaultfs::sim {

inline constexpr std::size_t kMachines = 2;
inline constexpr const char* kVaultPath = "/vault";

// A disk in memory with a vault on it, machines that know the vault (each with a home and a pin of its own), the key
// vault that they ask, and at most one engine of an owner.
class World {
 public:
  explicit World(std::uint64_t seed);
  World(const World&) = delete;
  World& operator=(const World&) = delete;
  ~World();

  // Makes the vault, under the key vault's key, from machine 0.
  [[nodiscard]] Status create();
  [[nodiscard]] Vault::Machine machine(std::size_t number);
  [[nodiscard]] VaultEngine::Options options(bool read_only) const;

  // As owner, from the current machine.
  [[nodiscard]] Status open();
  [[nodiscard]] Result<std::unique_ptr<VaultEngine>> open_reader(std::size_t machine, bool points_suffice = false);
  // The engine ends as a process does that is killed.
  void drop_session();
  // Called between the death of a engine's files and its end: who uses it in another thread must be done first.
  std::function<void()> before_drop;
  bool timers = false;
  // After a crash, and where files of the homes were put back: nothing is known but what the disk has.
  void restart_machines();
  void kill();
  void lose_power(std::uint64_t seed, CrashMode mode);

  // All files below the vault, or below everything.
  using Files = std::map<Env::Path, std::shared_ptr<const Bytes>>;
  [[nodiscard]] Files files(const Env::Path& directory = kVaultPath) const;
  void put_back(const Files& files, const Env::Path& directory = kVaultPath);

  SimEnv env;
  std::shared_ptr<CheapKeyVault> key_vault;
  CheapResolver resolver;
  Numbers numbers;  // that files of the vault were given
  std::unique_ptr<VaultEngine> engine;
  std::size_t current_machine = 0;
  std::array<bool, kMachines> trusted{};  // has a pin of the vault

 private:
  struct Machine {
    std::unique_ptr<MachineState> state;
    std::unique_ptr<PlatformKeys> platform_keys;
  };
  std::array<Machine, kMachines> machines_;
};

}  // namespace vaultfs::sim
