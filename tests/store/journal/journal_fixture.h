#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <utility>

#include "store/journal/journal.h"
#include "tests/store/journal/journal_test_log.h"

namespace vaultfs {

// Content that stays as long as it is, whatever is done to it.
inline std::string incompressible(std::size_t size) {
  std::mt19937_64 random(size);
  std::string text;
  while (text.size() < size) text.push_back(static_cast<char>(random()));
  return text;
}

// A journal that a test writes and replays, under each suite.
class JournalTest : public ::testing::TestWithParam<Suite> {
 protected:
  JournalTest() { env_.make_directories(kJournalDirectory); }

  std::unique_ptr<Journal> start(std::uint64_t number = 1, Lsn replayed_to = {},
                                 Journal::BeforeWrite before_write = {}) {
    auto journal = start_journal(env_, *keys_, number, replayed_to, std::move(before_write));
    EXPECT_TRUE(journal.ok());
    return std::move(journal).value();
  }
  Lsn append(Journal& journal, std::string_view text, EntryOwner owner = EntryOwner::tree) {
    const auto lsn = journal.append(owner, entry_of(text));
    EXPECT_TRUE(lsn.ok());
    return lsn.ok() ? *lsn : Lsn();
  }

  // The same keys in the same object, as after a revocation that was taken back.
  void give_back_keys() {
    const auto fresh = make_test_keys(GetParam());
    const EpochNumber epoch(1);
    std::map<EpochNumber, EpochKeys::Epoch> epochs;
    const auto clone = [](const SecretBuffer& key) { return key.clone(); };
    epochs[epoch].dek = fresh->with_dek(epoch, [&](const EpochKeys::Epoch& e) { return clone(e.dek); }).value();
    SecretBuffer outer;
    if (GetParam() != Suite::aes_gcm) outer = fresh->with_infrastructure_key(clone).value();
    keys_->set(std::move(epochs), fresh->with_id_key(clone).value(), std::move(outer));
  }

  SimEnv env_;
  std::unique_ptr<EpochKeys> keys_ = make_test_keys(GetParam());
};

[[nodiscard]] inline std::string journal_suite_name(const ::testing::TestParamInfo<Suite>& param) {
  return param.param == Suite::aes_gcm ? "Gcm" : "GcmInXChaCha";
}

}  // namespace vaultfs
