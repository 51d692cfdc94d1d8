#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace vaultfs {

// The length of a control message, as it stands before it.
inline std::string length_prefix(std::uint32_t length) {
  std::string prefix;
  for (unsigned shift = 0; shift < 32; shift += 8) prefix += static_cast<char>((length >> shift) & 0xffU);
  return prefix;
}

inline std::string framed(std::string_view body) {
  return length_prefix(static_cast<std::uint32_t>(body.size())) + std::string(body);
}

// Sends bytes as they are, without the care of send_message; descriptors go with the first of them.
inline void send_raw(int socket, std::string_view bytes, const std::vector<int>& descriptors = {}) {
  std::vector<char> control(CMSG_SPACE(sizeof(int) * descriptors.size()));
  while (!bytes.empty()) {
    iovec part{const_cast<char*>(bytes.data()), bytes.size()};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    if (!descriptors.empty() && !control.empty()) {
      header.msg_control = control.data();
      header.msg_controllen = control.size();
      cmsghdr* rights = CMSG_FIRSTHDR(&header);
      rights->cmsg_level = SOL_SOCKET;
      rights->cmsg_type = SCM_RIGHTS;
      rights->cmsg_len = CMSG_LEN(sizeof(int) * descriptors.size());
      std::memcpy(CMSG_DATA(rights), descriptors.data(), sizeof(int) * descriptors.size());
    }
    const ssize_t sent = ::sendmsg(socket, &header, MSG_NOSIGNAL);
    if (sent <= 0) {
      ADD_FAILURE() << "cannot send: " << std::strerror(errno);
      return;
    }
    bytes.remove_prefix(static_cast<std::size_t>(sent));
    control.clear();
  }
}

}  // namespace vaultfs
