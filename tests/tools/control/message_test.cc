#include "tools/control/message.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "tests/tools/control/raw_socket.h"

namespace vaultfs {
namespace {

using nlohmann::json;

class MessageTest : public testing::Test {
 protected:
  void SetUp() override {
    std::array<int, 2> ends{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    here_ = FileDescriptor(ends[0]);
    there_ = FileDescriptor(ends[1]);
  }
  // What the other side makes of these bytes and the end of the stream.
  [[nodiscard]] ErrorCode code_for(std::string_view bytes) {
    send_raw(here_.get(), bytes);
    here_.reset();
    const auto received = receive_message(there_.get());
    EXPECT_FALSE(received.ok());
    return received.ok() ? ErrorCode::Internal : received.code();
  }
  FileDescriptor here_, there_;
};

TEST_F(MessageTest, ArrivesAsItWasSent) {
  const json body = {{"verb", "x"}, {"arguments", {{"n", 18446744073709551615ULL}, {"text", "täglich\n\"\\"}}}};
  ASSERT_TRUE(send_message(here_.get(), body).ok());
  ASSERT_TRUE(send_message(here_.get(), json::object()).ok());
  const auto first = receive_message(there_.get());
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(first->body, body);
  EXPECT_TRUE(first->descriptors.empty());
  const auto second = receive_message(there_.get());
  ASSERT_TRUE(second.ok()) << "the first message must end where its length says";
  EXPECT_EQ(second->body, json::object());
}

TEST_F(MessageTest, ArrivesInPieces) {
  const std::string whole = framed(R"({"a":"in pieces"})");
  std::thread sender([&] {
    for (const char c : whole) send_raw(here_.get(), std::string_view(&c, 1));
  });
  const auto received = receive_message(there_.get());
  sender.join();
  ASSERT_TRUE(received.ok());
  EXPECT_EQ(received->body["a"], "in pieces");
}

TEST_F(MessageTest, LargerThanTheSocketsBuffer) {
  const json body = {{"text", std::string(5'000'000, 'x')}};
  std::thread sender([&] { EXPECT_TRUE(send_message(here_.get(), body).ok()); });
  const auto received = receive_message(there_.get());
  sender.join();
  ASSERT_TRUE(received.ok());
  EXPECT_EQ(received->body, body);
}

TEST_F(MessageTest, EndOfTheStream) { EXPECT_EQ(code_for(""), ErrorCode::NotFound); }
TEST_F(MessageTest, EndInTheLength) { EXPECT_EQ(code_for(std::string_view("\x08\0", 2)), ErrorCode::IoError); }
TEST_F(MessageTest, EndInTheBody) { EXPECT_EQ(code_for(framed(R"({"a":1})").substr(0, 9)), ErrorCode::IoError); }
TEST_F(MessageTest, NoBody) { EXPECT_EQ(code_for(framed("")), ErrorCode::InvalidArgument); }
TEST_F(MessageTest, NotJson) { EXPECT_EQ(code_for(framed("GET / HTTP/1.0")), ErrorCode::InvalidArgument); }
TEST_F(MessageTest, NotAnObject) { EXPECT_EQ(code_for(framed("[1,2]")), ErrorCode::InvalidArgument); }
TEST_F(MessageTest, MoreBehindTheObject) { EXPECT_EQ(code_for(framed("{}{}")), ErrorCode::InvalidArgument); }
TEST_F(MessageTest, TooLargeIsRefusedBeforeItIsRead) {
  EXPECT_EQ(code_for(length_prefix(kMaxMessageBytes + 1)), ErrorCode::InvalidArgument);
}
TEST_F(MessageTest, DeeplyNestedIsNoCrash) {
  const std::string nested = std::string(100'000, '[') + std::string(100'000, ']');
  std::thread sender([&] { send_raw(here_.get(), framed(R"({"a":)" + nested + "}")); });
  const auto received = receive_message(there_.get());
  sender.join();
  EXPECT_TRUE(received.ok());
}

TEST_F(MessageTest, SendingToNobodyIsAnErrorAndNoSignal) {
  there_.reset();
  const Status sent = send_message(here_.get(), {{"text", std::string(100'000, 'x')}});
  ASSERT_FALSE(sent.ok());
  EXPECT_EQ(sent.code(), ErrorCode::IoError);
}

TEST_F(MessageTest, ATooLargeMessageIsNotBegun) {
  const Status sent = send_message(here_.get(), {{"text", std::string(kMaxMessageBytes, 'x')}});
  ASSERT_FALSE(sent.ok());
  EXPECT_EQ(sent.code(), ErrorCode::InvalidArgument);
  here_.reset();
  EXPECT_EQ(receive_message(there_.get()).code(), ErrorCode::NotFound) << "nothing may have been sent";
}

TEST_F(MessageTest, DescriptorsTravelInOrderAndCloseOnExec) {
  std::array<int, 2> pipe_ends{};
  ASSERT_EQ(::pipe2(pipe_ends.data(), O_CLOEXEC), 0);
  FileDescriptor reading(pipe_ends[0]), writing(pipe_ends[1]);
  ASSERT_TRUE(send_message(here_.get(), {{"verb", "x"}}, {reading.get(), writing.get()}).ok());
  auto received = receive_message(there_.get());
  ASSERT_TRUE(received.ok());
  ASSERT_EQ(received->descriptors.size(), 2U);
  for (const FileDescriptor& descriptor : received->descriptors) {
    EXPECT_NE(::fcntl(descriptor.get(), F_GETFD) & FD_CLOEXEC, 0);
  }
  reading.reset();
  writing.reset();
  ASSERT_EQ(::write(received->descriptors[1].get(), "y", 1), 1);
  char c = 0;
  ASSERT_EQ(::read(received->descriptors[0].get(), &c, 1), 1);
  EXPECT_EQ(c, 'y');
  received->descriptors[1].reset();
  EXPECT_EQ(::read(received->descriptors[0].get(), &c, 1), 0) << "a copy of the writing end was leaked";
}

TEST_F(MessageTest, DescriptorsOfAMalformedMessageAreClosed) {
  std::array<int, 2> pipe_ends{};
  ASSERT_EQ(::pipe2(pipe_ends.data(), O_CLOEXEC), 0);
  FileDescriptor reading(pipe_ends[0]), writing(pipe_ends[1]);
  send_raw(here_.get(), framed("no JSON"), {writing.get()});
  writing.reset();
  EXPECT_EQ(receive_message(there_.get()).code(), ErrorCode::InvalidArgument);
  char c = 0;
  EXPECT_EQ(::read(reading.get(), &c, 1), 0) << "the descriptor is still open";
}

TEST_F(MessageTest, AsManyDescriptorsAsAllowedAndNoMore) {
  const std::vector<int> most(kMaxDescriptors, STDERR_FILENO);
  ASSERT_TRUE(send_message(here_.get(), json::object(), most).ok());
  const auto received = receive_message(there_.get());
  ASSERT_TRUE(received.ok());
  EXPECT_EQ(received->descriptors.size(), kMaxDescriptors);
  const std::vector<int> more(kMaxDescriptors + 1, STDERR_FILENO);
  EXPECT_EQ(send_message(here_.get(), json::object(), more).code(), ErrorCode::InvalidArgument);
  const std::vector<int> too_many_at_once(100, STDERR_FILENO);
  send_raw(here_.get(), framed("{}"), too_many_at_once);
  EXPECT_EQ(receive_message(there_.get()).code(), ErrorCode::InvalidArgument) << "a part of the files is no message";
}

// File names are bytes; a daemon that is told of another name backs up another file.
TEST_F(MessageTest, NamesThatAreNoUtf8ArriveAsTheyAre) {
  const std::vector<std::string> names{"plain",
                                       "gr\xc3\xbc\xc3\x9f"
                                       "e",
                                       "\xff\xfe",
                                       "caf\xe9.img",
                                       "\x01mark",
                                       "\x01",
                                       "",
                                       std::string("a\0b", 3),
                                       "\xc3",
                                       "\xed\xa0\x80"};
  for (const std::string& name : names) {
    ASSERT_TRUE(send_message(here_.get(), {{"list", {name, {{"deeper", name}}}}}).ok());
    const auto received = receive_message(there_.get());
    ASSERT_TRUE(received.ok());
    EXPECT_EQ(received->body["list"][0].get<std::string>(), name);
    EXPECT_EQ(received->body["list"][1]["deeper"].get<std::string>(), name);
  }
}

TEST(ErrorJson, EveryErrorComesBackAsItself) {
  std::size_t count = 0;
#define VAULTFS_V(name, exit_code, errno_value)                                  \
  {                                                                              \
    const Error sent{ErrorCode::name, "what happened to " #name "; what to do"}; \
    const Error back = error_from_json(json::parse(error_to_json(sent).dump())); \
    EXPECT_EQ(back.code, sent.code) << #name;                                    \
    EXPECT_EQ(back.message, sent.message);                                       \
    ++count;                                                                     \
  }
  VAULTFS_ERROR_CODES(VAULTFS_V)
#undef VAULTFS_V
  EXPECT_GT(count, 80U);
}

TEST(ErrorJson, AnythingElseIsInternal) {
  EXPECT_EQ(error_from_json({{"error", {{"name", "FromTheFuture"}, {"message", "m"}}}}).code, ErrorCode::Internal);
  EXPECT_EQ(error_from_json({{"error", {{"name", "FromTheFuture"}, {"message", "m"}}}}).message, "m");
  for (const char* odd : {"{}", R"({"error":1})", R"({"error":{"name":7,"message":[]}})", R"({"error":{}})", "[]"}) {
    const Error error = error_from_json(json::parse(odd));
    EXPECT_EQ(error.code, ErrorCode::Internal) << odd;
    EXPECT_FALSE(error.message.empty()) << odd;
  }
}

}  // namespace
}  // namespace vaultfs
