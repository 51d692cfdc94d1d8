#include <gtest/gtest.h>

#include <limits>
#include <optional>

#include "crypto/keyvault/http/client.h"
#include "crypto/keyvault/http/retry.h"
#include "tests/crypto/keyvault/outcome.h"
#include "tests/support/sim_env.h"

namespace vaultfs {
namespace {

using std::chrono::milliseconds;

HttpAnswer answer(int status, std::vector<std::pair<std::string, std::string>> headers = {}) {
  HttpAnswer made;
  made.status = status;
  made.headers = std::move(headers);
  return made;
}

TEST(HttpRetry, ReadsWhatServersAskFor) {
  const std::int64_t now = 784111777;  // Sun, 06 Nov 1994 08:49:37 GMT
  EXPECT_EQ(retry_after(answer(429), now), std::nullopt);
  EXPECT_EQ(retry_after(answer(429, {{"retry-after", "7"}}), now), milliseconds(7000));
  EXPECT_EQ(retry_after(answer(429, {{"retry-after", "Sun, 06 Nov 1994 08:49:40 GMT"}}), now), milliseconds(3000));
  EXPECT_EQ(retry_after(answer(429, {{"retry-after", "Sun, 06 Nov 1994 08:49:30 GMT"}}), now), milliseconds(0));
  EXPECT_EQ(retry_after(answer(429, {{"retry-after", "9"}, {"x-ms-retry-after-ms", "250"}}), now), milliseconds(250));
  EXPECT_EQ(retry_after(answer(429, {{"retry-after-ms", "40"}, {"x-ms-retry-after-ms", "250"}}), now),
            milliseconds(40));
  // What cannot be read is passed over, what is absurd is bounded.
  EXPECT_EQ(retry_after(answer(429, {{"retry-after-ms", "-1"}, {"retry-after", "2"}}), now), milliseconds(2000));
  EXPECT_EQ(retry_after(answer(429, {{"retry-after", "soon"}}), now), std::nullopt);
  EXPECT_EQ(retry_after(answer(429, {{"retry-after", "9223372036854775807"}}), now), milliseconds(86400000));
  EXPECT_EQ(retry_after(answer(429, {{"retry-after", "99999999999999999999"}}), now), std::nullopt);
}

TEST(HttpRetry, ReadsDates) {
  EXPECT_EQ(parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT"), 784111777);
  for (const char* const text :
       {"", "Sun, 06 Nov 1994 08:49:37 CET", "Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 06 nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:-9:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994", "06 Nov 1994 08:49:37 GMT", " Sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37", "Mon, 06 Nov 1994 08:49:37 GMT", "Sun, 6 Nov 1994 08:49:37 GMT",
        "19941106 08:49:37", "Wed, 31 Dec 1969 23:59:59 GMT", "Sun, 06 Nov 1994 08:49:37 GMT "}) {
    EXPECT_EQ(parse_http_date(text), std::nullopt) << text;
  }
}

TEST(HttpRetry, PausesGrowWithJitterAndAreBounded) {
  for (const std::uint32_t random : {0U, 17U, 40U, std::numeric_limits<std::uint32_t>::max()}) {
    std::int64_t base = 800;
    for (std::size_t retry = 0; retry < 3; ++retry, base *= 2) {
      const auto pause = pause_before(kServiceRetries, retry, random).count();
      EXPECT_GE(pause, base * 8 / 10);
      EXPECT_LE(pause, base * 12 / 10);
    }
  }
  EXPECT_NE(pause_before(kServiceRetries, 0, 0), pause_before(kServiceRetries, 0, 40));
  EXPECT_EQ(pause_before(kMetadataRetries, 0, 7), milliseconds(0));
}

// Answers from a list, one after another; what is asked beyond its end fails the test.
class Script final : public HttpTransport {
 public:
  explicit Script(std::vector<Result<HttpAnswer>> answers) : answers_(std::move(answers)) {}
  Result<std::unique_ptr<HttpSession>> open_session() override {
    return std::unique_ptr<HttpSession>(std::make_unique<VaultEngine>(*this));
  }
  std::size_t asked = 0;
  std::vector<milliseconds> timeouts;

 private:
  class VaultEngine final : public HttpSession {
   public:
    explicit VaultEngine(Script& script) : script_(script) {}
    Result<HttpAnswer> exchange(const HttpRequest&, milliseconds timeout) override {
      script_.timeouts.push_back(timeout);
      return script_.answers_.at(script_.asked++);
    }

   private:
    Script& script_;
  };
  std::vector<Result<HttpAnswer>> answers_;
};

class HttpCallTest : public ::testing::Test {
 protected:
  Result<HttpAnswer> send(std::vector<Result<HttpAnswer>> answers, const HttpRetryPlan& plan = kServiceRetries,
                          const HttpCall::IsFinal& is_final = {}) {
    script_ = std::make_shared<Script>(std::move(answers));
    means_ = {script_, [this](milliseconds pause) {
                pauses_.push_back(pause);
                env_.sim_clock().advance_nanos(std::chrono::nanoseconds(pause + oversleep_).count());
              }};
    pauses_.clear();
    HttpCall call(env_, means_, std::chrono::seconds(30));
    HttpRequest request;
    request.url = value_of(HttpUrl::parse("https://kv.example", "url", PlainHttp::never));
    request.headers.emplace_back("X-Vault-Token", LockedText("hvs.secret-token-text"));
    return call.send(request, plan, is_final);
  }

  SimEnv env_;
  HttpMeans means_;
  std::shared_ptr<Script> script_;
  std::vector<milliseconds> pauses_;
  milliseconds oversleep_{0};
  const Error broken_{ErrorCode::TryAgain, "cut off"};
};

TEST_F(HttpCallTest, TriesThreeTimesMoreThenGivesWhatCameLast) {
  EXPECT_EQ(value_of(send({broken_, answer(503), answer(500), answer(200)})).status, 200);
  EXPECT_EQ(pauses_.size(), 3U);
  EXPECT_EQ(value_of(send({answer(503), answer(502), answer(504), answer(429)})).status, 429);
  EXPECT_TRUE(fails(send({broken_, broken_, broken_, broken_}), ErrorCode::KeyVaultUnavailable, "cut off"));
  for (const int status : {200, 204, 400, 401, 403, 404, 409}) {
    EXPECT_EQ(value_of(send({answer(status)})).status, status);
    EXPECT_TRUE(pauses_.empty());
  }
  const Error untrusted{ErrorCode::KeyVaultUnavailable, "untrusted"};
  EXPECT_TRUE(fails(send({untrusted}), ErrorCode::KeyVaultUnavailable, "untrusted"));
  const Error memory{ErrorCode::MemoryLockFailed, "memory"};
  EXPECT_TRUE(fails(send({memory}), ErrorCode::MemoryLockFailed));
}

TEST_F(HttpCallTest, DoesNothingTwiceThatMustNotBe) {
  EXPECT_TRUE(fails(send({broken_}, kUnrepeatable), ErrorCode::KeyVaultUnavailable));
  EXPECT_EQ(value_of(send({answer(500)}, kUnrepeatable)).status, 500);
  EXPECT_EQ(value_of(send({answer(503), answer(429), answer(200)}, kUnrepeatable)).status, 200);
  EXPECT_EQ(value_of(send({answer(503)}, kNoRetries)).status, 503);
}

TEST_F(HttpCallTest, WaitsAsAskedButNeverBeyondTheTotal) {
  EXPECT_EQ(value_of(send({answer(429, {{"retry-after", "12"}}), answer(200)})).status, 200);
  EXPECT_EQ(pauses_, std::vector<milliseconds>{milliseconds(12000)});
  EXPECT_EQ(script_->timeouts, (std::vector<milliseconds>{milliseconds(30000), milliseconds(18000)}));
  EXPECT_EQ(value_of(send({answer(429, {{"retry-after", "30"}})})).status, 429);
  EXPECT_TRUE(pauses_.empty());
  // 12 s, 12 s, and no time for a third pause.
  const auto slow = answer(503, {{"retry-after", "12"}});
  EXPECT_EQ(value_of(send({slow, slow, slow})).status, 503);
  EXPECT_EQ(pauses_.size(), 2U);
}

TEST_F(HttpCallTest, TheLastAnswerIsGivenAlsoWhereAPauseTookAllTheTime) {
  oversleep_ = std::chrono::minutes(1);
  EXPECT_EQ(value_of(send({answer(503)})).status, 503);
  EXPECT_TRUE(fails(send({broken_}), ErrorCode::KeyVaultUnavailable, "cut off"));
}

TEST_F(HttpCallTest, MetadataServicesAreAskedAgainAfterA404) {
  EXPECT_EQ(value_of(send({answer(404), answer(500), answer(404), answer(200)}, kMetadataRetries)).status, 200);
  EXPECT_EQ(pauses_[0], milliseconds(0));
  EXPECT_GE(pauses_[2], milliseconds(4800));
  EXPECT_EQ(value_of(send({answer(400)}, kMetadataRetries)).status, 400);
}

TEST_F(HttpCallTest, RedirectsAreNamedAndEndTheCall) {
  const auto redirect = answer(307, {{"location", "https://evil.example/v1?token=abc"}});
  const auto result = send({redirect});
  EXPECT_TRUE(fails(result, ErrorCode::KeyVaultUnavailable, "redirect (307) to https://evil.example,"));
  EXPECT_EQ(result.error().message.find("abc"), std::string::npos);
  EXPECT_TRUE(fails(send({answer(302)}), ErrorCode::KeyVaultUnavailable, "never followed"));
}

TEST_F(HttpCallTest, AnAnswerThatSettlesTheMatterIsNotAskedForAgain) {
  const auto settles = [](const HttpAnswer& got) { return got.status == 500; };
  EXPECT_EQ(value_of(send({answer(503), answer(500)}, kServiceRetries, settles)).status, 500);
}

TEST(HttpQuotable, WithholdsWhatRepeatsTheRequest) {
  HttpRequest request;
  request.headers.emplace_back("X-Vault-Token", LockedText("hvs.0123456789abcdef"));
  request.body = R"({"plaintext":"QUJDREVGR0hJSktMTU5PUA=="})";
  EXPECT_EQ(quotable("permission denied", request), "permission denied");
  for (const char* const text : {"bad token hvs.0123456789abcdef!", "…3456789abcdef…", "cannot use QUJDREVGR0hJSktM"}) {
    EXPECT_EQ(quotable(text, request), "(a text that repeats the request, withheld)") << text;
  }
}

}  // namespace
}  // namespace vaultfs
