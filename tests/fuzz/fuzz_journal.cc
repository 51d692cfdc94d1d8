// Replays any bytes as the only journal of a vault with fixed keys. Two kinds of input: as they are, and (first byte
// odd) behind an authentic header and first record, so that the rest of the reader is reached.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "store/journal/journal.h"
#include "tests/support/sim_env.h"
#include "tests/support/test_epoch_keys.h"

namespace {

constexpr const char* kDirectory = "/journal";
constexpr const char* kFile = "/journal/0000000000000001.journal";

const vaultfs::EpochKeys& keys() {
  static const auto keys = vaultfs::make_test_keys();
  return *keys;
}

// Header, first record, one record with two entries.
const vaultfs::Bytes& authentic_start() {
  static const vaultfs::Bytes start = [] {
    vaultfs::SimEnv env(1);
    env.make_directories(kDirectory);
    auto journal = vaultfs::Journal::create(env, kDirectory, keys(), {vaultfs::ContainerNumber(1), {}, {}, {}}, {}, {});
    if (!journal.ok()) std::abort();
    for (const char* text : {"one", "two"}) {
      if (!(*journal)->append(vaultfs::EntryOwner::tree, vaultfs::to_bytes(vaultfs::bytes_of(text))).ok()) std::abort();
    }
    if (!(*journal)->commit().ok()) std::abort();
    return env.read(kFile);
  }();
  return start;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const vaultfs::ByteView input = std::as_bytes(std::span(data, size)).subspan(1);
  const bool continued = (data[0] & 1U) != 0;
  vaultfs::Bytes file;
  if (continued) file = authentic_start();
  file.insert(file.end(), input.begin(), input.end());
  vaultfs::SimEnv env(1);
  env.write(kFile, file);
  std::uint64_t entries = 0;
  vaultfs::Lsn last;
  const auto outcome = vaultfs::replay_journals(env, kDirectory, keys(), vaultfs::JournalReplayRange(),
                                                [&](vaultfs::Lsn lsn, vaultfs::EntryOwner, vaultfs::ByteView) {
                                                  if (lsn <= last) std::abort();
                                                  last = lsn;
                                                  ++entries;
                                                  return vaultfs::ok_status();
                                                });
  // Nobody without the keys can add an entry or take a committed one away unnoticed.
  if (continued && entries != 2) std::abort();
  if (!outcome.ok() && !vaultfs::is_integrity_error(outcome.code()) &&
      outcome.code() != vaultfs::ErrorCode::UnsupportedFormat) {
    std::abort();
  }
  return 0;
}
