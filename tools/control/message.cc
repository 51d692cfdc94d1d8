#include "tools/control/message.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include "base/visible_text.h"

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

constexpr std::size_t kDescriptorsAtOnce = 64;

union ControlBuffer {
  cmsghdr align;
  std::array<char, CMSG_SPACE(sizeof(int) * kDescriptorsAtOnce)> bytes;
};

constexpr char kBytesMark = 1;

std::string wire_text(const std::string& text) {
  if (!text.starts_with(kBytesMark) && is_utf8(text)) return text;
  std::string result(1, kBytesMark);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      result.push_back(c);
    } else {
      result.push_back(static_cast<char>(0xc0U | (byte >> 6U)));
      result.push_back(static_cast<char>(0x80U | (byte & 0x3fU)));
    }
  }
  return result;
}

// As it is where it is not of that form.
std::string text_of_wire(const std::string& text) {
  if (!text.starts_with(kBytesMark)) return text;
  std::string result;
  for (std::size_t i = 1; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x80) {
      result.push_back(text[i]);
    } else if ((byte == 0xc2 || byte == 0xc3) && i + 1 < text.size()) {
      const auto low = static_cast<unsigned char>(text[++i]);
      result.push_back(static_cast<char>(((byte & 0x03U) << 6U) | (low & 0x3fU)));
    } else {
      return text;
    }
  }
  return result;
}

// Of what this program says itself, which is no deeper than a few levels.
nlohmann::json wire_form(const nlohmann::json& value) {
  if (value.is_string()) return wire_text(value.get_ref<const std::string&>());
  nlohmann::json result = value;
  if (value.is_array()) {
    for (auto& each : result) each = wire_form(each);
  } else if (value.is_object()) {
    result = nlohmann::json::object();
    for (const auto& [key, each] : value.items()) result[key] = wire_form(each);
  }
  return result;
}

// Without recursion, however deep the peer's text is.
nlohmann::json parse_wire(const std::string& text) {
  using Event = nlohmann::json::parse_event_t;
  const auto each = [](int /*depth*/, Event event, nlohmann::json& parsed) {
    if (event == Event::value && parsed.is_string()) parsed = text_of_wire(parsed.get_ref<const std::string&>());
    return true;
  };
  return nlohmann::json::parse(text, each, false);
}

// Sends what of `data` goes at once, with as many of the descriptors from `next` on as may. How many bytes went.
Result<std::size_t> send_some(int socket, const char* data, std::size_t size, const std::vector<int>& descriptors,
                              std::size_t& next) {
  iovec part{const_cast<char*>(data), size};  // NOLINT(cppcoreguidelines-pro-type-const-cast): sendmsg reads only
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  ControlBuffer control{};
  const std::size_t count = std::min(kDescriptorsAtOnce, descriptors.size() - next);
  if (count > 0) {
    header.msg_control = control.bytes.data();
    header.msg_controllen = CMSG_SPACE(sizeof(int) * count);
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int) * count);
    std::memcpy(CMSG_DATA(rights), descriptors.data() + next, sizeof(int) * count);
  }
  ssize_t sent = 0;
  do sent = ::sendmsg(socket, &header, MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  if (sent < 0)
    return Error{ErrorCode::IoError, std::string("the control socket's peer is gone: ") + std::strerror(errno)};
  next += count;
  return static_cast<std::size_t>(sent);
}

void collect_descriptors(msghdr& header, std::vector<FileDescriptor>& out) {
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

// At most `size` bytes, and what descriptors come with them. 0 at the end of the stream.
Result<std::size_t> receive_some(int socket, char* data, std::size_t size, std::vector<FileDescriptor>& descriptors) {
  iovec part{data, size};
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
  collect_descriptors(header, descriptors);
  if ((header.msg_flags & MSG_CTRUNC) != 0 || descriptors.size() > kMaxDescriptors) {
    return Error{ErrorCode::InvalidArgument, "a message on the control socket brought more files than can be taken"};
  }
  return static_cast<std::size_t>(got);
}

Status receive_all(int socket, char* data, std::size_t size, std::vector<FileDescriptor>& descriptors) {
  for (std::size_t done = 0; done < size;) {
    VAULTFS_ASSIGN_OR_RETURN(const std::size_t got, receive_some(socket, data + done, size - done, descriptors));
    if (got == 0) return Error{ErrorCode::IoError, "the control socket's peer ended in the middle of a message"};
    done += got;
  }
  return ok_status();
}

}  // namespace

Status send_message(int socket, const nlohmann::json& body, const std::vector<int>& descriptors) {
  if (descriptors.size() > kMaxDescriptors) {
    return Error{ErrorCode::InvalidArgument, "too many files at once: a mounted vault takes " +
                                                 std::to_string(kMaxDescriptors) +
                                                 " disks in one backup; make several items of them, or unmount it"};
  }
  std::string text = wire_form(body).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  // A byte for each further lot of descriptors.
  text.resize(std::max(text.size(), descriptors.size() / kDescriptorsAtOnce), ' ');
  if (text.size() > kMaxMessageBytes)
    return Error{ErrorCode::InvalidArgument, "the answer is too large for the control socket"};
  const auto size = static_cast<std::uint32_t>(text.size());
  std::array<char, 4> length{};
  for (unsigned i = 0; i < 4; ++i) length[i] = static_cast<char>((size >> (8U * i)) & 0xffU);
  std::size_t next = 0;
  VAULTFS_ASSIGN_OR_RETURN(const std::size_t sent, send_some(socket, length.data(), length.size(), descriptors, next));
  if (sent < length.size()) VAULTFS_RETURN_IF_ERROR(send_all(socket, length.data() + sent, length.size() - sent));
  std::size_t done = 0;
  while (next < descriptors.size()) {
    VAULTFS_ASSIGN_OR_RETURN(const std::size_t more, send_some(socket, text.data() + done, 1, descriptors, next));
    done += more;
  }
  return send_all(socket, text.data() + done, text.size() - done);
}

Result<Message> receive_message(int socket) {
  Message message;
  std::array<char, 4> length{};
  VAULTFS_ASSIGN_OR_RETURN(const std::size_t got,
                           receive_some(socket, length.data(), length.size(), message.descriptors));
  if (got == 0) return Error{ErrorCode::NotFound, "the control socket's peer has ended"};
  VAULTFS_RETURN_IF_ERROR(receive_all(socket, length.data() + got, length.size() - got, message.descriptors));
  std::uint32_t size = 0;
  for (unsigned i = 0; i < 4; ++i)
    size |= static_cast<std::uint32_t>(static_cast<unsigned char>(length[i])) << (8U * i);
  if (size > kMaxMessageBytes) return Error{ErrorCode::InvalidArgument, "a message on the control socket is too large"};
  std::string text(size, '\0');
  VAULTFS_RETURN_IF_ERROR(receive_all(socket, text.data(), text.size(), message.descriptors));
  message.body = parse_wire(text);
  if (message.body.is_discarded() || !message.body.is_object()) {
    return Error{ErrorCode::InvalidArgument, "a message on the control socket is not a JSON object"};
  }
  return message;
}

bool has_hung_up(int socket) {
  pollfd watched{socket, POLLRDHUP, 0};
  return ::poll(&watched, 1, 0) > 0 && (watched.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) != 0;
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
