#include "fs/mount/kernel_channel.h"

#include <linux/fuse.h>
#include <pthread.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstring>

#include "base/thread/thread.h"
#include "crypto/memory/plaintext_memory.h"
#include "crypto/memory/secret_buffer.h"

namespace vaultfs {
namespace {

// Of a newer protocol than Debian 12's headers have.
constexpr std::uint64_t kDirectIoAllowMmap = 1ULL << 36U;

// The request that this thread has read last: libfuse serves it in the same thread before it reads another.
struct RequestInHand {
  std::uint64_t unique = 0;
  std::uint32_t opcode = 0;
  std::uint64_t kernel_offers = 0;  // of FUSE_INIT
  bool drops_set_id = false;
  bool drops_set_gid = false;
  bool parallel_writes = false;
};
thread_local RequestInHand in_hand;

// Wakes a thread that waits for a request; unused otherwise, and ignored unless somebody asks for it.
constexpr int kWakeSignal = SIGURG;

// Where a thread's requests arrive, what is written to files among them. libfuse keeps that memory from one request to
// the next, so it is wiped when the vault is sealed: by its thread, because a new request may come into it at any time.
class RequestBuffer {
 public:
  // As read(2). Between two calls the thread serves what it got.
  ssize_t read(int fd, void* buffer, std::size_t room) {
    while (true) {
      reading_ = true;
      if (wanted_.exchange(false)) wipe({static_cast<std::byte*>(buffer), std::min(most_, room)});
      const ssize_t got = ::read(fd, buffer, room);
      const int read_errno = errno;
      reading_ = false;
      if (got > 0) {
        most_ = std::max(most_, static_cast<std::size_t>(got));
        holds_request_ = true;
      }
      if (got < 0 && read_errno == EINTR && wanted_) continue;
      errno = read_errno;
      return got;
    }
  }

 private:
  // Asks the thread to, and waits a little; one that is busy does it before its next request.
  void ask() {
    if (!holds_request_.exchange(false)) return;
    wanted_ = true;
    for (int i = 0; i < kPatience && wanted_; ++i) {
      // It may have looked for the last time just before: then the next signal finds it waiting.
      if (reading_) ::pthread_kill(thread_, kWakeSignal);
      sleep_for(std::chrono::milliseconds(1));
    }
  }

  static constexpr int kPatience = 100;
  const pthread_t thread_ = ::pthread_self();
  std::size_t most_ = 0;  // bytes that a request had; its thread's own
  std::atomic<bool> wanted_{false};
  std::atomic<bool> reading_{false};              // waits for a request, or is about to
  std::atomic<bool> holds_request_{false};        // since it was wiped last
  WipedOnSealing registered_{[this] { ask(); }};  // goes first, so the thread is there whenever it is asked
};

void ignore_wake(int /*signal*/) {}

// Without SA_RESTART, so that a waiting read ends.
bool hear_wake_signal() {
  struct sigaction action {};
  action.sa_handler = ignore_wake;
  sigemptyset(&action.sa_mask);
  return ::sigaction(kWakeSignal, &action, nullptr) == 0;
}

template <typename Message>
bool read_message(const char* bytes, std::size_t size, Message& message) {
  if (size < sizeof(fuse_in_header) + sizeof(Message)) return false;
  std::memcpy(&message, bytes + sizeof(fuse_in_header), sizeof(Message));
  return true;
}

bool drops_set_id(std::uint32_t opcode, const char* bytes, std::size_t size) {
  if (opcode == FUSE_WRITE) {
    fuse_write_in write{};
    return read_message(bytes, size, write) && (write.write_flags & FUSE_WRITE_KILL_SUIDGID) != 0;
  }
  if (opcode == FUSE_SETATTR) {
    fuse_setattr_in change{};
    return read_message(bytes, size, change) && (change.valid & FATTR_KILL_SUIDGID) != 0;
  }
  if (opcode == FUSE_OPEN) {
    fuse_open_in open{};
    return read_message(bytes, size, open) && (open.open_flags & FUSE_OPEN_KILL_SUIDGID) != 0;
  }
  return false;
}

// Whether FUSE_SETXATTR comes in its longer form, which libfuse does not know. One mount a process.
std::atomic<bool> extended_setxattr{false};

// Makes the longer form the shorter one. The size of what is left.
std::size_t shorten_setxattr(char* bytes, std::size_t size) {
  fuse_setxattr_in set{};
  if (!extended_setxattr || !read_message(bytes, size, set)) return size;
  in_hand.drops_set_gid = (set.setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID) != 0;
  char* const cut_at = bytes + sizeof(fuse_in_header) + FUSE_COMPAT_SETXATTR_IN_SIZE;
  constexpr std::size_t kCut = sizeof(set) - FUSE_COMPAT_SETXATTR_IN_SIZE;
  std::memmove(cut_at, cut_at + kCut, size - (sizeof(fuse_in_header) + sizeof(set)));
  return size - kCut;
}

ssize_t read_request(int fd, void* buffer, size_t room, void* /*userdata*/) {
  thread_local RequestBuffer request_buffer;
  const ssize_t got = request_buffer.read(fd, buffer, room);
  in_hand = {};
  if (got < static_cast<ssize_t>(sizeof(fuse_in_header))) return got;
  auto* bytes = static_cast<char*>(buffer);
  const auto size = static_cast<std::size_t>(got);
  fuse_in_header header{};
  std::memcpy(&header, bytes, sizeof(header));
  in_hand.unique = header.unique;
  in_hand.opcode = header.opcode;
  in_hand.drops_set_id = drops_set_id(header.opcode, bytes, size);
  if (header.opcode == FUSE_INIT) {
    fuse_init_in init{};
    if (read_message(bytes, size, init)) {
      in_hand.kernel_offers = init.flags;
      if ((init.flags & FUSE_INIT_EXT) != 0) in_hand.kernel_offers |= std::uint64_t{init.flags2} << 32U;
    }
  } else if (header.opcode == FUSE_TMPFILE) {
    // The same message and the same answer as for FUSE_CREATE; its open flags have O_TMPFILE.
    header.opcode = FUSE_CREATE;
    std::memcpy(bytes, &header, sizeof(header));
  } else if (header.opcode == FUSE_SETXATTR) {
    const std::size_t left = shorten_setxattr(bytes, size);
    header.len = static_cast<std::uint32_t>(left);
    std::memcpy(bytes, &header, sizeof(header));
    return static_cast<ssize_t>(left);
  }
  return got;
}

void extend_init_reply(char* reply, std::size_t size) {
  fuse_init_out out{};
  if (size < sizeof(out)) return;
  std::memcpy(&out, reply, sizeof(out));
  std::uint64_t wanted = FUSE_HANDLE_KILLPRIV_V2 | FUSE_SETXATTR_EXT;
  if ((in_hand.kernel_offers & FUSE_INIT_EXT) != 0) wanted |= FUSE_INIT_EXT | kDirectIoAllowMmap;
  wanted &= in_hand.kernel_offers;
  extended_setxattr = (wanted & FUSE_SETXATTR_EXT) != 0;
  out.flags |= static_cast<std::uint32_t>(wanted);
  if ((wanted & FUSE_INIT_EXT) != 0) out.flags2 |= static_cast<std::uint32_t>(wanted >> 32U);
  std::memcpy(reply, &out, sizeof(out));
}

// The open flags stand at the end of the answers to FUSE_OPEN, FUSE_CREATE and FUSE_TMPFILE.
void extend_open_reply(char* reply, std::size_t size) {
  fuse_open_out out{};
  if (size < sizeof(out)) return;
  char* place = reply + (size - sizeof(out));
  std::memcpy(&out, place, sizeof(out));
  out.open_flags |= FOPEN_PARALLEL_DIRECT_WRITES;
  std::memcpy(place, &out, sizeof(out));
}

ssize_t write_reply(int fd, iovec* parts, int count, void* /*userdata*/) {
  if (count >= 2 && parts[0].iov_len == sizeof(fuse_out_header)) {
    fuse_out_header header{};
    std::memcpy(&header, parts[0].iov_base, sizeof(header));
    if (header.error == 0 && header.unique == in_hand.unique && header.unique != 0) {
      auto* reply = static_cast<char*>(parts[1].iov_base);
      if (in_hand.opcode == FUSE_INIT) extend_init_reply(reply, parts[1].iov_len);
      if (in_hand.parallel_writes) extend_open_reply(reply, parts[1].iov_len);
    }
  }
  return ::writev(fd, parts, count);
}

}  // namespace

bool attach_kernel_channel(fuse_session* session) {
  fuse_custom_io io{};
  io.read = read_request;
  io.writev = write_reply;
  return hear_wake_signal() && fuse_session_custom_io(session, &io, fuse_session_fd(session)) == 0;
}

bool request_drops_set_id() { return in_hand.drops_set_id; }

bool request_drops_set_gid() { return in_hand.drops_set_gid; }

void allow_parallel_writes() { in_hand.parallel_writes = true; }

}  // namespace vaultfs
