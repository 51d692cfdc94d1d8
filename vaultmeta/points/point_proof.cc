#include "vaultmeta/points/point_proof.h"

#include <functional>
#include <utility>

#include "base/byte_codec.h"
#include "crypto/hash.h"

namespace vaultfs {
namespace {

constexpr std::size_t kMostSearched = 4096;

class PointProof {
 public:
  PointProof(const std::vector<FoundPoint>& found, const Digest& newest, const std::set<Digest>& older)
      : found_(found), newest_(newest), older_(older) {
    for (const FoundPoint& point : found) {
      if (point.known) proven_.points.insert(point.info.number);
    }
  }

  ProvenPoints run() {
    const auto every = [](const FoundPoint&) { return true; };
    if (take(every) || found_.size() > kMostSearched) return std::move(proven_);
    // One file too many.
    for (const FoundPoint& extra : found_) {
      if (take([&](const FoundPoint& point) { return point.info.number != extra.info.number; })) return proven_;
    }
    if (grow([](const FoundPoint&) { return false; })) return proven_;
    if (grow([](const FoundPoint& point) { return point.known; })) return proven_;
    // Files that an old key was enough for, among those that it was not.
    const std::set<PointNumber> so_far = proven_.points;
    take([&](const FoundPoint& point) { return point.current_epoch || so_far.contains(point.info.number); });
    return proven_;
  }

 private:
  using Choice = std::function<bool(const FoundPoint&)>;

  // Whether the newest head vouches for just the chosen ones. If another head does, they are proven at least.
  bool take(const Choice& choice) {
    ByteWriter writer;
    for (const FoundPoint& point : found_) {
      if (choice(point)) write_for_digest(writer, point.info);
    }
    const Digest digest = sha256(writer.view());
    proven_.complete = digest == newest_;
    if (!proven_.complete && !older_.contains(digest)) return false;
    if (proven_.complete) proven_.points.clear();
    for (const FoundPoint& point : found_) {
      if (choice(point)) proven_.points.insert(point.info.number);
    }
    return proven_.complete;
  }

  // From head to head, as the vault has got them: each adds one.
  bool grow(const Choice& begin) {
    ByteWriter writer;
    std::set<PointNumber> grown;
    PointNumber highest;
    for (const FoundPoint& point : found_) {
      if (!begin(point)) continue;
      write_for_digest(writer, point.info);
      grown.insert(point.info.number);
      highest = point.info.number;
    }
    for (const FoundPoint& point : found_) {
      if (point.info.number <= highest) continue;
      ByteWriter entry;
      write_for_digest(entry, point.info);
      const Digest digest = sha256({writer.view(), entry.view()});
      const bool complete = digest == newest_;
      if (!complete && !older_.contains(digest)) continue;
      writer.raw(entry.view());
      grown.insert(point.info.number);
      proven_.points.insert(grown.begin(), grown.end());
      if (!complete) continue;
      proven_.points = std::move(grown);
      proven_.complete = true;
      return true;
    }
    return false;
  }

  const std::vector<FoundPoint>& found_;
  const Digest& newest_;
  const std::set<Digest>& older_;
  ProvenPoints proven_;
};

}  // namespace

Error nobody_vouches_for(const PointInfo& point) {
  return {ErrorCode::AuthenticationFailed,
          "nobody vouches for recovery point " + point.id() +
              ": it is known by its file alone, which whoever ever held a key version of the vault could have made; "
              "restore --unverified (or a mount with -o ro,accept-older) takes it at your own risk"};
}

ProvenPoints prove_points(const std::vector<FoundPoint>& found, const Digest& newest, const std::set<Digest>& older) {
  return PointProof(found, newest, older).run();
}

}  // namespace vaultfs
