#include "tools/control/message.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>

namespace vaultfs {
namespace {

Status send_all(int socket, const char* data, std::size_t size) {
  std::size_t done = 0;
  while (done < size) {
    const ssize_t n = ::send(socket, data + done, size - done, MSG_NOSIGNAL);
    if (n < 0) {
      if (errno == EINTR) continue;
      return Error{ErrorCode::IoError, std::string("the control socket's peer is gone: ") + std::strerror(errno)};
    }
    done += static_cast<std::size_t>(n);
  }
  return ok_status();
}

Status receive_all(int socket, char* data, std::size_t size) {
  std::size_t done = 0;
  while (done < size) {
    const ssize_t n = ::recv(socket, data + done, size - done, 0);
    if (n < 0) {
      if (errno == EINTR) continue;
      return Error{ErrorCode::IoError, std::string("cannot read from the control socket: ") + std::strerror(errno)};
    }
    if (n == 0) return Error{ErrorCode::IoError, "the control socket's peer ended in the middle of a message"};
    done += static_cast<std::size_t>(n);
  }
  return ok_status();
}

union ControlBuffer {
  cmsghdr align;
  std::array<char, CMSG_SPACE(sizeof(int) * kMaxDescriptors)> bytes;
};

void collect_descriptors(msghdr& header, std::vector<UniqueFd>& out) {
  for (cmsghdr* control = CMSG_FIRSTHDR(&header); control != nullptr; control = CMSG_NXTHDR(&header, control)) {
    if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(control) + i * sizeof(int), sizeof fd);
      out.emplace_back(fd);
    }
  }
}

}  // namespace

Status send_message(int socket, const nlohmann::json& body, const std::vector<int>& descriptors) {
  if (descriptors.size() > kMaxDescriptors) return Error{ErrorCode::InvalidArgument, "too many files at once"};
  const std::string text = body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (text.size() > kMaxMessageBytes)
    return Error{ErrorCode::InvalidArgument, "the answer is too large for the control socket"};
  const auto size = static_cast<std::uint32_t>(text.size());
  std::array<char, 4> length{};
  for (unsigned i = 0; i < 4; ++i) length[i] = static_cast<char>((size >> (8U * i)) & 0xffU);

  iovec part{length.data(), length.size()};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  ControlBuffer control{};
  if (!descriptors.empty()) {
    header.msg_control = control.bytes.data();
    header.msg_controllen = CMSG_SPACE(sizeof(int) * descriptors.size());
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int) * descriptors.size());
    std::memcpy(CMSG_DATA(rights), descriptors.data(), sizeof(int) * descriptors.size());
  }
  ssize_t sent = 0;
  do sent = ::sendmsg(socket, &header, MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  if (sent < 0)
    return Error{ErrorCode::IoError, std::string("the control socket's peer is gone: ") + std::strerror(errno)};
  if (static_cast<std::size_t>(sent) < length.size()) {
    VAULTFS_RETURN_IF_ERROR(send_all(socket, length.data() + sent, length.size() - static_cast<std::size_t>(sent)));
  }
  return send_all(socket, text.data(), text.size());
}

Result<Message> receive_message(int socket) {
  Message message;
  std::array<char, 4> length{};
  iovec part{length.data(), length.size()};
  ControlBuffer control{};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control.bytes.data();
  header.msg_controllen = control.bytes.size();
  ssize_t got = 0;
  do got = ::recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
  while (got < 0 && errno == EINTR);
  if (got < 0)
    return Error{ErrorCode::IoError, std::string("cannot read from the control socket: ") + std::strerror(errno)};
  collect_descriptors(header, message.descriptors);
  if ((header.msg_flags & MSG_CTRUNC) != 0) {
    return Error{ErrorCode::InvalidArgument, "a message on the control socket brought more files than can be taken"};
  }
  if (got == 0) return Error{ErrorCode::NotFound, "the control socket's peer has ended"};
  if (static_cast<std::size_t>(got) < length.size()) {
    VAULTFS_RETURN_IF_ERROR(receive_all(socket, length.data() + got, length.size() - static_cast<std::size_t>(got)));
  }
  std::uint32_t size = 0;
  for (unsigned i = 0; i < 4; ++i)
    size |= static_cast<std::uint32_t>(static_cast<unsigned char>(length[i])) << (8U * i);
  if (size > kMaxMessageBytes) return Error{ErrorCode::InvalidArgument, "a message on the control socket is too large"};
  std::string text(size, '\0');
  VAULTFS_RETURN_IF_ERROR(receive_all(socket, text.data(), text.size()));
  message.body = nlohmann::json::parse(text, nullptr, false);
  if (message.body.is_discarded() || !message.body.is_object()) {
    return Error{ErrorCode::InvalidArgument, "a message on the control socket is not a JSON object"};
  }
  return message;
}

nlohmann::json error_to_json(const Error& error) {
  return {{"error", {{"name", std::string(error_name(error.code))}, {"message", error.message}}}};
}

Error error_from_json(const nlohmann::json& body) {
  Error error{ErrorCode::Internal, "the owner answered with an error that can't be read"};
  const auto found = body.find("error");
  if (found == body.end() || !found->is_object()) return error;
  const auto name = found->find("name");
  const auto message = found->find("message");
  if (message != found->end() && message->is_string()) error.message = message->get<std::string>();
  if (name != found->end() && name->is_string()) {
    const auto wanted = name->get<std::string>();
#define VAULTFS_V(code_name, exit_code, errno_value) \
  if (wanted == #code_name) error.code = ErrorCode::code_name;
    VAULTFS_ERROR_CODES(VAULTFS_V)
#undef VAULTFS_V
  }
  return error;
}

}  // namespace vaultfs
