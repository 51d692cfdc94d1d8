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
#include <cstring>
#include <list>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "base/thread/mutex.h"
#include "base/thread/thread.h"
#include "tools/control/socket_path.h"

namespace vaultfs {
namespace {

constexpr const char* kWatchVerb = "mount.end";

Result<sockaddr_un> address_of(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string text = path.string();
  if (text.size() >= sizeof address.sun_path)
    return Error{ErrorCode::NameTooLong, "the control socket's path is too long: " + text};
  std::memcpy(address.sun_path, text.c_str(), text.size() + 1);
  return address;
}

struct Listener {
  FileDescriptor socket;
  std::filesystem::path path;
};

class Server final : public ControlServer {
 public:
  Server(std::vector<Listener> listeners, FileDescriptor wake, Handler handler, EndWatch::WaitsFor waits_for)
      : listeners_(std::move(listeners)),
        wake_(std::move(wake)),
        handler_(std::move(handler)),
        watch_(std::move(waits_for)) {
    acceptor_ = Thread("control acceptor", [this] { accept_loop(); });
  }
  ~Server() override {
    stop();
    watch_.end(nullptr);
    finish_connections();
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  Server(Server&&) = delete;
  Server& operator=(Server&&) = delete;

  void name_mount(const std::string& device) override {
    for (const Listener& listener : listeners_) {
      const std::filesystem::path link = listener.path.parent_path() / mount_socket_name(device);
      // One that is there is a dead owner's: the kernel gives this number to one file system at a time.
      ::unlink(link.c_str());
      if (::symlink(listener.path.filename().c_str(), link.c_str()) == 0) links_.push_back(link);
    }
    const MutexLock lock(mutex_);
    device_ = device;
  }

  void stop() override {
    if (stopped_.exchange(true)) return;
    const std::uint64_t one = 1;
    if (::write(wake_.get(), &one, sizeof one) < 0) std::abort();  // an eventfd of ours takes a write of eight bytes
    acceptor_.join();
    for (const std::filesystem::path& link : links_) ::unlink(link.c_str());
    for (const Listener& listener : listeners_) ::unlink(listener.path.c_str());
    watch_.closing();
    MutexLock lock(mutex_);
    // Nobody adds connections any more.
    for (Connection& connection : connections_) {
      if (!connection.watches) ::shutdown(connection.socket.get(), SHUT_RD);
    }
    wait_for_connections([](const Connection& c) { return c.finished || c.watches; });
  }

  void tell_end(const Status& outcome) override {
    watch_.end(outcome.ok() ? nlohmann::json{{"result", {{"safe", true}}}} : error_to_json(outcome.error()));
    finish_connections();
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kLook{100};
  static constexpr std::chrono::duration<int, std::milli> kShortage{200};

  struct Connection {
    FileDescriptor socket;
    Thread thread;
    bool finished = false;                           // its thread is about to end
    bool watches = false;                            // waits for the end of the mount
    std::optional<Clock::time_point> sending_since;  // a message is on its way to the client
  };

  template <typename Done>
  void wait_for_connections(Done done) REQUIRES(mutex_) {
    const auto began = steady_now();
    while (!std::all_of(connections_.begin(), connections_.end(), done)) {
      for (const Connection& connection : connections_) {
        if (!connection.sending_since) continue;
        // A request may take its time, but a client that takes no bytes would hold up the end for ever.
        if (steady_now() - std::max(began, *connection.sending_since) >= kPatience)
          ::shutdown(connection.socket.get(), SHUT_RDWR);
      }
      changed_.wait_for(mutex_, kLook);
    }
  }

  // REQUIRES: stopped, and the watch has ended.
  void finish_connections() {
    std::list<Connection> finished;
    {
      const MutexLock lock(mutex_);
      wait_for_connections([](const Connection& c) { return c.finished; });
      finished.swap(connections_);
    }
    for (Connection& connection : finished) connection.thread.join();
  }

  void accept_loop() {
    std::vector<pollfd> watched{{wake_.get(), POLLIN, 0}};
    for (const Listener& listener : listeners_) watched.push_back({listener.socket.get(), POLLIN, 0});
    while (!stopped_) {
      if (::poll(watched.data(), watched.size(), -1) < 0 && errno != EINTR) return;
      if (stopped_) return;
      reap();
      for (std::size_t i = 1; i < watched.size(); ++i) {
        if ((watched[i].revents & POLLIN) != 0) accept_from(watched[i].fd);
      }
    }
  }

  void accept_from(int listener) {
    FileDescriptor socket(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    if (socket.valid() ? begin(std::move(socket)) : !out_of_means(errno)) return;
    // The client waits in the listener's queue, which stays readable: without a pause this loop would spin.
    pollfd wake{wake_.get(), POLLIN, 0};
    static_cast<void>(::poll(&wake, 1, kShortage.count()));
  }

  static bool out_of_means(int error) {
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
  }

  // False: there is no thread to be had, and the client sees its connection close.
  bool begin(FileDescriptor socket) {
    const MutexLock lock(mutex_);
    Connection& connection = connections_.emplace_back();
    connection.socket = std::move(socket);
    try {
      connection.thread = Thread("control connection", [this, &connection] {
        serve(connection);
        ::shutdown(connection.socket.get(), SHUT_RDWR);
        const MutexLock end_lock(mutex_);
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
    const MutexLock lock(mutex_);
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
      const MutexLock lock(mutex_);
      connection.sending_since = since;
    };
    note(steady_now());
    const Status sent = send_message(connection.socket.get(), body);
    note(std::nullopt);
    return sent.ok();
  }

  // {"device"}: of the mount, as the client sees it.
  void serve_watch(Connection& connection, const nlohmann::json& arguments) {
    {
      const MutexLock lock(mutex_);
      if (!device_.empty() && arguments.is_object() && arguments.value("device", "") == device_) {
        connection.watches = true;
      }
    }
    if (!connection.watches) {
      send(connection, error_to_json({ErrorCode::AnotherVault, "this owner serves another mount"}));
      return;
    }
    watch_.serve(connection.socket.get(), [&](const nlohmann::json& body) { return send(connection, body); });
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
      if (request->body.value("verb", nlohmann::json()) == kWatchVerb) {
        return serve_watch(connection, request->body.value("arguments", nlohmann::json()));
      }
      const SendProgress progress = [this, &connection, socket](const nlohmann::json& body) {
        // After stop() it is we who have ended that direction.
        if (has_hung_up(socket) && !stopped_) return false;
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

  const std::vector<Listener> listeners_;
  FileDescriptor wake_;
  Handler handler_;
  EndWatch watch_;
  std::vector<std::filesystem::path> links_;
  std::atomic<bool> stopped_ = false;
  Mutex mutex_;      // a leaf; guards what the threads of connections note in them, too
  CondVar changed_;  // a connection has finished
  std::list<Connection> connections_ GUARDED_BY(mutex_);
  std::string device_ GUARDED_BY(mutex_);
  Thread acceptor_;
};

Result<Listener> listen_on(const std::filesystem::path& path) {
  VAULTFS_ASSIGN_OR_RETURN(const sockaddr_un address, address_of(path));
  Listener listener{FileDescriptor(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)), path};
  if (!listener.socket.valid()) return Error{ErrorCode::IoError, std::string("no socket: ") + std::strerror(errno)};
  // We hold the vault's lock, so a socket that is there is a dead owner's.
  ::unlink(path.c_str());
  if (::bind(listener.socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return Error{error_from_errno(errno),
                 "cannot bind the control socket " + path.string() + ": " + std::strerror(errno)};
  }
  if (::chmod(path.c_str(), 0600) != 0 || ::listen(listener.socket.get(), 16) != 0) {
    return Error{error_from_errno(errno), "cannot listen on " + path.string() + ": " + std::strerror(errno)};
  }
  return listener;
}

}  // namespace

Result<std::unique_ptr<ControlServer>> ControlServer::start(const std::vector<std::filesystem::path>& sockets,
                                                            Handler handler, EndWatch::WaitsFor waits_for) {
  FileDescriptor wake(::eventfd(0, EFD_CLOEXEC));
  if (!wake.valid()) return Error{ErrorCode::IoError, std::string("no control socket: ") + std::strerror(errno)};
  std::vector<Listener> listeners;
  Status first;
  for (const std::filesystem::path& path : sockets) {
    auto listener = listen_on(path);
    if (listener.ok()) {
      listeners.push_back(std::move(listener).value());
    } else if (first.ok()) {
      first = std::move(listener).error();
    }
  }
  // One is enough: clients look at all.
  if (listeners.empty()) {
    return first.ok() ? Error{ErrorCode::InvalidArgument, "no control socket is named"} : std::move(first).error();
  }
  return std::unique_ptr<ControlServer>(
      std::make_unique<Server>(std::move(listeners), std::move(wake), std::move(handler), std::move(waits_for)));
}

}  // namespace vaultfs
