// Operations on files of a real engine, against the simulator's model: the input is a history (operation.h) in bytes.
//
//   byte 0  seed of the disk, and of which thread goes on      byte 1  how often another thread goes on
// Then each operation: a byte that chooses it, and what it needs. Offsets are two bytes: around the start, around the
// end of the first chunk, around that of the second, by their two highest bits.
#include <array>
#include <cstdio>
#include <cstdlib>

#include "tests/fuzz/fuzz_bytes.h"
#include "tests/simulation/history.h"

namespace {

using namespace vaultfs;
using sim::Kind;
using sim::Operation;

// So that an input takes well below a second.
constexpr std::size_t kMostOperations = 80;
constexpr std::uint64_t kChunk = std::uint64_t{1} << 20U;

std::uint64_t offset(FuzzBytes& input) {
  constexpr std::uint64_t kWithin = 1U << 14U;
  const std::uint64_t number = input.number(2);
  const std::uint64_t within = number % kWithin;
  switch (number / kWithin) {
    case 0:
      return within;
    case 1:
      return within * 16;
    case 2:
      return kChunk - kWithin / 2 + within;
    default:
      return 2 * kChunk - kWithin / 2 + within;
  }
}

std::uint64_t length(FuzzBytes& input) {
  const std::uint64_t number = input.number(2);
  // Mostly small; one in 16 over whole chunks.
  return 1 + (number % 16 == 15 ? number * 32 : number % 24'000);
}

Operation decode_operation(FuzzBytes& input) {
  constexpr std::array kKinds{Kind::write,      Kind::write,       Kind::write,  Kind::append,     Kind::truncate,
                              Kind::punch,      Kind::zero,        Kind::rename, Kind::link,       Kind::unlink,
                              Kind::copy,       Kind::read,        Kind::fsync,  Kind::sync_all,   Kind::commit,
                              Kind::checkpoint, Kind::close,       Kind::kill,   Kind::power_loss, Kind::fail_sync,
                              Kind::fail_write, Kind::break_after, Kind::beside, Kind::reader};
  Operation made;
  made.kind = kKinds[input.below(kKinds.size())];
  const std::uint64_t where = input.byte();
  const std::uint64_t item = where >> 7U;
  const std::uint64_t file = where % 3;
  const std::uint64_t other = where / 3 % 3;
  switch (made.kind) {
    case Kind::write: {
      const std::uint64_t at = offset(input);
      const std::uint64_t size = length(input);
      return {made.kind, item, file, at, size, input.below(8)};
    }
    case Kind::append: {
      const std::uint64_t size = length(input);
      return {made.kind, item, file, size, input.below(8)};
    }
    case Kind::truncate:
      return {made.kind, item, file, offset(input)};
    case Kind::punch:
    case Kind::zero: {
      const std::uint64_t at = offset(input);
      return {made.kind, item, file, at, length(input)};
    }
    case Kind::rename:
      return {made.kind, item, file, other, input.below(2)};
    case Kind::copy: {
      const std::uint64_t at = offset(input);
      return {made.kind, item, file, other, at, length(input) * 4};
    }
    case Kind::power_loss:
      return {made.kind, where % 3, input.byte()};
    case Kind::fail_sync:
    case Kind::fail_write:
      return {made.kind, 1 + where % 3};
    case Kind::break_after:
      return {made.kind, where, input.below(3), input.byte()};
    case Kind::beside:
      return {made.kind, where % 6, item, 1 + where / 6 % 6};
    case Kind::reader:
      return {made.kind, 0};
    default:
      return {made.kind, item, file, other};
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzBytes input(data, size);
  sim::History history;
  history.seed = input.byte();
  constexpr std::array<std::uint32_t, 4> kSwitches{0, 128, 1024, 8192};
  history.switches = kSwitches[input.below(kSwitches.size())];
  while (!input.empty() && history.operations.size() < kMostOperations) {
    history.operations.push_back(decode_operation(input));
  }
  const sim::Outcome outcome = sim::play(history);
  if (!outcome.finding) return 0;
  std::fprintf(stderr, "FINDING %s\nthe history, for simulate --replay:\n%s", outcome.finding->c_str(),
               history.text().c_str());
  std::abort();
}
