#include <cstdlib>
#include <span>
#include <string>

#include "crypto/keyvault/kmip/messages.h"
#include "crypto/keyvault/kmip/wrap_format.h"

namespace {

using namespace vaultfs;

constexpr std::size_t kDataBytes = 32;  // of the corpus's messages
constexpr std::string_view kId = "9";

void check_printable(const std::string& text) {
  for (const char c : text) {
    if (c < 0x20 || c > 0x7e) std::abort();
  }
}

// Every failure is one of the two that the decoders promise, in words that no terminal obeys.
template <typename T>
bool check(const Result<T>& result) {
  if (result.ok()) return true;
  const ErrorCode code = result.code();
  if (code != ErrorCode::KeyVaultUnavailable && code != ErrorCode::NotSupportedByProvider) std::abort();
  check_printable(result.error().message);
  return false;
}

void check_payload(const TtlvStructure& payload) {
  const auto located = decode_kmip_located(payload);
  if (check(located)) {
    if (located->size() > kKmipObjectLimit) std::abort();
    for (const std::string& id : *located) {
      if (!is_kmip_identifier(id)) std::abort();
    }
  }
  const auto created = decode_kmip_created(payload);
  if (check(created) && !is_kmip_identifier(*created)) std::abort();
  check(decode_kmip_done(payload, kId));
  check(decode_kmip_attributes(payload, kId));
  const auto sealed = decode_kmip_encrypted(payload, kId, {}, kDataBytes);
  if (check(sealed)) {
    const auto again = decode_kmip_wrap(encode_kmip_wrap(*sealed));
    if (!again.ok() || again->tag != sealed->tag || again->ciphertext != sealed->ciphertext) std::abort();
  }
  check(decode_kmip_decrypted(payload, kId, kDataBytes));
}

}  // namespace

// An answer of a KMIP server, to each of the operations; and wrapped bytes.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView input = std::as_bytes(std::span(data, size));
  for (const KmipOperation operation :
       {KmipOperation::create, KmipOperation::locate, KmipOperation::get_attributes, KmipOperation::activate,
        KmipOperation::destroy, KmipOperation::encrypt, KmipOperation::decrypt}) {
    const auto answer = decode_kmip_answer(input, operation);
    if (!check(answer)) continue;
    if (answer->refusal) {
      check_printable(answer->refusal->message);
    } else {
      check_payload(answer->payload);
    }
  }
  const auto wrapped = decode_kmip_wrap(input);
  if (wrapped.ok() && !bytes_equal(encode_kmip_wrap(*wrapped), input)) std::abort();
  return 0;
}
