#include "tools/control/control_client.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/thread/stop_request.h"
#include "tools/control/message.h"
#include "tools/control/socket_path.h"

namespace vaultfs {

namespace {

// Nothing: nobody listens there.
Result<std::optional<FileDescriptor>> connect_to(const std::filesystem::path& path, uid_t user) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string text = path.string();
  if (text.size() >= sizeof address.sun_path)
    return Error{ErrorCode::NameTooLong, "the control socket's path is too long: " + text};
  std::memcpy(address.sun_path, text.c_str(), text.size() + 1);
  FileDescriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return Error{ErrorCode::IoError, std::string("no socket: ") + std::strerror(errno)};
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (errno == ENOENT || errno == ECONNREFUSED || errno == ENOTDIR) return std::optional<FileDescriptor>();
    return Error{error_from_errno(errno), "cannot reach the vault's owner at " + text + ": " + std::strerror(errno)};
  }
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || (peer.uid != user && peer.uid != 0)) {
    return Error{ErrorCode::PermissionDenied, "who listens at " + text + " is another user; nothing was asked of it"};
  }
  return std::optional<FileDescriptor>(std::move(socket));
}

// The owner sees that this end sends no more, stops what it does at its next report, and answers.
Status wait_for_message(int socket, bool& asked_to_stop) {
  constexpr int kLookMilliseconds = 200;
  pollfd watched{socket, POLLIN, 0};
  while (true) {
    const int ready = ::poll(&watched, 1, kLookMilliseconds);
    if (ready < 0 && errno != EINTR) return Error{error_from_errno(errno), std::strerror(errno)};
    if (ready > 0) return ok_status();
    if (stop_requested() && !asked_to_stop) {
      asked_to_stop = true;
      ::shutdown(socket, SHUT_WR);
    }
  }
}

// Looks in all places of that user. An error only if nobody answers anywhere.
Result<std::optional<FileDescriptor>> look_for(const std::string& name, uid_t user) {
  Status first;
  for (const std::filesystem::path& directory : runtime_directories(user)) {
    if (!is_private_to(directory, user)) continue;
    auto found = connect_to(directory / name, user);
    if (found.ok() && *found) return found;
    if (!found.ok() && first.ok()) first = std::move(found).error();
  }
  if (!first.ok()) return std::move(first).error();
  return std::optional<FileDescriptor>();
}

}  // namespace

Result<std::optional<FileDescriptor>> connect_to_owner(const std::filesystem::path& vault) {
  VAULTFS_ASSIGN_OR_RETURN(const SocketName socket, control_socket_name(vault));
  const uid_t user = ::geteuid();
  auto own = look_for(socket.name, user);
  if (user != 0 || socket.vault_owner == user || (own.ok() && *own)) return own;
  return look_for(socket.name, socket.vault_owner);
}

Result<std::optional<FileDescriptor>> connect_to_mount(const std::string& device, uid_t user) {
  return look_for(mount_socket_name(device), user);
}

Result<nlohmann::json> ask_owner(const FileDescriptor& connection, const std::string& verb,
                                 const nlohmann::json& arguments, const std::vector<int>& descriptors,
                                 const std::function<void(const nlohmann::json&)>& progress,
                                 const nlohmann::json& target) {
  VAULTFS_RETURN_IF_ERROR(
      send_message(connection.get(), {{"verb", verb}, {"arguments", arguments}, {"vault", target}}, descriptors));
  bool asked_to_stop = false;
  while (true) {
    VAULTFS_RETURN_IF_ERROR(wait_for_message(connection.get(), asked_to_stop));
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
