#include "tests/simulation/content.h"

#include <algorithm>
#include <utility>

namespace vaultfs::sim {

void FileContent::change(Bytes& content, const ContentChange& change) {
  switch (change.kind) {
    case ContentChange::Kind::whole:
      content = *change.bytes;
      return;
    case ContentChange::Kind::truncate:
      content.resize(change.offset);
      return;
    case ContentChange::Kind::write:
      if (change.bytes->empty()) return;
      if (content.size() < change.offset + change.bytes->size()) content.resize(change.offset + change.bytes->size());
      std::copy(change.bytes->begin(), change.bytes->end(),
                content.begin() + static_cast<std::ptrdiff_t>(change.offset));
      return;
    case ContentChange::Kind::zero:
      if (change.grows && content.size() < change.offset + change.length) {
        content.resize(change.offset + change.length);
      }
      const std::uint64_t begin = std::min<std::uint64_t>(change.offset, content.size());
      const std::uint64_t end = std::min<std::uint64_t>(change.offset + change.length, content.size());
      std::fill(content.begin() + static_cast<std::ptrdiff_t>(begin),
                content.begin() + static_cast<std::ptrdiff_t>(end), std::byte{0});
      return;
  }
}

std::pair<std::uint64_t, std::uint64_t> FileContent::touched(const ContentChange& change, std::uint64_t size_before) {
  switch (change.kind) {
    case ContentChange::Kind::whole:
      return {0, std::max<std::uint64_t>(size_before, change.bytes->size())};
    case ContentChange::Kind::truncate:
      return {std::min(size_before, change.offset), std::max(size_before, change.offset)};
    case ContentChange::Kind::write:
      return {std::min(size_before, change.offset), change.offset + change.bytes->size()};
    case ContentChange::Kind::zero:
      break;
  }
  return {std::min(size_before, change.offset), change.offset + change.length};
}

const std::shared_ptr<const Bytes>& FileContent::kept() const {
  if (kept_ == nullptr) kept_ = std::make_shared<const Bytes>(now_);
  return kept_;
}

void FileContent::apply(ContentChange what) {
  kept_.reset();
  change(now_, what);
  changes_.push_back(std::move(what));
}

void FileContent::maybe(ContentChange what) {
  changes_.push_back(std::move(what));
  certain_ = false;
}

void FileContent::resolve(Bytes seen) {
  kept_.reset();
  now_ = std::move(seen);
  changes_.push_back({ContentChange::Kind::whole, 0, 0, true, std::make_shared<const Bytes>(now_)});
  certain_ = true;
}

void FileContent::durable() {
  if (changes_.empty()) return;
  base_ = now_;
  changes_.clear();
}

void FileContent::settle(Bytes left) {
  kept_.reset();
  base_ = std::move(left);
  now_ = base_;
  changes_.clear();
  certain_ = true;
}

std::optional<std::string> FileContent::objection(ByteView left) const {
  const auto byte_at = [](const Bytes& content, std::uint64_t at) {
    return at < content.size() ? content[at] : std::byte{0};
  };
  // Bytes of which no state is known yet that has them.
  std::vector<std::uint64_t> open;
  const std::uint64_t common = std::min<std::uint64_t>(base_.size(), left.size());
  if (!bytes_equal(ByteView(base_).first(common), left.first(common))) {
    for (std::uint64_t at = 0; at < common; ++at) {
      if (base_[at] != left[at]) open.push_back(at);
    }
  }
  if (!is_all_zero(left.subspan(common))) {
    for (std::uint64_t at = common; at < left.size(); ++at) {
      if (left[at] != std::byte{0}) open.push_back(at);
    }
  }
  bool known_size = base_.size() == left.size();
  Bytes state;
  if (!open.empty() || !known_size) {
    state = base_;
    for (const ContentChange& what : changes_) {
      const auto [begin, end] = touched(what, state.size());
      change(state, what);
      known_size = known_size || state.size() == left.size();
      const auto first = std::lower_bound(open.begin(), open.end(), begin);
      const auto last = std::lower_bound(first, open.end(), end);
      const auto kept = std::remove_if(first, last, [&](std::uint64_t at) { return byte_at(state, at) == left[at]; });
      open.erase(kept, last);
    }
  }
  const std::string since = " (" + std::to_string(changes_.size()) + " changes since it was durable)";
  if (!known_size) {
    return "it has " + std::to_string(left.size()) + " bytes, which it never had; it was durable with " +
           std::to_string(base_.size()) + since;
  }
  if (open.empty()) return std::nullopt;
  return "byte " + std::to_string(open.front()) + " of " + std::to_string(left.size()) + " and " +
         std::to_string(open.size() - 1) + " more were never like that" + since;
}

Bytes seeded_content(std::uint64_t seed, std::size_t size) {
  Bytes bytes(size);
  if (seed == 0) return bytes;
  std::uint64_t state = seed * 0x9e3779b97f4a7c15ULL + 1;
  for (std::size_t at = 0; at < size; at += sizeof state) {
    state ^= state << 13U;
    state ^= state >> 7U;
    state ^= state << 17U;
    const std::uint64_t value = state * 0x2545f4914f6cdd1dULL;
    std::memcpy(bytes.data() + at, &value, std::min(sizeof value, size - at));
  }
  return bytes;
}

std::string first_difference(ByteView seen, ByteView wanted) {
  if (seen.size() != wanted.size()) {
    return std::to_string(seen.size()) + " bytes instead of " + std::to_string(wanted.size());
  }
  const auto differs = std::mismatch(seen.begin(), seen.end(), wanted.begin());
  const auto at = static_cast<std::size_t>(differs.first - seen.begin());
  if (at == seen.size()) return "no difference";
  std::size_t count = 0;
  for (std::size_t i = at; i < seen.size(); ++i) count += seen[i] != wanted[i] ? 1 : 0;
  return "byte " + std::to_string(at) + " of " + std::to_string(seen.size()) + " and " + std::to_string(count - 1) +
         " more";
}

}  // namespace vaultfs::sim
