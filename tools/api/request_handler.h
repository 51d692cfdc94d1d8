#pragma once

#include <sys/types.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/files/file_descriptor.h"
#include "base/result.h"
#include "fs/engine/vault_engine.h"
#include "tools/machine.h"

namespace vaultfs {

// What a request works on: a engine that this process owns, be it a mount's or one opened for the command.
struct RequestContext {
  VaultEngine& engine;
  Machine& machine;
  uid_t uid = 0;                      // who asked
  std::filesystem::path mount_point;  // of the owner; empty if there is none
  dev_t mount_device = 0;             // of its file system; 0: none
  ProgressCallback progress;          // never empty
};

// Whether a verb changes the vault (needs the owner) or only reads.
enum class VerbAccess : std::uint8_t { reads, changes };
// Usage for a verb that is not there. The verbs: "vault.show", "encryption.show|set|set-limits|set-escrow|refresh",
// "key.usage", "key.rewrap|new-epoch|drill", "reencrypt", "backup.run|commit", "recovery-point.list", "restore",
// "verify", "job.list|show", "activity", "activity.verify", "activity.record".
[[nodiscard]] Result<VerbAccess> verb_access(const std::string& verb);

// Does what `verb` says. The same code serves the mount's control socket and a vaultctl that owns the vault for the
// length of one command. Arguments and result are JSON objects (docs/cli.md); files come as descriptors and are named
// in the arguments by their position ("descriptor": 0). Bad arguments: Usage or InvalidArgument. Thread-safe.
[[nodiscard]] Result<nlohmann::json> handle_request(const RequestContext& context, const std::string& verb,
                                                    const nlohmann::json& arguments,
                                                    std::vector<FileDescriptor>& descriptors);

}  // namespace vaultfs
