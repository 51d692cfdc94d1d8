#include <cstdlib>
#include <string>

#include "crypto/keyvault/pkcs11/options.h"
#include "tests/fuzz/fuzz_keys.h"

// A PKCS#11 URI. What is taken names a token by fields of its own length, and what is refused is told in one line that
// no terminal obeys.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vaultfs;
  const std::string text(text_of(fuzz_input(data, size)));
  const auto uri = parse_pkcs11_uri(text);
  if (!uri.ok()) {
    if (uri.code() != ErrorCode::InvalidArgument) std::abort();
    for (const char c : uri.error().message) {
      if (c < 0x20 || c > 0x7e) std::abort();
    }
    return 0;
  }
  if (uri->token.label.empty() && uri->token.serial.empty()) std::abort();
  if (uri->token.label.size() > 32 || uri->token.serial.size() > 16) std::abort();
  // As an option it is taken just so, if it names a module.
  const auto options = Pkcs11Options::parse({{"uri", text}});
  if (options.ok() && (options->token != uri->token || options->module != uri->module_path)) std::abort();
  return 0;
}
