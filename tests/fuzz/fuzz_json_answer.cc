#include <algorithm>
#include <cstdlib>
#include <string>

#include "crypto/keyvault/http/json_answer.h"
#include "crypto/keyvault/http/json_reader.h"
#include "tests/fuzz/fuzz_keys.h"

namespace {

using namespace vaultfs;

constexpr std::size_t kDepth = 8;
constexpr std::size_t kValues = 200;

void require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

// The reader of key vaults' answers against the library's parser: the same texts are JSON, and mean the same.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = text_of(fuzz_input(data, size));
  const auto mine = JsonReader(text, kDepth, kValues).read();
  const AnswerJson library = AnswerJson::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (mine) {
    require(*mine == library && mine->type() == library.type());
    return 0;
  }
  // What the library takes and the reader does not is beyond a limit, or ends at a zero byte for the library.
  const auto opening = std::ranges::count_if(text, [](char c) { return c == '[' || c == '{'; });
  const auto values = opening + std::ranges::count(text, ',') + 1;
  require(library.is_discarded() || text.find('\0') != std::string_view::npos ||
          opening > static_cast<std::ptrdiff_t>(kDepth) || values > static_cast<std::ptrdiff_t>(kValues));
  return 0;
}
