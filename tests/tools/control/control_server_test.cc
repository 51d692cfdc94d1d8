#include "tools/control/control_server.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/assert_ok.h"
#include "tests/tools/control/control_fixture.h"
#include "tests/tools/control/raw_socket.h"

namespace vaultfs {
namespace {

using nlohmann::json;

FileDescriptor connect_to(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  FileDescriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) socket.reset();
  return socket;
}

// Something that one thread waits for and another one brings about.
class Event {
 public:
  void set() {
    const std::lock_guard lock(mutex_);
    happened_ = true;
    changed_.notify_all();
  }
  [[nodiscard]] bool wait() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(30), [this] { return happened_; });
  }

 private:
  std::mutex mutex_;  // guards happened_; a leaf
  std::condition_variable changed_;
  bool happened_ = false;
};

// A client that watches the end of the mount 0:77.
class WatchTest : public ControlTest {
 protected:
  void SetUp() override {
    ControlTest::SetUp();
    server_ = start(echo);
    server_->name_mount("0:77");
  }
  [[nodiscard]] static FileDescriptor watch(const std::string& device) {
    auto found = connect_to_mount("0:77", ::geteuid());
    EXPECT_TRUE(found.ok() && found->has_value());
    if (!found.ok() || !found->has_value()) return FileDescriptor();
    EXPECT_TRUE(send_message((*found)->get(), {{"verb", "mount.end"}, {"arguments", {{"device", device}}}}).ok());
    return std::move(**found);
  }
  [[nodiscard]] static json next(const FileDescriptor& socket) {
    const auto message = receive_message(socket.get());
    return message.ok() ? message->body : json(nullptr);
  }
  std::unique_ptr<ControlServer> server_;
};

TEST_F(WatchTest, IsToldWhatCameOfIt) {
  const FileDescriptor good = watch("0:77");
  EXPECT_EQ(next(good)["progress"]["state"], "serving");
  const FileDescriptor stranger = watch("0:78");
  EXPECT_EQ(next(stranger)["error"]["name"], "AnotherVault") << "a number that was another mount's before";
  server_->stop();
  EXPECT_FALSE(std::filesystem::exists(std::filesystem::symlink_status(scratch_ / "run/mount-0.77.sock")));
  json word;
  do word = next(good);
  while (word.contains("progress") && word["progress"]["state"] == "serving");
  EXPECT_EQ(word["progress"]["state"], "closing");
  server_->tell_end(Error{ErrorCode::NoSpace, "the last point"});
  do word = next(good);
  while (word.contains("progress"));
  EXPECT_EQ(word["error"]["name"], "NoSpace");
}

TEST_F(WatchTest, SuccessIsSaidAndNothingElsePassesForIt) {
  const FileDescriptor first = watch("0:77");
  EXPECT_TRUE(next(first).contains("progress"));
  server_->stop();
  server_->tell_end(ok_status());
  json word;
  do word = next(first);
  while (word.contains("progress"));
  EXPECT_EQ(word["result"]["safe"], true);

  server_ = start(echo);
  server_->name_mount("0:77");
  const FileDescriptor second = watch("0:77");
  EXPECT_TRUE(next(second).contains("progress"));
  server_.reset();  // ends without a word
  do word = next(second);
  while (word.is_object() && word.contains("progress"));
  EXPECT_TRUE(word.is_null());
}

TEST_F(WatchTest, OneWhoLeavesHoldsNothingUp) {
  { const FileDescriptor left = watch("0:77"); }
  server_->stop();
  server_->tell_end(ok_status());
}

TEST_F(ControlTest, AnswersAndNamesTheCaller) {
  const auto server = start([](const Caller& caller, Message& request, const ControlServer::SendProgress&) {
    return Result<json>(json{{"uid", caller.uid}, {"pid", caller.pid}, {"verb", request.body["verb"]}});
  });
  const auto answer = ask("key.usage");
  ASSERT_TRUE(answer.ok()) << answer.error().message;
  EXPECT_EQ((*answer)["verb"], "key.usage");
  EXPECT_EQ((*answer)["uid"], ::geteuid());
  EXPECT_EQ((*answer)["pid"], ::getpid());
  struct stat st {};
  ASSERT_EQ(::stat(socket_.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777U, 0600U);
}

TEST_F(ControlTest, AnErrorArrivesWithItsNameAndAnExceptionAsInternal) {
  const auto server = start([](const Caller&, Message& request, const ControlServer::SendProgress&) -> Result<json> {
    if (request.body["verb"] == "throw") throw std::runtime_error("thrown on purpose");
    return Error{ErrorCode::KeyVersionInUse, "still needed"};
  });
  EXPECT_EQ(ask("x").code(), ErrorCode::KeyVersionInUse);
  EXPECT_EQ(ask("x").error().message, "still needed");
  EXPECT_EQ(ask("throw").code(), ErrorCode::Internal);
  EXPECT_EQ(ask("x").code(), ErrorCode::KeyVersionInUse) << "the server must outlive an exception";
}

TEST_F(ControlTest, ProgressComesBeforeTheResult) {
  const auto server = start([](const Caller&, Message&, const ControlServer::SendProgress& progress) -> Result<json> {
    for (int i = 1; i <= 3; ++i) EXPECT_TRUE(progress({{"done_bytes", i}}));
    return json{{"done", true}};
  });
  const auto owner = connect_to_owner(vault());
  ASSERT_TRUE(owner.ok() && *owner);
  std::vector<int> seen;
  const auto answer = ask_owner(**owner, "restore", json::object(), {},
                                [&seen](const json& progress) { seen.push_back(progress["done_bytes"]); });
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(seen, (std::vector<int>{1, 2, 3}));
}

TEST_F(ControlTest, ServesSeveralAtOnce) {
  constexpr int kClients = 8;
  std::atomic<int> inside = 0;
  Event all_inside;
  const auto server = start([&](const Caller&, Message& request, const ControlServer::SendProgress&) -> Result<json> {
    if (++inside == kClients) all_inside.set();
    // Nobody gets out before all are in: one after another would time out.
    if (!all_inside.wait()) return Error{ErrorCode::Internal, "served one after another"};
    return request.body["arguments"];
  });
  std::vector<std::thread> clients;
  for (int i = 0; i < kClients; ++i) {
    clients.emplace_back([this, i] {
      const auto answer = ask("echo", {{"n", i}});
      ASSERT_TRUE(answer.ok()) << answer.error().message;
      EXPECT_EQ((*answer)["n"], i) << "another client's answer";
    });
  }
  for (std::thread& client : clients) client.join();
}

TEST_F(ControlTest, AClientThatGoesAwayStopsItsRequestOnly) {
  Event client_is_gone;
  Event noticed;
  const auto server =
      start([&](const Caller&, Message& request, const ControlServer::SendProgress& progress) -> Result<json> {
        if (request.body["verb"] == "echo") return request.body["arguments"];
        if (!client_is_gone.wait()) return Error{ErrorCode::Internal, "waited in vain"};
        if (!progress({{"done_bytes", 1}})) noticed.set();
        return json::object();
      });
  {
    const FileDescriptor client = connect_to(socket_);
    ASSERT_TRUE(client.valid());
    ASSERT_TRUE(send_message(client.get(), {{"verb", "long"}, {"arguments", json::object()}}).ok());
  }
  client_is_gone.set();
  EXPECT_TRUE(noticed.wait()) << "progress went on for a client that had left";
  const auto answer = ask("echo", {{"still", "here"}});
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ((*answer)["still"], "here");
}

TEST_F(ControlTest, GarbageEndsOneConnectionOnly) {
  const auto server = start(echo);
  for (const std::string& garbage : {std::string("GET / HTTP/1.0\r\n\r\n"), std::string(1, '\0'), framed("[]"),
                                     length_prefix(0xffffffffU), std::string()}) {
    const FileDescriptor client = connect_to(socket_);
    ASSERT_TRUE(client.valid());
    send_raw(client.get(), garbage);
    ::shutdown(client.get(), SHUT_WR);
    pollfd readable{client.get(), POLLIN, 0};
    ASSERT_EQ(::poll(&readable, 1, 30'000), 1) << "the connection was not ended";
  }
  EXPECT_TRUE(ask("echo").ok());
}

TEST_F(ControlTest, ReplacesAStaleSocketAndRemovesItsOwn) {
  {
    // What a killed owner leaves: a bound socket that nobody listens on.
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, socket_.c_str(), sizeof address.sun_path - 1);
    const FileDescriptor dead(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::bind(dead.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  ASSERT_TRUE(std::filesystem::exists(socket_));
  const auto nobody = connect_to_owner(vault());
  ASSERT_TRUE(nobody.ok()) << "a stale socket is no error: " << nobody.error().message;
  EXPECT_FALSE(nobody->has_value());
  auto server = start(echo);
  EXPECT_TRUE(ask("echo").ok());
  server->stop();
  EXPECT_FALSE(std::filesystem::exists(socket_));
  EXPECT_FALSE(connect_to_owner(vault()).value().has_value());
  server->stop();  // a second time is allowed
}

TEST_F(ControlTest, StopsThoughAClientSaysNothing) {
  auto server = start(echo);
  const FileDescriptor silent = connect_to(socket_);
  ASSERT_TRUE(silent.valid());
  EXPECT_TRUE(ask("echo").ok());  // so the silent one, who came before, has been accepted
  Event stopped;
  std::thread stopper([&] {
    server->stop();
    stopped.set();
  });
  EXPECT_TRUE(stopped.wait()) << "stop() waits for a client that says nothing";
  stopper.join();
}

TEST_F(ControlTest, StopWaitsForTheRequestUnderWay) {
  Event begun;
  std::atomic<bool> ended = false;
  auto server = start([&](const Caller&, Message&, const ControlServer::SendProgress&) -> Result<json> {
    begun.set();
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    ended = true;
    return json{{"finished", true}};
  });
  std::thread client([this] {
    const auto answer = ask("long");
    ASSERT_TRUE(answer.ok()) << answer.error().message;
    EXPECT_EQ((*answer)["finished"], true);
  });
  ASSERT_TRUE(begun.wait());
  server->stop();
  EXPECT_TRUE(ended);
  client.join();
}

TEST_F(ControlTest, APathThatNoSocketCanHaveIsNamed) {
  const auto server = ControlServer::start({scratch_ / std::string(200, 'x')}, echo);
  ASSERT_FALSE(server.ok());
  EXPECT_EQ(server.code(), ErrorCode::NameTooLong);
  const auto nowhere = ControlServer::start({scratch_ / "missing/socket"}, echo);
  ASSERT_FALSE(nowhere.ok());
  EXPECT_EQ(nowhere.code(), ErrorCode::NotFound);
}

TEST_F(ControlTest, AnOwnerThatEndsBeforeItAnswersIsAnError) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, socket_.c_str(), sizeof address.sun_path - 1);
  const FileDescriptor listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  std::thread owner([&] {
    const FileDescriptor connection(::accept(listener.get(), nullptr, nullptr));
    EXPECT_TRUE(receive_message(connection.get()).ok());
  });
  const auto answer = ask("x");
  owner.join();
  ASSERT_FALSE(answer.ok());
  EXPECT_EQ(answer.code(), ErrorCode::IoError);
}

TEST_F(ControlTest, StopsThoughAClientDoesNotTakeItsAnswer) {
  Event answering;
  auto server = start([&](const Caller&, Message&, const ControlServer::SendProgress&) -> Result<json> {
    answering.set();
    return json{{"much", std::string(8U << 20, 'x')}};
  });
  const FileDescriptor deaf = connect_to(socket_);
  ASSERT_TRUE(deaf.valid());
  ASSERT_TRUE(send_message(deaf.get(), {{"verb", "x"}, {"arguments", json::object()}}).ok());
  ASSERT_TRUE(answering.wait());
  Event stopped;
  std::thread stopper([&] {
    server->stop();
    stopped.set();
  });
  const bool in_time = stopped.wait();
  EXPECT_TRUE(in_time) << "stop() waits for a client that takes nothing";
  if (!in_time) ::shutdown(deaf.get(), SHUT_RDWR);
  stopper.join();
}

TEST_F(ControlTest, AClientThatDoesNotTakeItsProgressHoldsUpNoEnd) {
  std::atomic<bool> told = false;
  Event begun;
  auto server = start([&](const Caller&, Message&, const ControlServer::SendProgress& progress) -> Result<json> {
    begun.set();
    while (progress({{"text", std::string(65536, 'x')}})) continue;
    told = true;
    return json::object();
  });
  const FileDescriptor deaf = connect_to(socket_);
  ASSERT_TRUE(send_message(deaf.get(), {{"verb", "x"}, {"arguments", json::object()}}).ok());
  ASSERT_TRUE(begun.wait());
  Event stopped;
  std::thread stopper([&] {
    server->stop();
    stopped.set();
  });
  const bool in_time = stopped.wait();
  EXPECT_TRUE(in_time);
  EXPECT_TRUE(told) << "the request was not told that its client is gone";
  if (!in_time) ::shutdown(deaf.get(), SHUT_RDWR);
  stopper.join();
}

// A process that has used up its descriptors: who connects waits, and the server does not burn a core meanwhile.
TEST_F(ControlTest, OutOfDescriptorsItWaitsWithoutSpinning) {
  const auto server = start([](const Caller&, Message&, const ControlServer::SendProgress&) {
    return Result<json>(json{{"answer", 42}});
  });
  ASSERT_NE(server, nullptr);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const FileDescriptor client(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const FileDescriptor next(::dup(client.get()));  // the lowest free number is above it
  const rlimit full{static_cast<rlim_t>(next.get()) + 1, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &full), 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, socket_.c_str(), sizeof address.sun_path - 1);
  const int connected = ::connect(client.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const std::clock_t began = std::clock();
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  const double burnt = static_cast<double>(std::clock() - began) / CLOCKS_PER_SEC;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  ASSERT_EQ(connected, 0);
  EXPECT_LT(burnt, 0.1);
  ASSERT_TRUE(send_message(client.get(), json{{"verb", "any"}, {"arguments", json::object()}}).ok());
  auto answer = receive_message(client.get());
  ASSERT_TRUE(answer.ok()) << answer.error().message;
  EXPECT_EQ(answer->body["result"]["answer"], 42);
}

}  // namespace
}  // namespace vaultfs
