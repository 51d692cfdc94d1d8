#include "tools/vaultctl/text_output.h"

#include <gtest/gtest.h>
#include <spdlog/details/log_msg.h>

#include "tools/log_form.h"

namespace vaultfs {
namespace {

constexpr const char* kHostile = "\x1b[2J\xc2\x9b\u202e\xff\n";
constexpr const char* kHostileShown = "\\x1b[2J\\xc2\\x9b\\xe2\\x80\\xae\\xff\\x0a";

TEST(TextOutput, LinesShowEveryArgumentAndKeepThePattern) {
  EXPECT_EQ(shown_line("%s: 100 %% of %zu\n\tat %u\n", {kHostile, std::size_t{7}, 9U}),
            std::string(kHostileShown) + ": 100 % of 7\n\tat 9\n");
  EXPECT_EQ(shown_line("%s %s.\n", {std::string("a%s")}), "a%s .\n");
  EXPECT_EQ(shown_line("50%", {}), "50");
}

TEST(TextOutput, TablesAndPairsAreShown) {
  ::testing::internal::CaptureStdout();
  print_table({"Item", "Size"}, {{kHostile, "1"}, {"b", kHostile}});
  print_pairs({{"Name", kHostile}, {"Longer", "x"}});
  const std::string shown = kHostileShown;
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), "Item" + std::string(shown.size() - 4, ' ') + "  Size\n" + shown +
                                                          "  1\n" + "b" + std::string(shown.size() - 1, ' ') + "  " +
                                                          shown + "\nName:   " + shown + "\nLonger: x\n");
}

TEST(TextOutput, JsonIsAsciiAndReadsTheSame) {
  ::testing::internal::CaptureStdout();
  print_json({{"item", "\x1b\xc2\x9b\u202e\x7f é"}, {"broken", "a\xff"}});
  const std::string printed = ::testing::internal::GetCapturedStdout();
  for (const char c : printed) EXPECT_TRUE(c == '\n' || (c >= 0x20 && c < 0x7f)) << printed;
  const nlohmann::json read = nlohmann::json::parse(printed);
  EXPECT_EQ(read["item"], "\x1b\xc2\x9b\u202e\x7f é");
  EXPECT_EQ(read["broken"], "a\ufffd");
}

TEST(LogForm, ShowsTheMessageOnOneLine) {
  const auto form = make_log_form();
  spdlog::memory_buf_t out;
  form->format(spdlog::details::log_msg("vaultfs", spdlog::level::warn, kHostile), out);
  const std::string line(out.data(), out.size());
  EXPECT_TRUE(line.ends_with("] [vaultfs] [warning] " + std::string(kHostileShown) + "\n")) << line;
}

}  // namespace
}  // namespace vaultfs
