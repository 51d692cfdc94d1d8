#include "crypto/memory/base64.h"

#include <sodium.h>

namespace vaultfs {
namespace {

constexpr int variant(Base64 form) noexcept {
  return form == Base64::standard_padded ? sodium_base64_VARIANT_ORIGINAL : sodium_base64_VARIANT_URLSAFE_NO_PADDING;
}

template <typename Text>
Text encoded(ByteView bytes, Base64 form) {
  Text text(sodium_base64_encoded_len(bytes.size(), variant(form)), '\0');  // with its end
  sodium_bin2base64(text.data(), text.size(), reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(),
                    variant(form));
  text.pop_back();
  return text;
}

// How many bytes a text stands for, if it is base64.
std::size_t decoded_size(std::string_view text) noexcept {
  for (int padding = 0; padding < 2 && text.ends_with('='); ++padding) text.remove_suffix(1);
  return text.size() / 4 * 3 + text.size() % 4 * 3 / 4;
}

// Fills `out`, which has the decoded size; false if the text is not of the form.
bool decode(std::string_view text, Base64 form, MutableByteView out) noexcept {
  std::size_t size = 0;
  return sodium_base642bin(reinterpret_cast<unsigned char*>(out.data()), out.size(), text.data(), text.size(), nullptr,
                           &size, nullptr, variant(form)) == 0 &&
         size == out.size();
}

bool decode_into(std::string_view text, Base64 form, Bytes& out) {
  Bytes decoded(decoded_size(text));
  const bool good = decode(text, form, decoded);
  if (!good) decoded.clear();
  out = std::move(decoded);
  return good;
}

}  // namespace

std::string to_base64(ByteView bytes) { return encoded<std::string>(bytes, Base64::standard_padded); }

bool from_base64(std::string_view text, Bytes& out) { return decode_into(text, Base64::standard_padded, out); }

LockedText locked_base64(ByteView bytes, Base64 form) { return encoded<LockedText>(bytes, form); }

Result<SecretBuffer> from_locked_base64(std::string_view text, Base64 form) {
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer bytes, SecretBuffer::allocate(decoded_size(text)));
  if (!decode(text, form, bytes.mutable_view())) {
    return Error{ErrorCode::InvalidArgument, "the text is not base64 of the expected form"};
  }
  return bytes;
}

bool is_base64(std::string_view text, Base64 form) {
  Bytes bytes;
  return decode_into(text, form, bytes);
}

}  // namespace vaultfs
