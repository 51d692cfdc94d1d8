#include "vaultmeta/machine/identity_store.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "crypto/files/json_members.h"
#include "crypto/files/private_file.h"
#include "crypto/files/trusted_file.h"
#include "crypto/keyvault/access_policy.h"
#include "crypto/keyvault/key_ref.h"

namespace vaultfs {
namespace {

constexpr std::uint64_t kIdentityLimitBytes = std::uint64_t{64} * 1024;
constexpr std::string_view kSuffix = ".json";
constexpr std::string_view kSystemPrefix = "vault.";  // no name can have a dot

std::string random_hex(Env& env) { return to_hex(random_id<VaultId>(env).view()); }

Result<std::optional<VaultId>> decode_vault(const nlohmann::json& state, JsonMembers& members) {
  const auto found = state.find("vault");
  if (found == state.end() || found->is_null()) return std::optional<VaultId>();
  const std::string text = members.text("vault");
  Bytes bytes;
  if (!from_hex(text, bytes) || bytes.size() != VaultId::kSize) members.fail("\"vault\" is no vault's id");
  VAULTFS_RETURN_IF_ERROR(members.finish());
  VaultId id;
  std::memcpy(id.data(), bytes.data(), bytes.size());
  return std::optional(id);
}

}  // namespace

std::string Identity::description() const {
  if (vault) return "the system-assigned identity of the vault " + to_hex(vault->view());
  return "the user-assigned identity " + name;
}

Result<std::string> Identity::encode() const {
  nlohmann::ordered_json state;
  state["format"] = kIdentityFormat;
  state["id"] = id;
  state["name"] = name;
  state["vault"] = vault ? nlohmann::ordered_json(to_hex(vault->view())) : nlohmann::ordered_json(nullptr);
  state["created"] = created_unix_seconds;
  state["enabled"] = enabled;
  nlohmann::ordered_json& list = state["options"] = nlohmann::ordered_json::object();
  for (const auto& [option, value] : options) list[option] = value;
  std::string text = json_state_text(state);
  const auto back = decode(text, "it");
  if (text.size() <= kIdentityLimitBytes && back.ok() && back->options == options) return text;
  return Error{ErrorCode::InvalidArgument, "the options are no valid UTF-8 or longer than 64 KiB in all"};
}

Result<Identity> Identity::decode(std::string_view json, const std::string& path) {
  VAULTFS_ASSIGN_OR_RETURN(const auto state, parse_json_state(json, kIdentityFormat, path));
  JsonMembers members(state, path);
  Identity identity;
  identity.id = members.text("id");
  identity.name = members.text("name");
  identity.created_unix_seconds = members.integer("created");
  identity.enabled = members.boolean("enabled");
  if (!members.failed() && !is_identity_id(identity.id)) members.fail("\"id\" is not 32 hexadecimal digits");
  identity.options = members.texts("options");
  VAULTFS_ASSIGN_OR_RETURN(identity.vault, decode_vault(state, members));
  if (identity.vault.has_value() != (identity.name == kSystemIdentity)) members.fail("its name and its vault disagree");
  VAULTFS_RETURN_IF_ERROR(members.finish());
  return identity;
}

std::filesystem::path IdentityStore::path_of(const Identity& identity) const {
  const std::string stem = identity.vault ? std::string(kSystemPrefix) + to_hex(identity.vault->view()) : identity.name;
  return directory_ / (stem + std::string(kSuffix));
}

Result<Identity> IdentityStore::read(const std::filesystem::path& path) {
  VAULTFS_ASSIGN_OR_RETURN(const Bytes bytes,
                           read_trusted_file(env_, path, kIdentityLimitBytes, "say as whom vaultfs speaks"));
  VAULTFS_ASSIGN_OR_RETURN(Identity identity, Identity::decode(text_of(ByteView(bytes)), path.string()));
  if (path_of(identity) != path) {
    return Error{ErrorCode::DamagedMachineState, path.string() + " is damaged: it belongs to another identity"};
  }
  return identity;
}

Result<Identity> IdentityStore::add(Identity identity) {
  identity.id = random_hex(env_);
  identity.created_unix_seconds = env_.clock().now().seconds();
  VAULTFS_ASSIGN_OR_RETURN(const std::string text, identity.encode());
  VAULTFS_ASSIGN_OR_RETURN(const auto lock, lock_directory());
  const std::filesystem::path path = path_of(identity);
  VAULTFS_ASSIGN_OR_RETURN(const FileInfo info, env_.info(path));
  if (info.kind != FileKind::missing) {
    return Error{ErrorCode::AlreadyExists, identity.description() + " exists already; see: vaultctl identity list"};
  }
  VAULTFS_RETURN_IF_ERROR(write_file_durably(env_, path, bytes_of(text)));
  return identity;
}

Result<Identity> IdentityStore::create(const std::string& name, const ProviderOptions& options) {
  VAULTFS_RETURN_IF_ERROR(check_key_name("identity", name));
  if (name == kSystemIdentity || is_identity_id(name)) {
    return Error{ErrorCode::InvalidName,
                 "\"system\" is each vault's own identity, and 32 hexadecimal digits are an id; choose another name"};
  }
  Identity identity;
  identity.name = name;
  identity.options = options;
  return add(std::move(identity));
}

Result<Identity> IdentityStore::create_system(const VaultId& vault) {
  Identity identity;
  identity.name = kSystemIdentity;
  identity.vault = vault;
  return add(std::move(identity));
}

Result<Identity> IdentityStore::find(const VaultIdentity& as) {
  Identity wanted;
  wanted.name = as.name;
  if (as.name == kSystemIdentity) {
    wanted.vault = as.vault;
  } else {
    VAULTFS_RETURN_IF_ERROR(check_key_name("identity", as.name));
  }
  auto found = read(path_of(wanted));
  if (found.ok() || found.code() != ErrorCode::NotFound) return found;
  const std::string how = wanted.vault ? "--vault VAULT" : as.name;
  return Error{ErrorCode::IdentityNotFound,
               wanted.description() + " does not exist on this machine; make it with: vaultctl identity create " + how +
                   ", and let it in at the key vault (vaultctl keyvault allow)"};
}

Result<Identity> IdentityStore::find(const std::string& id_or_name) {
  if (!is_identity_id(id_or_name)) {
    if (id_or_name != kSystemIdentity) return find(VaultIdentity{{}, id_or_name});
    return Error{ErrorCode::IdentityNotFound,
                 "each vault has its own \"system\" identity; name it by its id: vaultctl identity list"};
  }
  VAULTFS_ASSIGN_OR_RETURN(const std::vector<Identity> all, list());
  const auto found = std::ranges::find_if(all, [&](const Identity& identity) { return identity.id == id_or_name; });
  if (found != all.end()) return *found;
  return Error{ErrorCode::IdentityNotFound,
               "this machine has no identity " + id_or_name + "; see: vaultctl identity list"};
}

Result<std::vector<Identity>> IdentityStore::list() {
  std::vector<Identity> all;
  VAULTFS_ASSIGN_OR_RETURN(const FileInfo info, env_.info(directory_));
  if (info.kind == FileKind::missing) return all;
  VAULTFS_ASSIGN_OR_RETURN(const auto names, env_.list(directory_));
  for (const std::string& name : names) {
    if (!name.ends_with(kSuffix)) continue;
    auto identity = read(directory_ / name);
    if (!identity.ok() && identity.code() == ErrorCode::NotFound) continue;  // removed meanwhile
    VAULTFS_RETURN_IF_ERROR(identity);
    all.push_back(std::move(identity).value());
  }
  std::ranges::stable_sort(all, {}, [](const Identity& identity) { return std::pair(!identity.vault, identity.name); });
  return all;
}

Status IdentityStore::set_enabled(const Identity& identity, bool enabled) {
  VAULTFS_ASSIGN_OR_RETURN(const auto lock, lock_directory());
  VAULTFS_ASSIGN_OR_RETURN(Identity stored, read_same(identity));
  stored.enabled = enabled;
  VAULTFS_ASSIGN_OR_RETURN(const std::string text, stored.encode());
  return write_file_durably(env_, path_of(stored), bytes_of(text));
}

Result<std::unique_ptr<FileLock>> IdentityStore::lock_directory() {
  VAULTFS_RETURN_IF_ERROR(ensure_private_directory(env_, directory_));
  return wait_for_lock(env_, directory_ / ".lock");
}

// REQUIRES: the directory's lock. What the caller knows may have been deleted meanwhile, and another made in its place.
Result<Identity> IdentityStore::read_same(const Identity& identity) {
  auto stored = read(path_of(identity));
  if (!stored.ok() && stored.code() != ErrorCode::NotFound) return stored;
  if (stored.ok() && stored->id == identity.id) return stored;
  return Error{ErrorCode::IdentityNotFound, identity.description() + " is gone"};
}

Status IdentityStore::remove(const Identity& identity) {
  VAULTFS_ASSIGN_OR_RETURN(const auto lock, lock_directory());
  const auto stored = read_same(identity);
  if (!stored.ok()) return stored.code() == ErrorCode::IdentityNotFound ? ok_status() : Status(stored.error());
  const Status removed = env_.remove_file(path_of(identity));
  if (!removed.ok()) return removed.code() == ErrorCode::NotFound ? ok_status() : removed;
  return env_.sync_directory(directory_);
}

}  // namespace vaultfs
