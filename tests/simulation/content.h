#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"

namespace vaultfs::sim {

// A change of a file's content.
struct ContentChange {
  enum class Kind : std::uint8_t { write, truncate, zero, whole };
  Kind kind = Kind::write;
  std::uint64_t offset = 0;  // of a truncation: the new size
  std::uint64_t length = 0;  // of zeros
  bool grows = true;         // of zeros: the file, where they lie behind its end
  std::shared_ptr<const Bytes> bytes;
};

// What a file holds: what it must show now, and what a power loss may leave of it. Since its content was last durable
// it went through some states; a crash may leave, byte by byte, any of them, and the size of any of them.
class FileContent {
 public:
  FileContent() = default;
  // Of a file that was found like that, durable.
  explicit FileContent(Bytes durable) : base_(std::move(durable)), now_(base_) {}

  [[nodiscard]] const Bytes& now() const noexcept { return now_; }
  // The same to keep, copied once for each state.
  [[nodiscard]] const std::shared_ptr<const Bytes>& kept() const;
  // False: an operation that failed may or may not have changed it.
  [[nodiscard]] bool certain() const noexcept { return certain_; }
  // Since it was durable.
  [[nodiscard]] std::size_t changes() const noexcept { return changes_.size(); }

  void apply(ContentChange change);
  // The same for a change that failed: it may be there, or parts of it.
  void maybe(ContentChange change);
  // What it shows, after changes that failed. REQUIRES: allows(seen).
  void resolve(Bytes seen);
  // An fsync said so. REQUIRES: certain().
  void durable();
  // Everything since may have gone: what is durable by then is `left`.
  void settle(Bytes left);

  // Nothing if a crash may leave `left`, or if an uncertain file may show it; else what is wrong with it.
  [[nodiscard]] std::optional<std::string> objection(ByteView left) const;

 private:
  static void change(Bytes& content, const ContentChange& change);
  // The bytes that a change touches, of a content of that size before it.
  static std::pair<std::uint64_t, std::uint64_t> touched(const ContentChange& change, std::uint64_t size_before);

  Bytes base_;  // durable
  std::vector<ContentChange> changes_;
  Bytes now_;
  mutable std::shared_ptr<const Bytes> kept_;  // null: `now_` has changed since
  bool certain_ = true;
};

// Bytes that no compressor shrinks and no other seed repeats; zeros for seed 0.
[[nodiscard]] Bytes seeded_content(std::uint64_t seed, std::size_t size);
// Where two contents differ first, for people.
[[nodiscard]] std::string first_difference(ByteView seen, ByteView wanted);

}  // namespace vaultfs::sim
