// vaultctl key export|import: private keys of local key vaults as PEM.

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <vector>

#include "tools/api/key_exports.h"
#include "tools/api/keys/key_import.h"
#include "tools/api/keys/who_needs_key.h"
#include "tools/vaultctl/key/key_arguments.h"
#include "tools/vaultctl/pem_file.h"
#include "tools/vaultctl/text_output.h"
#include "vaultmeta/machine/vault_place.h"

namespace vaultfs {
namespace {

using nlohmann::json;

constexpr const char* kPassphraseOption = "--file-passphrase";

Status write_all(const FileDescriptor& file, const std::string& path, const std::string& text) {
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
  VAULTFS_RETURN_IF_ERROR(check_outside_vaults(posix_env(), path));
  const FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file.valid()) return Error{error_from_errno(errno), "cannot make " + path + ": " + std::strerror(errno)};
  Status written = write_all(file, path, text);
  // Half a key is none, and would stand in the way of the next try.
  if (!written.ok()) ::unlink(path.c_str());
  return written;
}

// The keys in a PEM file, in their order, each with the passphrase it wants.
struct KeysToImport {
  SecretBuffer file;
  std::vector<ByteView> blocks;
  SecretBuffer passphrase;
  [[nodiscard]] const SecretBuffer* passphrase_of(ByteView block) const {
    return pem_is_encrypted(block) ? &passphrase : nullptr;
  }
};

Result<KeysToImport> read_keys(const KeyArguments& arguments) {
  KeysToImport keys;
  VAULTFS_ASSIGN_OR_RETURN(keys.file, read_private_pem_file(arguments.file));
  keys.blocks = pem_blocks(keys.file.view());
  if (std::ranges::any_of(keys.blocks, pem_is_encrypted)) {
    VAULTFS_ASSIGN_OR_RETURN(keys.passphrase, obtain_passphrase(arguments.passphrase_file, arguments.passphrase_fd,
                                                                true, false, arguments.file, kPassphraseOption));
  }
  return keys;
}

}  // namespace

Result<int> key_export(CommandContext& context, const KeyArguments& arguments) {
  VAULTFS_ASSIGN_OR_RETURN(const KeyRef key, KeyRef::parse(arguments.key));
  VAULTFS_ASSIGN_OR_RETURN(const auto key_vault, local_key_vault_of(context, key));
  VAULTFS_ASSIGN_OR_RETURN(const MachineContext machine, context.machine_context());
  std::vector<std::string> versions;
  if (key.version) {
    versions.push_back(*key.version);
  } else {
    VAULTFS_ASSIGN_OR_RETURN(versions, versions_to_export(machine, key, *key_vault));
  }
  VAULTFS_ASSIGN_OR_RETURN(const SecretBuffer passphrase,
                           obtain_passphrase(arguments.passphrase_file, arguments.passphrase_fd, true, true,
                                             "the exported key", kPassphraseOption));
  std::string what = key.key_vault + "/" + key.key;
  for (const std::string& version : versions) what += " " + version;
  const auto write = [&]() -> Status {
    std::string bundle;
    for (const std::string& version : versions) {
      VAULTFS_ASSIGN_OR_RETURN(const std::string pem, key_vault->export_version(key.key, &version, passphrase));
      bundle += pem;
    }
    VAULTFS_RETURN_IF_ERROR(write_private_file(arguments.file, bundle));
    return key_vault->note_export(key.key, versions);
  };
  VAULTFS_RETURN_IF_ERROR(audited<Status>(machine, "key.export", what + " to " + arguments.file, write));
  json form{{"file", arguments.file}, {"versions", versions}};
  form["export"] = key_export_to_json(machine.machine, key);
  print(context, form, [&] {
    say("Wrote %s (%zu of the key's versions), encrypted under the passphrase. Keep both apart from the vault.\n",
        arguments.file.c_str(), versions.size());
    say("A rotation makes a version that it does not have: export again then. An escrow key stays good.\n");
  });
  return 0;
}

Result<int> key_import(CommandContext& context, const KeyArguments& arguments) {
  VAULTFS_ASSIGN_OR_RETURN(const KeyRef key, unpinned_key(arguments));
  VAULTFS_RETURN_IF_ERROR(local_key_vault_of(context, key));  // before anybody is asked for a passphrase
  VAULTFS_ASSIGN_OR_RETURN(const KeysToImport keys, read_keys(arguments));
  VAULTFS_ASSIGN_OR_RETURN(const MachineContext machine, context.machine_context());
  KeyImportRequest wanted{key, arguments.file, {}, arguments.enable};
  for (const ByteView block : keys.blocks) wanted.versions.push_back({block, keys.passphrase_of(block)});
  VAULTFS_ASSIGN_OR_RETURN(const KeyImportAnswer answer, import_key(machine, wanted));
  json form = version_to_json(answer.imported.back());
  form["versions"] = json::array();
  for (const KeyVersionInfo& version : answer.imported) form["versions"].push_back(version_to_json(version));
  if (answer.there_already) {
    tell("vaultctl: note: %s\n", answer.there_already->message.c_str());
  }
  print(context, form, [&] {
    for (const KeyVersionInfo& version : answer.imported) {
      say("Imported version %s of %s.\n", version.id.c_str(), arguments.key.c_str());
    }
  });
  return 0;
}

void warn_of_stale_export(const KeyRef& key, const json& exported) {
  if (exported.is_null() || exported["state"] != "Stale") return;
  const std::string name = key.key_vault + "/" + key.key;
  tell(
      "vaultctl: note: the exported copies of %s do not have its newest version: on another machine they open no vault "
      "that has taken it up. Export again: vaultctl key export %s --to FILE. An escrow key opens vaults after every "
      "rotation: vaultctl encryption set VAULT --escrow-key PUBLIC.pem\n",
      name.c_str(), name.c_str());
}

}  // namespace vaultfs
