#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/files/env.h"
#include "base/ids.h"
#include "base/result.h"
#include "crypto/aead.h"
#include "store/record/epoch_keys.h"

namespace vaultfs {

// docs/format.md, section 2.1: the kinds of container and the header that every container starts with.
enum class ContainerKind : std::uint8_t {
  segment = 1,
  journal = 2,
  checkpoint = 3,
  manifest = 4,
  activity = 5,
  index = 6,
};

// The version of new containers. Since version 2 every sealed record has a salt, and a key of its own with it.
inline constexpr std::uint16_t kContainerVersion = 2;

// The stored header. Encode and decode check only form and XXH3; whether the keys fit is seen by open_container_cipher.
struct ContainerHeader {
  static constexpr std::size_t kEncodedBytes = 160;
  static constexpr std::size_t kContextBytes = 40;

  std::uint16_t version = kContainerVersion;  // 1 or 2
  ContainerKind kind = ContainerKind::segment;
  Suite suite = Suite::aes_gcm;
  EpochNumber epoch;
  VaultId vault;
  ContainerNumber number;
  std::array<std::byte, 32> salt{};
  Digest commitment;
  Digest outer_commitment;

  [[nodiscard]] Bytes encode() const;
  // Bytes 0–39, bound into the keys and the AAD.
  [[nodiscard]] std::array<std::byte, kContextBytes> context() const;
  // DamagedHeader, or UnsupportedFormat for a newer format version with an intact checksum.
  [[nodiscard]] static Result<ContainerHeader> decode(ByteView bytes);
  // That of a file; also errors of reading.
  [[nodiscard]] static Result<ContainerHeader> read(File& file);
};

// What makes a record's key one of its own: 16 random bytes in the record's header. All zero where there is none: in
// clear records, and in containers of version 1.
using RecordSalt = std::array<std::byte, 16>;

// The one or two ciphers of a container with the context they bind. Immutable and thread-safe; nonces are the caller's.
class ContainerCipher {
 public:
  // The ciphers of one record, which seal and open its frames. Wiped from memory with this object, which must not
  // outlive the container's. As thread-safe as that one.
  class Record {
   public:
    // Seals one frame. `aad_tail` is what follows the context in the AAD. out.size() == content.size() +
    // overhead_bytes().
    [[nodiscard]] Status seal(std::uint64_t nonce_counter, ByteView aad_tail, ByteView content,
                              MutableByteView out) const;
    // AuthenticationFailed if anything differs.
    [[nodiscard]] Status open_frame(std::uint64_t nonce_counter, ByteView aad_tail, ByteView sealed,
                                    MutableByteView out) const;

   private:
    friend class ContainerCipher;
    explicit Record(const ContainerCipher& container) : container_(&container) {}
    const ContainerCipher* container_;
    std::unique_ptr<Aead> own_;  // null in version 1: the container's key is the record's
    RecordSalt salt_{};
  };

  // For a new container under the current epoch: draws the salt and fills `header` (kind, number given).
  [[nodiscard]] static Result<std::unique_ptr<ContainerCipher>> create(Env& env, const EpochKeys& keys,
                                                                       ContainerKind kind, ContainerNumber number,
                                                                       ContainerHeader& header);
  // For a stored one, after checking vault, kind and number against what the caller expects (DamagedHeader), that the
  // epoch may have this segment (EpochClosed) and the commitments (KeyCommitmentMismatch). Records that are sealed with
  // it take their salts from `env`.
  [[nodiscard]] static Result<std::unique_ptr<ContainerCipher>> open(const EpochKeys& keys,
                                                                     const ContainerHeader& header,
                                                                     ContainerKind expected_kind,
                                                                     ContainerNumber expected_number,
                                                                     Env& env = posix_env());
  ContainerCipher(const ContainerCipher&) = delete;
  ContainerCipher& operator=(const ContainerCipher&) = delete;
  ~ContainerCipher();
  // How many there are in this process. A vault whose keys were wiped has none.
  [[nodiscard]] static std::size_t alive() noexcept;

  // 16 bytes a layer.
  [[nodiscard]] std::size_t overhead_bytes() const noexcept;
  [[nodiscard]] std::uint16_t version() const noexcept;
  // For a record to be sealed: drawn anew at each call, never zero; zero in version 1.
  [[nodiscard]] RecordSalt fresh_salt() const;
  // DamagedRecord if the salt is not one that a record of this version has.
  [[nodiscard]] Result<Record> record(const RecordSalt& salt) const;

 private:
  struct State;
  explicit ContainerCipher(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace vaultfs
