// vaultctl key export|import: private keys of local key vaults as PEM.

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "tools/cli/key_arguments.h"
#include "tools/cli/key_import.h"
#include "tools/cli/pem_file.h"
#include "tools/cli/text_output.h"

namespace vaultfs {
namespace {

constexpr const char* kPassphraseOption = "--file-passphrase";

Status write_all(const UniqueFd& file, const std::string& path, const std::string& text) {
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t n = ::write(file.get(), text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error{error_from_errno(errno), "cannot write " + path + ": " + std::strerror(errno)};
    done += static_cast<std::size_t>(n);
  }
  if (::fsync(file.get()) != 0)
    return Error{error_from_errno(errno), "cannot sync " + path + ": " + std::strerror(errno)};
  return posix_env().sync_directory(std::filesystem::absolute(path).parent_path());
}

Status write_private_file(const std::string& path, const std::string& text) {
  const UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file.valid()) return Error{error_from_errno(errno), "cannot make " + path + ": " + std::strerror(errno)};
  Status written = write_all(file, path, text);
  // Half a key is none, and would stand in the way of the next try.
  if (!written.ok()) ::unlink(path.c_str());
  return written;
}

}  // namespace

Result<int> key_export(CommandContext& context, const KeyArguments& arguments) {
  VAULTFS_ASSIGN_OR_RETURN(const KeyRef key, KeyRef::parse(arguments.key));
  VAULTFS_ASSIGN_OR_RETURN(const auto key_vault, open_local_key_vault(context, key));
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer passphrase,
                           obtain_passphrase(arguments.passphrase_file, arguments.passphrase_fd, true, true,
                                             "the exported key", kPassphraseOption));
  VAULTFS_ASSIGN_OR_RETURN(const std::string pem,
                           key_vault->export_version(key.key, key.version ? &*key.version : nullptr, passphrase));
  VAULTFS_RETURN_IF_ERROR(write_private_file(arguments.file, pem));
  print(context, {{"file", arguments.file}}, [&] {
    say("Wrote %s, encrypted under the passphrase. Keep both apart from the vault.\n", arguments.file.c_str());
  });
  return 0;
}

Result<int> key_import(CommandContext& context, const KeyArguments& arguments) {
  VAULTFS_ASSIGN_OR_RETURN(const KeyRef key, unpinned_key(arguments));
  VAULTFS_ASSIGN_OR_RETURN(const auto key_vault, open_local_key_vault(context, key));
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer pem_file, read_private_pem_file(arguments.file));
  const ByteView pem = pem_file.view();
  SecretBuffer passphrase;
  const bool encrypted = pem_is_encrypted(pem_file);
  if (encrypted) {
    VAULTFS_ASSIGN_OR_RETURN(passphrase, obtain_passphrase(arguments.passphrase_file, arguments.passphrase_fd, true,
                                                           false, arguments.file, kPassphraseOption));
  }
  if (!arguments.enable) {
    VAULTFS_ASSIGN_OR_RETURN(Machine * machine, context.machine());
    VAULTFS_RETURN_IF_ERROR(refuse_disabled_copy(*machine, key, pem, encrypted ? &passphrase : nullptr));
  }
  VAULTFS_ASSIGN_OR_RETURN(const KeyVersionInfo version,
                           key_vault->import_version(key.key, pem, encrypted ? &passphrase : nullptr, std::nullopt));
  print(context, version_to_json(version),
        [&] { say("Imported version %s of %s.\n", version.id.c_str(), arguments.key.c_str()); });
  return 0;
}

}  // namespace vaultfs
