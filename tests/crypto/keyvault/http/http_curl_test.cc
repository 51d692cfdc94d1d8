#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thread>

#include "crypto/keyvault/http/curl.h"
#include "tests/crypto/keyvault/transit/transit_fixture.h"

namespace vaultfs {
namespace {

using std::chrono::milliseconds;

// curl against a server with real TLS: /v1/sys/health of a Transit double.
class TransitServerHttp : public ::testing::Test {
 protected:
  HttpRequest request(const std::string& host = "localhost") {
    HttpRequest made;
    const std::string port = server_.address().substr(server_.address().rfind(':'));
    made.url = value_of(HttpUrl::parse("https://" + host + port, "url", PlainHttp::never));
    made.url.path = "/v1/sys/health";
    return made;
  }
  Result<HttpAnswer> exchange(const HttpRequest& request, HttpTlsFiles files = {"/ca.pem", {}, {}},
                              milliseconds timeout = std::chrono::seconds(20)) {
    VAULTFS_ASSIGN_OR_RETURN(const auto session, make_curl_transport(machine_.env(), std::move(files))->open_session());
    return session->exchange(request, timeout);
  }

  TransitWorld world_;
  RestDouble& server_ = world_.engine();
  RestMachine& machine_ = world_.machine();
};

TEST_F(TransitServerHttp, AnswersComeWithStatusAndHeadersOverOneConnection) {
  const auto transport = make_curl_transport(machine_.env(), {"/ca.pem", {}, {}});
  const auto session = value_of(transport->open_session());
  for (const bool sealed : {false, true}) {
    server_.ask({{"do", "server"}, {"sealed", sealed}});
    const HttpAnswer answer = value_of(session->exchange(request(), std::chrono::seconds(20)));
    EXPECT_EQ(answer.status, sealed ? 503 : 200);
    EXPECT_NE(answer.body.find("initialized"), std::string::npos);
    ASSERT_NE(answer.header("content-type"), nullptr);
    EXPECT_EQ(*answer.header("content-type"), "application/json");
  }
}

TEST_F(TransitServerHttp, ServersThatNobodyVouchesForGetNoRequest) {
  EXPECT_TRUE(fails(exchange(request(), {}), ErrorCode::KeyVaultUnavailable, "not trusted"));
  // A name that the certificate does not have.
  EXPECT_TRUE(fails(exchange(request("other.localhost")), ErrorCode::KeyVaultUnavailable, "not trusted"));
  machine_.copy_file(server_.file("client.pem"), "/other.pem");
  EXPECT_TRUE(fails(exchange(request(), {"/other.pem", {}, {}}), ErrorCode::KeyVaultUnavailable, "not trusted"));
  EXPECT_TRUE(server_.requests().empty());
}

// A private authority says nothing of the servers for which it was not named, and the system's says nothing of this
// one.
TEST_F(TransitServerHttp, AuthoritiesCountForTheServersTheyAreFor) {
  const std::string here = request().url.origin();
  HttpTlsFiles files{"/ca.pem", {}, {}};
  for (const std::vector<std::string>& origins :
       {std::vector<std::string>{"https://login.example"}, {"https://localhost"}, {here + "0"}}) {
    files.authorities_for = origins;
    EXPECT_TRUE(fails(exchange(request(), files), ErrorCode::KeyVaultUnavailable, "not trusted")) << origins[0];
  }
  files.authorities_for = {"https://login.example", here};
  EXPECT_EQ(value_of(exchange(request(), files)).status, 200);
}

TEST_F(TransitServerHttp, FilesOfTheConfigurationThatAreNoGoodAreNamed) {
  EXPECT_TRUE(fails(exchange(request(), {"/none.pem", {}, {}}), ErrorCode::KeyVaultUnavailable, "/none.pem"));
  machine_.write_secret("/text.pem", "no certificate");
  EXPECT_TRUE(fails(exchange(request(), {"/text.pem", {}, {}}), ErrorCode::KeyVaultUnavailable, "/text.pem"));
  machine_.write_secret("/damaged.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
  EXPECT_TRUE(fails(exchange(request(), {"/damaged.pem", {}, {}}), ErrorCode::KeyVaultUnavailable));
  EXPECT_TRUE(server_.requests().empty());
}

// Whoever may write the file of authorities would be the key vault for root's own process.
TEST_F(TransitServerHttp, AuthoritiesAreReadFromTheirOwnersFileOnly) {
  const ScratchDirectory files;
  const auto path = files / "ca.pem";
  std::filesystem::copy_file(server_.file("ca.pem"), path);
  const auto status = [&]() -> Result<int> {
    VAULTFS_ASSIGN_OR_RETURN(const auto session, make_curl_transport(posix_env(), {path, {}, {}})->open_session());
    VAULTFS_ASSIGN_OR_RETURN(const HttpAnswer answer, session->exchange(request(), std::chrono::seconds(20)));
    return answer.status;
  };
  ASSERT_EQ(::chmod(path.c_str(), 0644), 0);
  EXPECT_EQ(value_of(status()), 200);
  for (const mode_t mode : {0664, 0646}) {
    ASSERT_EQ(::chmod(path.c_str(), mode), 0);
    EXPECT_TRUE(fails(status(), ErrorCode::PermissionDenied, "can be written by others"));
  }
  ASSERT_EQ(::chmod(path.c_str(), 0644), 0);
  if (::geteuid() != 0) return;
  ASSERT_EQ(::chown(path.c_str(), 65534, 65534), 0);
  EXPECT_TRUE(fails(status(), ErrorCode::PermissionDenied, "belongs to user 65534"));
}

TEST_F(TransitServerHttp, BrokenExchangesMayBeTriedAgain) {
  for (const char* const kind : {"drop", "cut"}) {
    server_.fault({{"kind", kind}});
    EXPECT_TRUE(fails(exchange(request()), ErrorCode::TryAgain, "https://localhost")) << kind;
  }
  server_.fault({{"kind", "hang"}});
  EXPECT_TRUE(fails(exchange(request(), {"/ca.pem", {}, {}}, milliseconds(300)), ErrorCode::TryAgain));
  server_.heal();
  HttpRequest nobody = request();
  nobody.url.port = 1;
  EXPECT_TRUE(fails(exchange(nobody), ErrorCode::TryAgain));
  HttpRequest nowhere = request();
  nowhere.url.host = "no-such-host.invalid";
  EXPECT_TRUE(fails(exchange(nowhere), ErrorCode::TryAgain));
  EXPECT_EQ(value_of(exchange(request())).status, 200);
}

TEST_F(TransitServerHttp, OversizedAnswersAreBrokenOff) {
  server_.fault({{"kind", "oversized"}});
  EXPECT_TRUE(fails(exchange(request()), ErrorCode::KeyVaultUnavailable, "more than a key vault's answers have"));
  server_.fault({{"kind", "status"}, {"status", 200}, {"headers", {{"X-Large", std::string(70'000, 'h')}}}});
  EXPECT_FALSE(exchange(request()).ok());
}

TEST_F(TransitServerHttp, RedirectsAreAnswersLikeOthers) {
  server_.fault({{"kind", "redirect"}, {"location", server_.address() + "/elsewhere"}});
  EXPECT_EQ(value_of(exchange(request())).status, 307);
  EXPECT_EQ(server_.requests().size(), 1U);
}

TEST_F(TransitServerHttp, ProxiesAreNotAskedForLoopback) {
  ::setenv("https_proxy", "http://127.0.0.1:1", 1);
  const auto result = exchange(request());
  ::unsetenv("https_proxy");
  EXPECT_EQ(value_of(result).status, 200);
}

TEST_F(TransitServerHttp, ThreadsDoNotDisturbEachOther) {
  const auto transport = make_curl_transport(machine_.env(), {"/ca.pem", {}, {}});
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 5; ++j) {
        const auto session = value_of(transport->open_session());
        good += session->exchange(request(), std::chrono::seconds(20)).ok() ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, 20);
}

TEST(TransitServerHttpClient, IsShownFromPrivateFiles) {
  RestDouble server("transit", {"--client-certificate"});
  RestMachine machine;
  machine.copy_file(server.file("ca.pem"), "/ca.pem");
  HttpRequest request;
  request.url = value_of(HttpUrl::parse(server.address(), "url", PlainHttp::never));
  request.url.path = "/v1/sys/health";
  const auto exchange = [&](Env& env, const HttpTlsFiles& files) -> Result<HttpAnswer> {
    VAULTFS_ASSIGN_OR_RETURN(const auto session, make_curl_transport(env, files)->open_session());
    return session->exchange(request, std::chrono::seconds(20));
  };
  EXPECT_FALSE(exchange(machine.env(), {"/ca.pem", {}, {}}).ok());
  HttpTlsFiles files{server.file("ca.pem"), server.file("client.pem"), server.file("client.key")};
  EXPECT_EQ(value_of(exchange(posix_env(), files)).status, 200);
  ASSERT_EQ(::chmod(server.file("client.key").c_str(), 0644), 0);
  EXPECT_TRUE(fails(exchange(posix_env(), files), ErrorCode::PermissionDenied, "client.key"));
}

}  // namespace
}  // namespace vaultfs
