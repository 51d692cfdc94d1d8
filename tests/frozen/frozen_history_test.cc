#include "tests/frozen/frozen_fixture.h"

// What format 2 has and the first version had not: remembered damage, packed heads, content of closed epochs.
namespace vaultfs {
namespace {

class FrozenDamagedVault : public FrozenVault {};

TEST_P(FrozenDamagedVault, KnowsWhatIsDamagedAndReadsTheRest) {
  for (const bool read_only : {true, false}) {
    const auto engine = open(read_only);
    ASSERT_OK(engine);
    EXPECT_EQ((*engine)->vault().catalogue().damage_count(), expected_["damaged_chunks"]);
    const auto lost = (*engine)->vault().catalogue().find_point("lost", "");
    ASSERT_OK(lost);
    InodeNumber root;
    const auto tree = (*engine)->open_point(*lost, root);
    ASSERT_OK(tree);
    Bytes content(40'000);
    const auto gone = resolve_path(**tree, root, "gone.raw");
    ASSERT_OK(gone);
    const auto damaged = (*tree)->read(gone->number, 0, content);
    ASSERT_FALSE(damaged.ok());
    EXPECT_TRUE(is_integrity_error(damaged.code())) << damaged.error().message;
    const auto healed = resolve_path(**tree, root, "healed.raw");
    ASSERT_OK(healed);
    ASSERT_OK((*tree)->read(healed->number, 0, content));
  }
}

INSTANTIATE_TEST_SUITE_P(Version2, FrozenDamagedVault, testing::Values("killed"), frozen_name);

// Of its first 1,024 heads a pack has the digests, and nothing else is left.
class FrozenPackedVault : public FrozenVault {
 protected:
  // As a machine that saw that head last.
  void pin_head(Generation generation, const Digest& digest) {
    const auto glance = glance_at_vault(posix_env(), vault_path());
    ASSERT_OK(glance);
    auto pin = state_->newest_pin(glance->header.id);
    ASSERT_OK(pin);
    ASSERT_TRUE(pin->has_value());
    (*pin)->head_generation = generation;
    (*pin)->head_digest = digest;
    stdfs::remove_all(home() / "pins");
    stdfs::create_directory(home() / "pins");
    SetUpMachine();
    ASSERT_OK(state_->set_pin(**pin, vault_path()));
  }
  [[nodiscard]] Generation early_generation() const { return Generation(expected_["early_head"][0]); }
  [[nodiscard]] Digest early_digest() const {
    Bytes bytes;
    EXPECT_TRUE(from_hex(expected_["early_head"][1].get<std::string>(), bytes));
    Digest digest;
    std::copy(bytes.begin(), bytes.end(), digest.mutable_view().begin());
    return digest;
  }
};

TEST_P(FrozenPackedVault, AnEarlyPinFindsItsChain) {
  ASSERT_NO_FATAL_FAILURE(pin_head(early_generation(), early_digest()));
  {
    const auto reader = open(true);
    ASSERT_OK(reader);
    expect_points(**reader);
  }
  const auto owner = open(false);
  ASSERT_OK(owner);
  expect_points(**owner);
}

TEST_P(FrozenPackedVault, AnotherHeadOfThatNumberIsARollback) {
  ASSERT_NO_FATAL_FAILURE(pin_head(early_generation(), sha256(bytes_of("of another branch"))));
  EXPECT_EQ(open(true).code(), ErrorCode::RollbackDetected);
}

TEST_P(FrozenPackedVault, WithoutThePackThePinIsOutdated) {
  ASSERT_NO_FATAL_FAILURE(pin_head(early_generation(), early_digest()));
  stdfs::remove(vault_path() / "heads/0000000000000400.pack");
  EXPECT_EQ(open(true).code(), ErrorCode::PinOutdated);
}

INSTANTIATE_TEST_SUITE_P(Version2, FrozenPackedVault, testing::Values("closed"), frozen_name);

}  // namespace
}  // namespace vaultfs
