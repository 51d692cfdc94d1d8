#include "tools/vaultctl/pem_file.h"

#include <algorithm>
#include <filesystem>
#include <string_view>
#include <utility>

#include "tools/machine.h"

namespace vaultfs {
namespace {

constexpr std::uint64_t kMaxPemBytes = std::uint64_t{1024} * 1024;

}  // namespace

Result<SecretBuffer> read_private_pem_file(const std::string& path) {
  VAULTFS_ASSIGN_OR_RETURN(const auto file, posix_env().open(std::filesystem::absolute(path), OpenMode::read_only));
  VAULTFS_ASSIGN_OR_RETURN(const std::uint64_t size, file->size());
  if (size == 0 || size > kMaxPemBytes)
    return Error{ErrorCode::InvalidArgument, path + " is no PEM file: it has " + std::to_string(size) + " bytes"};
  VAULTFS_ASSIGN_OR_RETURN(SecretBuffer content, SecretBuffer::allocate(size));
  VAULTFS_ASSIGN_OR_RETURN(const std::size_t read, file->read_at(0, content.mutable_view()));
  if (read != size) return Error{ErrorCode::IoError, path + " became shorter while it was read"};
  return content;
}

bool pem_is_encrypted(ByteView pem) noexcept { return text_of(pem).find("ENCRYPTED") != std::string_view::npos; }

std::vector<ByteView> pem_blocks(ByteView pem) {
  constexpr std::string_view kBegin = "-----BEGIN ";
  constexpr std::string_view kEnd = "-----END ";
  const std::string_view text = text_of(pem);
  std::vector<ByteView> blocks;
  for (std::size_t begin = text.find(kBegin); begin != std::string_view::npos;) {
    const std::size_t end = text.find(kEnd, begin);
    const std::size_t line_end =
        end == std::string_view::npos ? text.size() : std::min(text.find('\n', end), text.size());
    blocks.push_back(pem.subspan(begin, line_end - begin));
    begin = text.find(kBegin, line_end);
  }
  if (blocks.empty()) blocks.push_back(pem);
  return blocks;
}

Result<std::unique_ptr<RsaKey>> read_escrow_private_key(const std::string& path, const std::string& passphrase_file,
                                                        int passphrase_fd) {
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer pem, read_private_pem_file(path));
  SecretBuffer passphrase;
  const bool encrypted = pem_is_encrypted(pem.view());
  if (encrypted) {
    VAULTFS_ASSIGN_OR_RETURN(passphrase, obtain_passphrase(passphrase_file, passphrase_fd, true, false, path));
  }
  auto key = RsaKey::from_pem(pem.view(), encrypted ? &passphrase : nullptr);
  if (!key.ok()) return with_context(std::move(key).error(), path);
  return key;
}

Result<Bytes> read_escrow_public_key(const std::string& path) {
  // Somebody may have named the private key by mistake.
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer pem, read_private_pem_file(path));
  auto key = RsaKey::from_public_pem(pem.view());
  if (!key.ok()) return with_context(std::move(key).error(), path);
  return (*key)->public_der();
}

}  // namespace vaultfs
