#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "store/record/container.h"
#include "store/record/epoch_keys.h"
#include "store/record/record.h"
#include "tests/support/env_wrapper.h"

namespace vaultfs {

// What the holder of an old data key can do to a segment that is sealed under it: everything but keep a ChunkId.
class Forger {
 public:
  // `file` is a segment's file. The keys have its epoch.
  Forger(Bytes file, const EpochKeys& keys, ContainerNumber number) : file_(std::move(file)) {
    const auto header = ContainerHeader::decode(ByteView(file_).first(ContainerHeader::kEncodedBytes));
    EXPECT_TRUE(header.ok());
    auto cipher = ContainerCipher::open(keys, *header, ContainerKind::segment, number, *salts_);
    EXPECT_TRUE(cipher.ok()) << (cipher.ok() ? "" : cipher.error().message);
    cipher_ = std::move(cipher).value();
  }
  [[nodiscard]] const Bytes& file() const { return file_; }
  [[nodiscard]] const ContainerCipher& cipher() const { return *cipher_; }

  // Where the `nth` record of that id stands.
  [[nodiscard]] std::optional<std::size_t> find(const ChunkId& id, std::size_t nth = 0) const {
    for (std::size_t at = ContainerHeader::kEncodedBytes; at + RecordHeader::kEncodedBytes <= file_.size(); at += 8) {
      const auto header = RecordHeader::decode(ByteView(file_).subspan(at, RecordHeader::kEncodedBytes));
      if (header.ok() && header->id == id && nth-- == 0) return at;
    }
    return std::nullopt;
  }
  [[nodiscard]] Bytes content_of(const ChunkId& id) const {
    const auto at = find(id);
    const auto header = RecordHeader::decode(ByteView(file_).subspan(*at));
    const auto content = open_record(*cipher_, *header, ByteView(file_).subspan(*at, header->stored_bytes()));
    EXPECT_TRUE(content.ok());
    return content.ok() ? *content : Bytes();
  }
  // Seals `content` into the place of the record: same header and salt, same nonces, right checksums. False, and
  // nothing done, if it does not take as much.
  [[nodiscard]] bool forge(const ChunkId& id, ByteView content, std::size_t nth = 0) {
    const auto at = find(id, nth);
    if (!at) return false;
    const auto header = RecordHeader::decode(ByteView(file_).subspan(*at));
    RecordDraft draft;
    draft.type = header->type;
    draft.frame_log2 = header->frame_log2;
    draft.nonce_base = header->nonce_base;
    draft.id = id;
    salts_->next = header->salt;
    for (const Compression compression : {Compression::off, Compression::automatic, Compression::fast,
                                          Compression::ordered, Compression::ordered_fast}) {
      draft.compression = compression;
      Bytes sealed;
      if (!seal_record(*cipher_, draft, content, sealed).ok() || sealed.size() != header->stored_bytes()) continue;
      std::ranges::copy(sealed, file_.begin() + static_cast<std::ptrdiff_t>(*at));
      return true;
    }
    return false;
  }

 private:
  // Gives records the salt, and with it the key, that somebody wants.
  class ChosenSalts final : public EnvWrapper {
   public:
    ChosenSalts() : EnvWrapper(posix_env()) {}
    void fill_random(MutableByteView out) override {
      if (is_all_zero(next) || out.size() != next.size()) return EnvWrapper::fill_random(out);
      std::ranges::copy(next, out.begin());
    }
    RecordSalt next{};
  };

  Bytes file_;
  std::unique_ptr<ChosenSalts> salts_ = std::make_unique<ChosenSalts>();
  std::unique_ptr<ContainerCipher> cipher_;
};

}  // namespace vaultfs
