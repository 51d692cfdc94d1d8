#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string_view>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

// Runs each file of the given folders through the fuzz target, whole and (without --whole) cut and with bits turned
// over.
int main(int argc, char** argv) {
  std::size_t files = 0;
  bool only_whole = false;
  for (int i = 1; i < argc; ++i) {
    if (std::string_view(argv[i]) == "--whole") {
      only_whole = true;
      continue;
    }
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) {
      std::ifstream in(entry.path(), std::ios::binary);
      std::vector<std::uint8_t> bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
      LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
      ++files;
      if (only_whole) continue;
      for (std::size_t size = 0; size < bytes.size(); size += 1 + bytes.size() / 64) {
        LLVMFuzzerTestOneInput(bytes.data(), size);
      }
      for (std::size_t at = 0; at < bytes.size(); at += 1 + bytes.size() / 512) {
        bytes[at] ^= static_cast<std::uint8_t>(1U << (at % 8));
        LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
        bytes[at] ^= static_cast<std::uint8_t>(1U << (at % 8));
      }
    }
  }
  if (files == 0) {
    std::fprintf(stderr, "no corpus file found\n");
    return 1;
  }
  std::printf("%zu corpus files\n", files);
  return 0;
}
