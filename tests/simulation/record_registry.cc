#include "tests/simulation/record_registry.h"

#include <string_view>

#include "store/record/container.h"
#include "store/record/record.h"

namespace vaultfs::sim {
namespace {

std::uint64_t hash_of(ByteView bytes) { return std::hash<std::string_view>{}(text_of(bytes)); }

template <typename T>
std::string_view raw(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

}  // namespace

std::optional<std::string> RecordRegistry::look(const SimEnv& env, const Env::Path& directory) {
  for (const Env::Path& path : env.files(directory)) {
    const std::shared_ptr<const Bytes> file = env.share(path);
    std::shared_ptr<const Bytes>& known = looked_at_[path.string()];
    if (known == file) continue;
    known = file;
    if (auto reused = look_at(path, *file)) return reused;
  }
  return std::nullopt;
}

std::optional<std::string> RecordRegistry::look_at(const Env::Path& path, ByteView file) {
  if (file.size() < ContainerHeader::kEncodedBytes) return std::nullopt;
  const auto container = ContainerHeader::decode(file.first(ContainerHeader::kEncodedBytes));
  if (!container.ok()) return std::nullopt;
  for (std::size_t at = ContainerHeader::kEncodedBytes; at + RecordHeader::kEncodedBytes <= file.size();) {
    if (text_of(file.subspan(at, kRecordMagic.size())) != kRecordMagic) {
      at += 8;
      continue;
    }
    const auto header = RecordHeader::decode(file.subspan(at, RecordHeader::kEncodedBytes));
    if (!header.ok() || header->stored_bytes() > file.size() - at) {
      at += 8;
      continue;
    }
    const ByteView stored = file.subspan(at, header->stored_bytes());
    if (!check_record(*header, stored).ok()) {
      at += 8;
      continue;
    }
    at += stored.size();
    if (header->clear) continue;
    const std::uint64_t sealed = hash_of(stored.first(stored.size()));
    for (std::uint32_t frame = 0; frame < header->frame_count; ++frame) {
      std::string key(raw(container->epoch.value));
      key += raw(container->salt);
      key += raw(header->salt);
      key += raw(header->nonce_base + frame);
      const auto [place, is_new] = seen_.emplace(std::move(key), sealed);
      if (!is_new && place->second != sealed) {
        return "two records have the same key and nonce; the second is in " + path.string();
      }
    }
  }
  return std::nullopt;
}

}  // namespace vaultfs::sim
