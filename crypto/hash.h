#pragma once

#include <initializer_list>
#include <memory>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "crypto/memory/secret_buffer.h"

namespace vaultfs {

// SHA-256 (FIPS 180-4) of the parts, one after another.
[[nodiscard]] Digest sha256(std::initializer_list<ByteView> parts);
[[nodiscard]] inline Digest sha256(ByteView bytes) { return sha256({bytes}); }

// SHA-256 (FIPS 180-4) of bytes that come piece by piece and are no secret: its state lies in ordinary memory. Not
// thread-safe.
class Sha256Stream {
 public:
  Sha256Stream();
  Sha256Stream(const Sha256Stream&) = delete;
  Sha256Stream& operator=(const Sha256Stream&) = delete;
  ~Sha256Stream();
  void add(ByteView bytes);
  // Of everything added so far; more may follow.
  [[nodiscard]] Digest digest() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// HMAC-SHA-256 (RFC 2104, FIPS 198-1) of the parts, one after another.
[[nodiscard]] Digest hmac_sha256(ByteView key, std::initializer_list<ByteView> parts);

// HKDF-SHA-256's expand alone (RFC 5869, section 2.3), of a pseudorandom key of 32 bytes or more, into 32 bytes: one
// block. `info` is the parts, one after another.
void hkdf_expand_sha256(ByteView pseudorandom_key, std::initializer_list<ByteView> info, MutableByteView out);

// HKDF-SHA-256 (RFC 5869), extract and expand; 1 to 8160 bytes.
[[nodiscard]] Result<SecretBuffer> hkdf_sha256(ByteView input_key, ByteView salt, ByteView info, std::size_t size);

}  // namespace vaultfs
