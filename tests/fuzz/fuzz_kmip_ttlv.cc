#include <cstdlib>
#include <span>

#include "crypto/keyvault/kmip/ttlv.h"

namespace {

using namespace vaultfs;

constexpr int kDepth = 16;

void check_inside(ByteView inner, ByteView outer) {
  if (inner.empty()) return;
  if (inner.data() < outer.data() || inner.data() + inner.size() > outer.data() + outer.size()) std::abort();
}

// Every value lies within what holds it, and exactly one type reads it.
void walk(const TtlvStructure& structure, ByteView outer, int depth) {
  std::size_t size = 0;
  for (const TtlvItem& item : structure.items()) {
    check_inside(item.value, outer);
    size += kTtlvHeaderBytes + (item.value.size() + 7) / 8 * 8;
    const int readers = (item.integer().ok() ? 1 : 0) + (item.enumeration().ok() ? 1 : 0) +
                        (item.date_time().ok() ? 1 : 0) + (item.text().ok() ? 1 : 0) + (item.bytes().ok() ? 1 : 0);
    if (readers > 1 || (item.type == TtlvType::structure && readers != 0)) std::abort();
    const auto inner = TtlvStructure::decode_items(item);
    if (inner.ok() && item.type != TtlvType::structure) std::abort();
    if (inner.ok() && depth > 0) walk(*inner, item.value, depth - 1);
  }
  if (size != outer.size()) std::abort();
}

}  // namespace

// A TTLV message, request or answer.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView input = std::as_bytes(std::span(data, size));
  for (const KmipTag tag : {KmipTag::request_message, KmipTag::response_message}) {
    const auto message = TtlvStructure::decode(input, tag);
    if (message.ok()) {
      walk(*message, input.subspan(kTtlvHeaderBytes), kDepth);
    } else if (message.code() != ErrorCode::KeyVaultUnavailable) {
      std::abort();
    }
  }
  if (size >= kTtlvHeaderBytes) {
    constexpr std::size_t kLimit = 4096;
    const auto announced = kmip_message_size(input.first(kTtlvHeaderBytes), kLimit);
    if (announced.ok() && (*announced < kTtlvHeaderBytes || *announced > kLimit)) std::abort();
  }
  return 0;
}
