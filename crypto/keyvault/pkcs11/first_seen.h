#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/files/env.h"
#include "base/result.h"
#include "base/thread/mutex.h"

namespace vaultfs {

// One version of one key, and when this machine first saw it.
struct Pkcs11Sighting {
  std::string key;
  std::string version;
  std::int64_t unix_seconds = 0;
  bool operator==(const Pkcs11Sighting&) const = default;
};

// The order in which versions were first seen: tokens keep no time of creation. Entries are only ever added, so that a
// version that goes and comes back keeps its place.
struct Pkcs11SightingList {
  std::vector<Pkcs11Sighting> entries;  // in the order of sighting

  // The index of an entry, or -1.
  [[nodiscard]] std::ptrdiff_t find(std::string_view key, std::string_view version) const noexcept;
  // Adds what is missing, in the order given; no entry gets an earlier time than one of the same key before it, also if
  // the clock went back. True if something was added.
  bool add(const std::string& key, const std::vector<std::string>& versions, std::int64_t now);

  // {"format":1,"versions":[{"key","version","first_seen"},…]}; decode gives DamagedMachineState naming `path` (also
  // for a version that is there twice), UnsupportedFormat.
  [[nodiscard]] std::string encode() const;
  [[nodiscard]] static Result<Pkcs11SightingList> decode(std::string_view json, const std::string& path);
};

// DIRECTORY/pkcs11-first-seen.json, replaced durably under the lock DIRECTORY/pkcs11-first-seen.lock, so that the
// processes of a machine agree. Thread-safe.
class Pkcs11FirstSeen {
 public:
  Pkcs11FirstSeen(Env& env, std::filesystem::path directory) : env_(env), directory_(std::move(directory)) {}

  // The sightings of these versions of a key: of the new ones too, which are recorded first, durably, in the order
  // given, as long as the file has at most 16 MiB. IoError, NoSpace, VaultBusy (another process keeps the lock for 30
  // s), or what decode gives.
  [[nodiscard]] Result<Pkcs11SightingList> see(const std::string& key, const std::vector<std::string>& versions);

 private:
  [[nodiscard]] Result<Pkcs11SightingList> read();
  [[nodiscard]] std::filesystem::path path() const { return directory_ / "pkcs11-first-seen.json"; }

  Env& env_;
  const std::filesystem::path directory_;
  // Serialises the threads of this process, before the file lock serialises processes.
  Mutex change_mutex_;
};

}  // namespace vaultfs
