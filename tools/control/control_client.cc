#include "tools/control/control_client.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "tools/control/message.h"
#include "tools/control/socket_path.h"

namespace vaultfs {

Result<std::optional<UniqueFd>> connect_to_owner(const std::filesystem::path& vault) {
  VAULTFS_ASSIGN_OR_RETURN(const std::filesystem::path path, control_socket_path(vault));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string text = path.string();
  if (text.size() >= sizeof address.sun_path)
    return Error{ErrorCode::NameTooLong, "the control socket's path is too long: " + text};
  std::memcpy(address.sun_path, text.c_str(), text.size() + 1);
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return Error{ErrorCode::IoError, std::string("no socket: ") + std::strerror(errno)};
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (errno == ENOENT || errno == ECONNREFUSED) return std::optional<UniqueFd>();
    return Error{error_from_errno(errno), "cannot reach the vault's owner at " + text + ": " + std::strerror(errno)};
  }
  return std::optional<UniqueFd>(std::move(socket));
}

Result<nlohmann::json> ask_owner(const UniqueFd& connection, const std::string& verb, const nlohmann::json& arguments,
                                 const std::vector<int>& descriptors,
                                 const std::function<void(const nlohmann::json&)>& progress,
                                 const nlohmann::json& target) {
  VAULTFS_RETURN_IF_ERROR(
      send_message(connection.get(), {{"verb", verb}, {"arguments", arguments}, {"vault", target}}, descriptors));
  while (true) {
    auto message = receive_message(connection.get());
    if (!message.ok()) {
      if (message.code() == ErrorCode::NotFound)
        return Error{ErrorCode::IoError, "the vault's owner ended before it answered"};
      return std::move(message).error();
    }
    const nlohmann::json& body = message->body;
    if (body.contains("progress")) {
      if (progress) progress(body["progress"]);
      continue;
    }
    if (body.contains("result")) return body["result"];
    return error_from_json(body);
  }
}

}  // namespace vaultfs
