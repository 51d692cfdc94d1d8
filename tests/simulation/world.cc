#include "tests/simulation/world.h"

#include <cstdlib>
#include <utility>

#include "base/thread/stepping.h"

namespace vaultfs::sim {

World::World(std::uint64_t seed)
    : env(seed), key_vault(std::make_shared<CheapKeyVault>(env.clock(), seed)), resolver(key_vault) {
  env.set_observer([this](SimStep kind, const Env::Path& path) {
    step_point("disk");
    numbers.step(kind, path);
  });
  restart_machines();
}

World::~World() { drop_session(); }

Status World::create() {
  key_vault->add_version();
  VaultCreateOptions create;
  create.path = kVaultPath;
  create.key = KeyRef{key_vault->name(), "kek", std::nullopt};
  VAULTFS_RETURN_IF_ERROR(Vault::create(machine(0), create));
  trusted[0] = true;
  return ok_status();
}

Vault::Machine World::machine(std::size_t number) {
  Machine& one = machines_.at(number);
  return {env, *one.state, *one.platform_keys, resolver};
}

VaultEngine::Options World::options(bool read_only) const {
  VaultEngine::Options options;
  options.vault.path = kVaultPath;
  options.vault.read_only = read_only;
  options.background = false;
  options.tree.flush_seconds = 0;
  options.tree.store_workers = 1;
  options.tree.write_buffer_bytes = std::uint64_t{3} << 19U;
  options.tree.frame_cache_bytes = std::uint64_t{1} << 20U;
  return options;
}

Status World::open() {
  VaultEngine::Options owning = options(false);
  owning.background = timers;
  if (timers) owning.tree.flush_seconds = 5;
  const std::vector<Env::Path> before = env.files(kVaultPath);
  auto opened = VaultEngine::open(machine(current_machine), owning);
  numbers.left(before, env.files(kVaultPath));
  VAULTFS_ASSIGN_OR_RETURN(engine, std::move(opened));
  return ok_status();
}

Result<std::unique_ptr<VaultEngine>> World::open_reader(std::size_t number, bool points_suffice) {
  VaultEngine::Options reading = options(true);
  reading.vault.points_suffice = points_suffice;
  return VaultEngine::open(machine(number), reading);
}

void World::drop_session() { engine.reset(); }

void World::restart_machines() {
  for (std::size_t number = 0; number < kMachines; ++number) {
    const Env::Path home = "/home" + std::to_string(number);
    auto state = MachineState::open(env, home);
    if (!state.ok()) std::abort();
    machines_.at(number) = {std::move(*state), std::make_unique<PlatformKeys>(env, home)};
  }
}

void World::kill() {
  env.kill_process();
  if (before_drop) before_drop();
  drop_session();
  restart_machines();
}

void World::lose_power(std::uint64_t seed, CrashMode mode) {
  // The dead engine must not write any more: the crash comes first, its handles are of an earlier boot then.
  const std::vector<Env::Path> before = env.files(kVaultPath);
  env.crash(seed, mode);
  numbers.left(before, env.files(kVaultPath));
  if (before_drop) before_drop();
  drop_session();
  restart_machines();
}

World::Files World::files(const Env::Path& directory) const {
  Files all;
  for (const Env::Path& path : env.files(directory)) all[path] = env.share(path);
  return all;
}

void World::put_back(const Files& files, const Env::Path& directory) {
  for (const Env::Path& path : env.files(directory)) {
    if (!files.contains(path)) env.remove(path);
  }
  for (const auto& [path, bytes] : files) {
    if (path.string().starts_with(directory.string() + "/")) env.put_back(path, bytes);
  }
}

}  // namespace vaultfs::sim
