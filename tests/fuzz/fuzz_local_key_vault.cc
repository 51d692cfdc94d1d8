#include <cstdlib>
#include <string>

#include "crypto/keyvault/local/key_file.h"
#include "crypto/keyvault/local/vault_file.h"
#include "tests/fuzz/fuzz_keys.h"
#include "vaultmeta/machine/provider_file.h"

namespace {

using namespace vaultfs;

// People may edit these files, so that the same state has many forms; what is written back must be read as the same.
template <typename File>
void check(std::string_view json, const std::string& name) {
  const auto file = File::decode(json, name, "a file");
  if (!file.ok()) {
    if (file.code() != ErrorCode::DamagedMachineState && file.code() != ErrorCode::UnsupportedFormat) std::abort();
    return;
  }
  const std::string written = file->encode();
  const auto again = File::decode(written, name, "a file");
  if (!again.ok() || again->encode() != written) std::abort();
}

}  // namespace

// The JSON files of a local key vault "office", of its key "backup", and the registration of another "office".
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view json = text_of(fuzz_input(data, size));
  check<LocalKeyFile>(json, "backup");
  check<LocalVaultFile>(json, "office");
  const auto registration = ProviderFile::decode(json, "office", "a file");
  if (registration.ok()) {
    const auto written = registration->encode();
    if (written.ok() && *ProviderFile::decode(*written, "office", "a file") != *registration) std::abort();
  } else if (registration.code() != ErrorCode::DamagedMachineState &&
             registration.code() != ErrorCode::UnsupportedFormat) {
    std::abort();
  }
  return 0;
}
