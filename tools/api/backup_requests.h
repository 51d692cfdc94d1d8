#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "tools/api/request_handler.h"

namespace vaultfs {

// What a backup has to say of the key that it was made under.
struct KeyOfBackup {
  std::optional<KeyExpiry> expiry;
  // A newer version that the vault should have taken up and could not: whoever backs up is the one to hear of it.
  std::optional<std::string> update_problem;
};
// The answers to backup.run and backup.commit.
struct BackupAnswer {
  BackupOutcome outcome;
  KeyOfBackup key;
};
struct CommitAnswer {
  CommitOutcome outcome;
  KeyOfBackup key;
};

// Verbs that move disks, entries of the handler's table (docs/cli.md). What is asked for and refused here, before there
// is a job, is recorded as one that failed. Where the client could not open a source or target, it sends "error" in the
// place of the descriptor.

// "item", "disks" [{"name", "descriptor" or "error"}].
[[nodiscard]] Result<nlohmann::json> backup_run(const RequestContext& context, const nlohmann::json& arguments,
                                                std::vector<FileDescriptor>& files);
[[nodiscard]] Result<nlohmann::json> backup_commit(const RequestContext& context, const nlohmann::json& arguments,
                                                   std::vector<FileDescriptor>& files);
// "item", "point", "disk", "to" (for people), "name" and "descriptor", or "error"; "force", "replace_open". With "pipe"
// the descriptor is the writing end of a pipe that does not block, and the one disk goes there.
[[nodiscard]] Result<nlohmann::json> restore_point(const RequestContext& context, const nlohmann::json& arguments,
                                                   std::vector<FileDescriptor>& files);

// Records that something was asked for and refused, and gives the error back.
[[nodiscard]] Error record_refused(const RequestContext& context, JobKind kind, const std::string& item, Error error);

}  // namespace vaultfs
