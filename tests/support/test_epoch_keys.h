#pragma once

#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "store/record/epoch_keys.h"

namespace vaultfs {

// Keys of a vault for tests: always the same for the same arguments, so that containers can be opened after a crash.
// Epochs 1 to `epochs`, of which 1 to `closed` are closed at segment 100.
[[nodiscard]] inline std::unique_ptr<EpochKeys> make_test_keys(Suite suite = Suite::aes_gcm, std::uint64_t epochs = 1,
                                                               std::uint8_t variant = 0, std::uint64_t closed = 0) {
  const auto secret = [variant](std::uint8_t fill) {
    Bytes bytes(32, static_cast<std::byte>(fill));
    bytes[0] = static_cast<std::byte>(variant);
    auto buffer = SecretBuffer::copy_of(bytes);
    if (!buffer.ok()) std::abort();
    return std::move(buffer).value();
  };
  VaultId vault;
  for (std::size_t i = 0; i < VaultId::kSize; ++i) vault.mutable_view()[i] = static_cast<std::byte>(i + 1);
  auto keys = std::make_unique<EpochKeys>(vault, suite);
  std::map<EpochNumber, EpochKeys::Epoch> all;
  for (std::uint64_t epoch = 1; epoch <= epochs; ++epoch) {
    std::optional<ContainerNumber> last_segment;
    if (epoch <= closed) last_segment = ContainerNumber(100);
    all[EpochNumber(epoch)] = {secret(static_cast<std::uint8_t>(0x40 + epoch)), last_segment};
  }
  keys->set(std::move(all), secret(0x21), suite == Suite::aes_gcm ? SecretBuffer() : secret(0x22));
  return keys;
}

}  // namespace vaultfs
