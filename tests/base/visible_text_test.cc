#include "base/visible_text.h"

#include <gtest/gtest.h>

namespace vaultfs {
namespace {

TEST(VisibleText, KeepsWhatShowsAsItself) {
  for (const char* text : {"", "disk-1.img", "ein Fünfer", "日本語", "\U0001F4BE", "a\\x1bb", "' \" $ `",
                           "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"}) {
    EXPECT_EQ(visible_text(text), text);
  }
}

TEST(VisibleText, WritesControlCharactersAsBytes) {
  EXPECT_EQ(visible_text("\x1b[2J"), "\\x1b[2J");
  EXPECT_EQ(visible_text("two\nlines\r\t\x7f"), "two\\x0alines\\x0d\\x09\\x7f");
  EXPECT_EQ(visible_text(std::string_view("a\0b", 3)), "a\\x00b");
  EXPECT_EQ(visible_text("\xc2\x9b"
                         "2J"),
            "\\xc2\\x9b2J");  // CSI of the C1 set, in UTF-8
  EXPECT_EQ(visible_text("\x9b"
                         "2J"),
            "\\x9b2J");  // and as one byte
}

TEST(VisibleText, WritesWhatMovesOtherCharactersAsBytes) {
  for (const char* text : {"\u202a", "\u202b", "\u202c", "\u202d", "\u202e", "\u2066", "\u2067", "\u2068", "\u2069",
                           "\u200e", "\u200f", "\u061c", "\u2028", "\u2029", "\u200b", "\ufeff", "\U000e0041"}) {
    EXPECT_TRUE(visible_text(text).starts_with("\\x")) << visible_text(text);
    EXPECT_EQ(visible_text(text).size(), 4 * std::string_view(text).size());
  }
  EXPECT_EQ(visible_text("gpj.\u202e"
                         "exe"),
            "gpj.\\xe2\\x80\\xaeexe");
}

TEST(VisibleText, WritesInvalidUtf8AsBytes) {
  EXPECT_EQ(visible_text("\xff\xfe"), "\\xff\\xfe");
  EXPECT_EQ(visible_text("a\xc3"), "a\\xc3");         // cut short
  EXPECT_EQ(visible_text("\xc3\x28"), "\\xc3(");      // no continuation
  EXPECT_EQ(visible_text("\xc0\x9b"), "\\xc0\\x9b");  // not the shortest form: ESC in disguise
  EXPECT_EQ(visible_text("\xe0\x80\x9b"), "\\xe0\\x80\\x9b");
  EXPECT_EQ(visible_text("\xed\xa0\x80"), "\\xed\\xa0\\x80");           // a surrogate
  EXPECT_EQ(visible_text("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");  // beyond U+10FFFF
}

TEST(VisibleText, DoingItTwiceChangesNothing) {
  const std::string once = visible_text("\x1b]0;title\x07\u202e\xff");
  EXPECT_EQ(visible_text(once), once);
}

TEST(IsUtf8, TakesShortestFormsOnly) {
  EXPECT_TRUE(is_utf8(""));
  EXPECT_TRUE(is_utf8("plain \xc3\xbc \xe2\x82\xac \xf0\x9f\x98\x80"));
  for (const char* bad : {"\xff", "a\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\x80"})
    EXPECT_FALSE(is_utf8(bad));
}

}  // namespace
}  // namespace vaultfs
