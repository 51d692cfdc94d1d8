#include <cstdlib>
#include <string>

#include "crypto/keyvault/pkcs11/first_seen.h"
#include "crypto/keyvault/pkcs11/pin.h"
#include "tests/fuzz/fuzz_keys.h"

namespace {

using namespace vaultfs;

// People may edit these files, so that the same state has many forms; what is written back must be read as the same.
template <typename File>
void check(std::string_view json) {
  const auto file = File::decode(json, "a file");
  if (!file.ok()) {
    if (file.code() != ErrorCode::DamagedMachineState && file.code() != ErrorCode::UnsupportedFormat) std::abort();
    return;
  }
  const std::string written = file->encode();
  const auto again = File::decode(written, "a file");
  if (!again.ok() || again->encode() != written) std::abort();
}

}  // namespace

// The JSON files that a PKCS#11 key vault keeps: versions first seen, and the PIN that was refused.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view json = text_of(fuzz_input(data, size));
  check<Pkcs11SightingList>(json);
  check<Pkcs11RefusedPin>(json);
  return 0;
}
