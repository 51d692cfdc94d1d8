#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "tests/fuzz/fuzz_keys.h"
#include "tools/control/message.h"

// What a peer of the control socket may send: the first byte says how many descriptors come with the beginning of the
// rest, which is the stream of messages until the peer ends. What is taken must arrive as the same when it is sent on.
namespace {

using namespace vaultfs;

// Less than a socket's buffer, so that one thread can write it all and then read.
constexpr std::size_t kMaxInput = 32 * 1024;
// The library writes and compares JSON by recursion; deeper nesting than this is only read.
constexpr std::ptrdiff_t kMaxSentOnDepth = 256;

struct SocketPair {
  SocketPair() {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) std::abort();
    near = FileDescriptor(ends[0]);
    far = FileDescriptor(ends[1]);
  }
  FileDescriptor near, far;
};

// The bytes, with that many descriptors beside the first of them.
void send_part(int socket, ByteView bytes, std::size_t descriptors) {
  if (bytes.empty()) return;
  static const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  const std::vector<int> sent(descriptors, null);
  std::vector<char> control(CMSG_SPACE(sizeof(int) * descriptors));
  iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (descriptors > 0) {
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    cmsghdr* const rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int) * descriptors);
    std::memcpy(CMSG_DATA(rights), sent.data(), sizeof(int) * descriptors);
  }
  if (::sendmsg(socket, &header, MSG_NOSIGNAL) != static_cast<ssize_t>(bytes.size())) std::abort();
}

void put(int socket, ByteView bytes, std::size_t descriptors) {
  constexpr std::size_t kMostAtOnce = 253;  // SCM_MAX_FD of Linux: the others come with the second byte
  if (descriptors <= kMostAtOnce) return send_part(socket, bytes, descriptors);
  const std::size_t first = std::min<std::size_t>(1, bytes.size());
  send_part(socket, bytes.first(first), kMostAtOnce);
  send_part(socket, bytes.subspan(first), descriptors - kMostAtOnce);
}

void send_on(const Message& message) {
  const SocketPair pair;
  std::vector<int> descriptors;
  for (const FileDescriptor& fd : message.descriptors) descriptors.push_back(fd.get());
  if (!send_message(pair.near.get(), message.body, descriptors).ok()) std::abort();
  const auto again = receive_message(pair.far.get());
  if (!again.ok() || again->descriptors.size() != descriptors.size() || again->body != message.body) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0 || size > kMaxInput) return 0;
  const bool shallow =
      std::count_if(data, data + size, [](std::uint8_t c) { return c == '[' || c == '{'; }) <= kMaxSentOnDepth;
  SocketPair pair;
  put(pair.near.get(), fuzz_input(data, size).subspan(1), data[0] % (kMaxDescriptors + 2));
  pair.near.reset();
  for (;;) {
    const auto message = receive_message(pair.far.get());
    if (!message.ok()) {
      const ErrorCode code = message.code();
      if (code != ErrorCode::NotFound && code != ErrorCode::InvalidArgument && code != ErrorCode::IoError) std::abort();
      return 0;
    }
    if (!message->body.is_object()) std::abort();
    if (shallow) send_on(*message);
    const Error error = error_from_json(message->body);
    const Error again = error_from_json(error_to_json(error));
    if (again.code != error.code || again.message != error.message) std::abort();
  }
}
