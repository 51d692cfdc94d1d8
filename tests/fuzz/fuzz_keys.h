#pragma once

#include <cstdlib>
#include <map>
#include <utility>

#include "store/record/epoch_keys.h"

namespace vaultfs {

// The keys of docs/format.md's worked example, so that its bytes are a seed that opens.
inline const EpochKeys& fuzz_keys() {
  static const EpochKeys* const keys = [] {
    const auto counting = [](std::uint8_t first) {
      Bytes bytes(32);
      for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(first + i);
      auto secret = SecretBuffer::copy_of(bytes);
      if (!secret.ok()) std::abort();
      return std::move(secret).value();
    };
    VaultId vault;
    for (std::size_t i = 0; i < VaultId::kSize; ++i) vault.data()[i] = static_cast<std::byte>(0x60 + i);
    auto* made = new EpochKeys(vault, Suite::aes_gcm);
    std::map<EpochNumber, EpochKeys::Epoch> epochs;
    epochs[EpochNumber(1)] = {counting(0x00), std::nullopt};
    made->set(std::move(epochs), counting(0x20), SecretBuffer());
    return made;
  }();
  return *keys;
}

inline ByteView fuzz_input(const std::uint8_t* data, std::size_t size) { return std::as_bytes(std::span(data, size)); }

}  // namespace vaultfs
