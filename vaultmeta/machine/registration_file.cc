#include "vaultmeta/machine/registration_file.h"

#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "crypto/files/json_members.h"
#include "crypto/hash.h"

namespace vaultfs {
namespace {

constexpr std::size_t kPlaceDigits = 16;

}  // namespace

Result<std::string> encode_registration(const Registration& registration) {
  const std::string path = registration.path.string();
  nlohmann::json object{{"vault", to_hex(registration.vault.view())},
                        {"path", path},
                        {"key_vault", registration.key_vault},
                        {"key", registration.key}};
  if (registration.needed) {
    nlohmann::json needed = nlohmann::json::array();
    for (const RegisteredKey& key : *registration.needed) {
      needed.push_back({{"key_vault", key.key_vault}, {"key", key.key}, {"version", key.version}});
    }
    object["needed"] = std::move(needed);
  }
  if (registration.identity) object["identity"] = *registration.identity;
  if (registration.directory) {
    object["directory"] = {{"device", registration.directory->device}, {"inode", registration.directory->inode}};
  }
  std::string text = object.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  if (nlohmann::json::parse(text, nullptr, false).value("path", "") != path) {
    return Error{ErrorCode::InvalidArgument, "the vault's path is not valid UTF-8; use another directory"};
  }
  return text;
}

Result<Registration> decode_registration(ByteView file, const std::string& where) {
  const auto object = nlohmann::json::parse(text_of(file), nullptr, false);
  JsonMembers members(object, where);
  const std::string id = members.text("vault");
  Registration registration;
  registration.path = members.text("path");
  registration.key_vault = members.text("key_vault");
  registration.key = members.text("key");
  VAULTFS_RETURN_IF_ERROR(members.finish());
  if (object.contains("needed")) {
    registration.needed.emplace();
    const nlohmann::json* needed = members.array("needed");
    for (std::size_t i = 0; needed != nullptr && i < needed->size(); ++i) {
      JsonMembers entry((*needed)[i], where);
      registration.needed->push_back({entry.text("key_vault"), entry.text("key"), entry.text("version")});
      VAULTFS_RETURN_IF_ERROR(entry.finish());
    }
    VAULTFS_RETURN_IF_ERROR(members.finish());
  }
  if (object.contains("identity")) {
    registration.identity = members.text("identity");
    VAULTFS_RETURN_IF_ERROR(members.finish());
  }
  if (object.contains("directory")) {
    // Only a help to find a vault again that was moved: what can't be read is as if it were not there.
    const auto& directory = object["directory"];
    const auto number = [&directory](const char* name) -> std::uint64_t {
      const bool is_there = directory.is_object() && directory.contains(name) && directory[name].is_number_unsigned();
      return is_there ? directory[name].get<std::uint64_t>() : 0;
    };
    const DirectoryId known{number("device"), number("inode")};
    if (known.inode != 0) registration.directory = known;
  }
  Bytes bytes;
  if (!from_hex(id, bytes) || bytes.size() != VaultId::kSize || !registration.path.is_absolute()) {
    return Error{ErrorCode::DamagedMachineState, where + " is damaged: it names no vault"};
  }
  std::memcpy(registration.vault.data(), bytes.data(), bytes.size());
  return registration;
}

std::string state_file_name(const VaultId& vault, const std::filesystem::path& place, std::string_view extension) {
  const std::string path = to_hex(sha256(bytes_of(place.native())).view());
  return to_hex(vault.view()) + "." + path.substr(0, kPlaceDigits) + std::string(extension);
}

std::string placeless_file_name(const VaultId& vault, std::string_view extension) {
  return to_hex(vault.view()) + std::string(extension);
}

bool is_state_file_of(const VaultId& vault, std::string_view name, std::string_view extension) {
  const std::string id = to_hex(vault.view());
  if (!name.starts_with(id) || !name.ends_with(extension)) return false;
  const std::string_view place = name.substr(id.size(), name.size() - id.size() - extension.size());
  return place.empty() || (place.size() == 1 + kPlaceDigits && place.front() == '.');
}

}  // namespace vaultfs
