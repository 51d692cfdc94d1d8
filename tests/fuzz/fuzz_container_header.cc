#include <algorithm>
#include <cstdlib>

#include "store/record/checksum.h"
#include "store/record/container.h"
#include "store/record/file_origin.h"
#include "tests/fuzz/fuzz_keys.h"

// The header of a container, with the checksum that its bytes should have: so that its fields are looked at. What is
// taken must encode to the same bytes, and its keys must be found or refused cleanly.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vaultfs;
  constexpr std::size_t kChecked = 144;
  Bytes file = to_bytes(fuzz_input(data, size));
  if (ContainerHeader::decode(file).ok() && file.size() < ContainerHeader::kEncodedBytes) std::abort();
  if (file.size() < ContainerHeader::kEncodedBytes) return 0;
  const auto checksum = checksum128(ByteView(file).first(kChecked));
  std::ranges::copy(checksum, file.begin() + kChecked);
  const auto header = ContainerHeader::decode(file);
  if (!header.ok()) {
    if (header.code() != ErrorCode::DamagedHeader && header.code() != ErrorCode::UnsupportedFormat) std::abort();
    return 0;
  }
  if (!bytes_equal(header->encode(), ByteView(file).first(ContainerHeader::kEncodedBytes))) std::abort();
  const auto cipher = ContainerCipher::open(fuzz_keys(), *header, header->kind, header->number);
  if (!cipher.ok() && !is_integrity_error(cipher.code())) std::abort();
  if (ContainerCipher::open(fuzz_keys(), *header, header->kind, header->number.next()).ok()) std::abort();
  return 0;
}
