#include "crypto/keyvault/kmip/socket.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

#include "base/thread/mutex.h"
#include "base/thread/thread.h"

namespace vaultfs {
namespace {

using std::chrono::milliseconds;

Error no_time_left() {
  return {ErrorCode::KeyVaultUnavailable, "the KMIP server has not answered within the time that a call may take"};
}

std::string errno_text(int value) { return std::generic_category().message(value); }

struct FreeAddresses {
  void operator()(addrinfo* list) const noexcept { ::freeaddrinfo(list); }
};
using Addresses = std::unique_ptr<addrinfo, FreeAddresses>;

struct Resolved {
  int status = EAI_SYSTEM;
  Addresses addresses;
};

Resolved resolve_now(const std::string& host, std::uint16_t port, int flags) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | flags;
  addrinfo* list = nullptr;
  Resolved resolved;
  resolved.status = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list);
  resolved.addresses.reset(resolved.status == 0 ? list : nullptr);
  return resolved;
}

// What a resolving thread and its caller share; the last of them frees it.
struct Resolution {
  Mutex mutex;  // a leaf
  CondVar done;
  std::optional<Resolved> result GUARDED_BY(mutex);
};

// getaddrinfo has no time-out, so a thread of its own waits for it.
Result<Resolved> resolve(const std::string& host, std::uint16_t port, const KmipDeadline& deadline) {
  Resolved numeric = resolve_now(host, port, AI_NUMERICHOST);
  if (numeric.status == 0) return numeric;
  auto shared = std::make_shared<Resolution>();
  try {
    Thread("kmip resolver", [shared, host, port] {
      Resolved resolved = resolve_now(host, port, 0);
      const MutexLock lock(shared->mutex);
      shared->result = std::move(resolved);
      shared->done.notify_one();
    }).detach();
  } catch (const std::system_error& error) {
    return Error{ErrorCode::TryAgain, "no thread to look up " + host + ": " + error.what()};
  }
  const MutexLock lock(shared->mutex);
  while (!shared->result) {
    if (deadline.remaining().count() <= 0 || !shared->done.wait_for(shared->mutex, deadline.remaining())) break;
  }
  if (!shared->result) return no_time_left();
  return std::move(*shared->result);
}

Result<KmipSocket> connect_to(const addrinfo& address, const KmipDeadline& deadline) {
  KmipSocket socket(
      ::socket(address.ai_family, address.ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, address.ai_protocol));
  if (socket.get() < 0) return Error{ErrorCode::TryAgain, errno_text(errno)};
  const int on = 1;
  // Requests are small and answered one by one. A failure costs time only.
  (void)::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (::connect(socket.get(), address.ai_addr, address.ai_addrlen) == 0) return socket;
  if (errno != EINPROGRESS) return Error{ErrorCode::TryAgain, errno_text(errno)};
  VAULTFS_RETURN_IF_ERROR(socket.wait(POLLOUT, deadline));
  int error = 0;
  socklen_t size = sizeof error;
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
  if (error != 0) return Error{ErrorCode::TryAgain, errno_text(error)};
  return socket;
}

}  // namespace

Status KmipSocket::wait(short events, const KmipDeadline& deadline) const {
  while (true) {
    pollfd entry{descriptor_.get(), events, 0};
    const milliseconds left = deadline.remaining();
    const int ready = left.count() == 0 ? 0 : ::poll(&entry, 1, static_cast<int>(left.count()));
    if (ready > 0) return ok_status();
    if (ready == 0) return no_time_left();
    if (errno != EINTR) return Error{ErrorCode::TryAgain, errno_text(errno)};
  }
}

Result<KmipSocket> KmipSocket::connect(const std::string& host, std::uint16_t port, const KmipDeadline& deadline) {
  VAULTFS_ASSIGN_OR_RETURN(const Resolved resolved, resolve(host, port, deadline));
  if (resolved.status != 0) {
    return Error{ErrorCode::TryAgain,
                 "the name " + host + " of the KMIP server is not found: " + ::gai_strerror(resolved.status)};
  }
  int left = 0;
  for (const addrinfo* at = resolved.addresses.get(); at != nullptr; at = at->ai_next) ++left;
  std::optional<Error> last;
  for (const addrinfo* at = resolved.addresses.get(); at != nullptr; at = at->ai_next, --left) {
    // An address that swallows everything leaves its share of the time to the others.
    auto socket = connect_to(*at, deadline.within(deadline.remaining() / left));
    if (socket.ok()) return socket;
    last = socket.error();
  }
  if (deadline.remaining().count() == 0) return no_time_left();
  return Error{ErrorCode::TryAgain, "no connection to the KMIP server " + host + ":" + std::to_string(port) + ": " +
                                        (last ? last->message : "it has no address")};
}

}  // namespace vaultfs
