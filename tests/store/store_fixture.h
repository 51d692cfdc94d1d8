#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "crypto/chunk_id.h"
#include "store/blobs/blob_store.h"
#include "store/index/chunk_index.h"
#include "store/record/epoch_keys.h"
#include "store/segment/segment_store.h"
#include "tests/support/sim_env.h"

namespace vaultfs {

// `size` bytes that do not compress, the same for a seed.
inline Bytes random_content(std::size_t size, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  Bytes out(size);
  for (std::byte& b : out) b = static_cast<std::byte>(random() & 0xffU);
  return out;
}

// `size` bytes that compress well, different for each seed.
inline Bytes text_content(std::size_t size, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  static constexpr std::string_view kWords[] = {"segment ", "record ",   "frame ", "chunk ",
                                                "footer ",  "journal\n", "0042 "};
  std::string text;
  while (text.size() < size) text += kWords[random() % 7];
  text.resize(size);
  return to_bytes(bytes_of(text));
}

inline SecretBuffer test_secret(std::uint8_t fill) {
  const Bytes bytes(32, static_cast<std::byte>(fill));
  auto secret = SecretBuffer::copy_of(bytes);
  if (!secret.ok()) std::abort();
  return std::move(secret).value();
}

inline VaultId test_vault_id(std::uint8_t fill = 0x5a) {
  VaultId id;
  for (std::byte& b : id.mutable_view()) b = static_cast<std::byte>(fill);
  return id;
}

// Epochs 1 … `epochs` with fixed keys; epoch e's key depends on `seed` and e.
inline void fill_keys(EpochKeys& keys, std::uint64_t epochs = 1,
                      std::optional<ContainerNumber> first_ends_at = std::nullopt, std::uint8_t seed = 0x10) {
  std::map<EpochNumber, EpochKeys::Epoch> all;
  for (std::uint64_t e = 1; e <= epochs; ++e) {
    all[EpochNumber(e)] = {test_secret(static_cast<std::uint8_t>(seed + e)),
                           e == 1 ? first_ends_at : std::optional<ContainerNumber>()};
  }
  keys.set(std::move(all), test_secret(0xc1), test_secret(0xf1));
}

inline ChunkId test_chunk_id(RecordType type, ByteView content) {
  const SecretBuffer key = test_secret(0xc1);
  return chunk_id(key, static_cast<std::uint8_t>(type), content);
}

// A vault's directory on a simulated disk, with the store over it.
class TestVault {
 public:
  explicit TestVault(Suite suite = Suite::aes_gcm, std::uint64_t seed = 1) : env(seed), keys(test_vault_id(), suite) {
    fill_keys(keys);
    env.make_directories("/vault/segments");
    env.make_directories("/vault/index");
    blobs = make_directory_blob_store(env, "/vault");
    options.segment_bytes = 4 * 1024 * 1024;
    newest_head.generation = Generation(1);
    options.known_head = [this](const IndexHead& head) {
      return head == newest_head ? std::optional(highest_segment) : std::nullopt;
    };
  }

  // Opens the store (anew); recovery has what was found.
  [[nodiscard]] Status open() {
    store.reset();
    recovery = {};
    auto opened = SegmentStore::open(env, "/vault", *blobs, keys, options, recovery);
    if (!opened.ok()) return opened.error();
    store = std::move(opened).value();
    return ok_status();
  }
  [[nodiscard]] Status close_and_save() {
    VAULTFS_RETURN_IF_ERROR(store->close_segment());
    VAULTFS_RETURN_IF_ERROR(save_index());
    store.reset();
    return ok_status();
  }
  // As a vault whose only head is `newest_head`.
  [[nodiscard]] Status save_index() { return store->save_index(newest_head); }
  ChunkId must_put(ByteView content, RecordType type = RecordType::chunk) {
    const auto outcome = store->put(type, content);
    EXPECT_TRUE(outcome.ok()) << outcome.error().message;
    return outcome.ok() ? outcome->id : ChunkId();
  }
  // The whole chunk, or the error.
  [[nodiscard]] Result<Bytes> get(const ChunkId& id) {
    VAULTFS_ASSIGN_OR_RETURN(const std::uint32_t size, store->length(id));
    Bytes out(size);
    VAULTFS_RETURN_IF_ERROR(store->read(id, 0, out));
    return out;
  }

  SimEnv env;
  EpochKeys keys;
  std::unique_ptr<BlobStore> blobs;
  SegmentStore::Options options;
  IndexHead newest_head;
  ContainerNumber highest_segment{ChunkIndex::kMaxSegment};  // that it names
  SegmentRecovery recovery;
  std::unique_ptr<SegmentStore> store;
};

inline std::string message(const Status& status) { return status.ok() ? "" : status.error().message; }

// An integrity failure by its exit code: what may be answered for changed storage.
inline bool is_named_damage(ErrorCode code) {
  return error_exit_code(code) == 10 || code == ErrorCode::UnsupportedFormat;
}

}  // namespace vaultfs
