#include "tools/control/control_server.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <list>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>

namespace vaultfs {
namespace {

Result<sockaddr_un> address_of(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string text = path.string();
  if (text.size() >= sizeof address.sun_path)
    return Error{ErrorCode::NameTooLong, "the control socket's path is too long: " + text};
  std::memcpy(address.sun_path, text.c_str(), text.size() + 1);
  return address;
}

class Server final : public ControlServer {
 public:
  Server(UniqueFd listener, UniqueFd wake, std::filesystem::path path, Handler handler)
      : listener_(std::move(listener)), wake_(std::move(wake)), path_(std::move(path)), handler_(std::move(handler)) {
    acceptor_ = std::thread([this] { accept_loop(); });
  }
  ~Server() override { stop(); }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  Server(Server&&) = delete;
  Server& operator=(Server&&) = delete;

  void stop() override {
    if (stopped_.exchange(true)) return;
    const std::uint64_t one = 1;
    if (::write(wake_.get(), &one, sizeof one) < 0) std::abort();  // an eventfd of ours takes a write of eight bytes
    acceptor_.join();
    ::unlink(path_.c_str());
    // Nobody adds connections any more.
    for (Connection& connection : connections_) ::shutdown(connection.socket.get(), SHUT_RD);
    const auto began = Clock::now();
    std::unique_lock lock(mutex_);
    while (!std::all_of(connections_.begin(), connections_.end(), [](const Connection& c) { return c.finished; })) {
      for (const Connection& connection : connections_) {
        if (!connection.sending_since) continue;
        // A request may take its time, but a client that takes no bytes would hold up the end for ever.
        if (Clock::now() - std::max(began, *connection.sending_since) >= kPatience)
          ::shutdown(connection.socket.get(), SHUT_RDWR);
      }
      changed_.wait_for(lock, kLook);
    }
    lock.unlock();
    for (Connection& connection : connections_) connection.thread.join();
    connections_.clear();
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kLook{100};
  static constexpr std::chrono::duration<int, std::milli> kShortage{200};

  struct Connection {
    UniqueFd socket;
    std::thread thread;
    bool finished = false;                           // its thread is about to end
    std::optional<Clock::time_point> sending_since;  // a message is on its way to the client
  };

  void accept_loop() {
    while (!stopped_) {
      pollfd watched[2] = {{listener_.get(), POLLIN, 0}, {wake_.get(), POLLIN, 0}};
      if (::poll(watched, 2, -1) < 0 && errno != EINTR) return;
      if (stopped_) return;
      reap();
      if ((watched[0].revents & POLLIN) == 0) continue;
      UniqueFd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (socket.valid() ? begin(std::move(socket)) : !out_of_means(errno)) continue;
      // The client waits in the listener's queue, which stays readable: without a pause this loop would spin.
      pollfd wake{wake_.get(), POLLIN, 0};
      static_cast<void>(::poll(&wake, 1, kShortage.count()));
    }
  }

  static bool out_of_means(int error) {
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
  }

  // False: there is no thread to be had, and the client sees its connection close.
  bool begin(UniqueFd socket) {
    const std::lock_guard lock(mutex_);
    Connection& connection = connections_.emplace_back();
    connection.socket = std::move(socket);
    try {
      connection.thread = std::thread([this, &connection] {
        serve(connection);
        ::shutdown(connection.socket.get(), SHUT_RDWR);
        const std::lock_guard end_lock(mutex_);
        connection.finished = true;
        changed_.notify_all();
      });
    } catch (const std::system_error&) {
      connections_.pop_back();
      return false;
    }
    return true;
  }

  void reap() {
    const std::lock_guard lock(mutex_);
    for (auto it = connections_.begin(); it != connections_.end();) {
      if (it->finished) {
        it->thread.join();
        it = connections_.erase(it);
      } else {
        ++it;
      }
    }
  }

  // False: the client is gone.
  bool send(Connection& connection, const nlohmann::json& body) {
    const auto note = [&](std::optional<Clock::time_point> since) {
      const std::lock_guard lock(mutex_);
      connection.sending_since = since;
    };
    note(Clock::now());
    const Status sent = send_message(connection.socket.get(), body);
    note(std::nullopt);
    return sent.ok();
  }

  void serve(Connection& connection) noexcept {
    const int socket = connection.socket.get();
    try {
      ucred peer{};
      socklen_t size = sizeof peer;
      if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return;
      if (peer.uid != 0 && peer.uid != ::geteuid()) {
        send(connection, error_to_json({ErrorCode::PermissionDenied, "the vault belongs to another user"}));
        return;
      }
      auto request = receive_message(socket);
      if (!request.ok()) return;
      const SendProgress progress = [this, &connection](const nlohmann::json& body) {
        return send(connection, {{"progress", body}});
      };
      auto result = handler_({peer.uid, peer.pid}, request.value(), progress);
      const nlohmann::json answer =
          result.ok() ? nlohmann::json{{"result", std::move(result).value()}} : error_to_json(result.error());
      send(connection, answer);  // a client that left needs no answer
    } catch (const std::exception& failure) {
      send(connection, error_to_json({ErrorCode::Internal, failure.what()}));
    }
  }

  UniqueFd listener_;
  UniqueFd wake_;
  std::filesystem::path path_;
  Handler handler_;
  std::atomic<bool> stopped_ = false;
  std::mutex mutex_;                 // guards connections_ and what their threads note in them; a leaf
  std::condition_variable changed_;  // a connection has finished
  std::list<Connection> connections_;
  std::thread acceptor_;
};

}  // namespace

Result<std::unique_ptr<ControlServer>> ControlServer::start(const std::filesystem::path& socket, Handler handler) {
  VAULTFS_ASSIGN_OR_RETURN(const sockaddr_un address, address_of(socket));
  UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  UniqueFd wake(::eventfd(0, EFD_CLOEXEC));
  if (!listener.valid() || !wake.valid())
    return Error{ErrorCode::IoError, std::string("no control socket: ") + std::strerror(errno)};
  // We hold the vault's lock, so a socket that is there is a dead owner's.
  ::unlink(socket.c_str());
  if (::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return Error{error_from_errno(errno),
                 "cannot bind the control socket " + socket.string() + ": " + std::strerror(errno)};
  }
  if (::chmod(socket.c_str(), 0600) != 0 || ::listen(listener.get(), 16) != 0) {
    return Error{error_from_errno(errno), "cannot listen on " + socket.string() + ": " + std::strerror(errno)};
  }
  return std::unique_ptr<ControlServer>(
      std::make_unique<Server>(std::move(listener), std::move(wake), socket, std::move(handler)));
}

}  // namespace vaultfs
