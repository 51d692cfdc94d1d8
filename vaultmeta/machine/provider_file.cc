#include "vaultmeta/machine/provider_file.h"

#include "crypto/files/json_members.h"
#include "crypto/files/trusted_file.h"

namespace vaultfs {
namespace {

constexpr std::uint64_t kProviderFileLimitBytes = std::uint64_t{64} * 1024;

}  // namespace

Result<std::string> ProviderFile::encode() const {
  nlohmann::ordered_json state;
  state["format"] = kProviderFileFormat;
  state["name"] = name;
  state["created"] = created_unix_seconds;
  state["provider"] = provider;
  nlohmann::ordered_json& list = state["options"] = nlohmann::ordered_json::object();
  for (const auto& [option, value] : options) list[option] = value;
  std::string text = json_state_text(state);
  const auto back = decode(text, name, "it");
  if (text.size() <= kProviderFileLimitBytes && back.ok() && *back == *this) return text;
  return Error{ErrorCode::InvalidArgument, "the options are no valid UTF-8 or longer than 64 KiB in all"};
}

Result<ProviderFile> ProviderFile::decode(std::string_view json, const std::string& name, const std::string& path) {
  VAULTFS_ASSIGN_OR_RETURN(const auto state, parse_json_state(json, kProviderFileFormat, path));
  JsonMembers members(state, path);
  ProviderFile file;
  file.name = members.text("name");
  file.created_unix_seconds = members.integer("created");
  file.provider = members.text("provider");
  if (!members.failed() && file.name != name) members.fail("it belongs to a key vault of another name than " + name);
  file.options = members.texts("options");
  VAULTFS_RETURN_IF_ERROR(members.finish());
  return file;
}

Env::Path provider_file_path(const Env::Path& directory) { return directory / "provider.json"; }

Result<ProviderFile> read_provider_file(Env& env, const Env::Path& directory, const std::string& name) {
  const Env::Path path = provider_file_path(directory);
  const auto bytes = read_trusted_file(env, path, kProviderFileLimitBytes, "say what vaultfs loads and asks");
  if (!bytes.ok() && bytes.code() == ErrorCode::NotFound) {
    return Error{ErrorCode::KeyVaultUnavailable,
                 "key vault " + name + " is not registered on this machine: " + path.string() +
                     " does not exist; register it with: vaultctl keyvault add " + name};
  }
  VAULTFS_RETURN_IF_ERROR(bytes);
  return ProviderFile::decode(text_of(*bytes), name, path.string());
}

}  // namespace vaultfs
