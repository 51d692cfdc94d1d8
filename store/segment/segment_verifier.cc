#include "store/segment/segment_verifier.h"

#include <array>
#include <optional>
#include <utility>

#include "base/byte_codec.h"
#include "crypto/chunk_id.h"
#include "crypto/hash.h"
#include "store/index/patch.h"
#include "store/index/segment_format.h"
#include "store/record/container.h"
#include "store/record/record_scanner.h"

namespace vaultfs {
namespace {

// Lines about one file: whoever fills one with rubbish does not get one for each piece of it.
constexpr std::size_t kMostDamageOfFile = 100;

// Checks one container from its first to its last byte.
class ContainerVerifier {
 public:
  ContainerVerifier(File& file, const std::string& name, const EpochKeys* keys, bool may_have_gaps,
                    VerifyCounts& counts, std::vector<Damage>& damage, const RecordSeen& seen)
      : file_(file),
        name_(name),
        keys_(keys),
        may_have_gaps_(may_have_gaps),
        counts_(counts),
        damage_(damage),
        seen_(seen) {}

  Status run() {
    VAULTFS_ASSIGN_OR_RETURN(file_bytes_, file_.size());
    ++counts_.files;
    counts_.bytes += file_bytes_;
    Status checked = check();
    if (found_ > kMostDamageOfFile) {
      const std::string more = std::to_string(found_ - kMostDamageOfFile);
      damage_.push_back({name_, Error{ErrorCode::DamagedRecord, more + " more places in this file are damaged"}});
    }
    return checked;
  }

 private:
  Status check() {
    VAULTFS_ASSIGN_OR_RETURN(const bool readable, open_header());
    if (!readable) return ok_status();
    records_end_ = file_bytes_;
    if (header_.kind != ContainerKind::segment) return walk();
    if (file_bytes_ > kMaxSegmentFileBytes) {
      report(overlong_segment(file_bytes_));
      records_end_ = kMaxSegmentFileBytes;
    } else if (!may_have_gaps_) {
      VAULTFS_RETURN_IF_ERROR(read_trailer());
    }
    return walk();
  }

  void report(ErrorCode code, std::string what) { report(Error{code, std::move(what)}); }
  void report(Error error) {
    if (++found_ <= kMostDamageOfFile) damage_.push_back({name_, std::move(error)});
  }
  static std::string at(std::uint64_t offset) { return " at offset " + std::to_string(offset); }

  // False if the header leaves nothing to go on with.
  Result<bool> open_header() {
    auto header = ContainerHeader::read(file_);
    if (!header.ok()) {
      const bool readable = is_integrity_error(header.code()) || header.code() == ErrorCode::UnsupportedFormat;
      if (!readable) return std::move(header).error();
      // A crash right after creation leaves such a file; without a record nothing is lost with it.
      RecordScanner scanner(file_, ContainerHeader::kEncodedBytes, file_bytes_);
      VAULTFS_ASSIGN_OR_RETURN(const auto found, scanner.next());
      const bool may_be_of_a_crash = may_have_gaps_ && !found && file_bytes_ <= kMaxSegmentFileBytes;
      if (!may_be_of_a_crash || header.code() != ErrorCode::DamagedHeader) report(std::move(header).error());
      return false;
    }
    header_ = *header;
    if (!is_named_so()) report(ErrorCode::DamagedHeader, "the file carries another number than its name");
    if (keys_ == nullptr) return true;
    auto cipher = ContainerCipher::open(*keys_, header_, header_.kind, header_.number);
    if (!cipher.ok()) {
      if (cipher.code() == ErrorCode::KeyRevoked || cipher.code() == ErrorCode::MemoryLockFailed) {
        return std::move(cipher).error();
      }
      report(std::move(cipher).error());
      return true;  // the checksums can still be checked
    }
    cipher_ = std::move(cipher).value();
    return true;
  }

  // A swapped or copied file is intact in itself.
  [[nodiscard]] bool is_named_so() const {
    std::string_view file_name = name_;
    file_name.remove_prefix(name_.rfind('/') + 1);
    const std::size_t dot = file_name.find('.');
    return dot != std::string_view::npos && number_of(file_name, file_name.substr(dot + 1)) == header_.number.value;
  }

  Status read_trailer() {
    std::array<std::byte, SegmentTrailer::kEncodedBytes> bytes{};
    if (file_bytes_ < ContainerHeader::kEncodedBytes + bytes.size()) {
      report(ErrorCode::DamagedSegment, "the segment is too short for a trailer");
      return ok_status();
    }
    const std::uint64_t offset = file_bytes_ - bytes.size();
    VAULTFS_ASSIGN_OR_RETURN(const std::size_t read, file_.read_at(offset, bytes));
    auto trailer = SegmentTrailer::decode(ByteView(bytes).first(read));
    if (!trailer.ok()) {
      report(std::move(trailer).error());
      return ok_status();
    }
    trailer_ = *trailer;
    records_end_ = offset;
    return ok_status();
  }

  Status walk() {
    RecordScanner scanner(file_, ContainerHeader::kEncodedBytes, records_end_);
    while (true) {
      VAULTFS_ASSIGN_OR_RETURN(const auto found, scanner.next());
      check_gap(scanner, found.has_value());
      if (!found) break;
      ++counts_.records;
      check_record_content(*found);
      if (not_authentic_bytes_ > kMaxPassedOverBytes) {
        report(ErrorCode::DamagedRecord, "the file is full of records that are not authentic: what follows" +
                                             at(found->offset) + " was not read");
        return ok_status();
      }
    }
    finish();
    return ok_status();
  }

  void check_gap(const RecordScanner& scanner, bool record_follows) {
    if (scanner.gap_bytes() == 0) return;
    if (scanner.gave_up()) {
      return report(ErrorCode::DamagedRecord,
                    std::to_string(scanner.gap_bytes()) + " bytes in which no valid record was found" +
                        at(scanner.gap_offset()) + ": more than any crash leaves; not all were read");
    }
    if (may_have_gaps_ && !record_follows) return;  // a torn tail
    if (header_.kind == ContainerKind::segment && (may_have_gaps_ || scanner.gap_is_zero())) return;
    report(ErrorCode::DamagedRecord,
           std::to_string(scanner.gap_bytes()) + " bytes that are no valid record" + at(scanner.gap_offset()));
  }

  void check_record_content(const RecordScanner::Found& found) {
    const RecordHeader& record = found.header;
    const bool is_footer = record.type == RecordType::segment_footer;
    if (is_footer && trailer_ && found.offset != trailer_->footer_offset) {
      report(ErrorCode::DamagedSegment, "the trailer does not point to the footer");
    }
    if (footer_seen_) report(ErrorCode::DamagedSegment, "a record stands behind the footer" + at(found.offset));
    if (is_footer) {
      footer_seen_ = true;
    } else {
      ++records_before_footer_;
    }
    check_order(record, found.offset);
    if (seen_ && header_.kind == ContainerKind::segment && max_content_bytes(record.type) > 0) {
      seen_({record.id, record.type, found.offset, static_cast<std::uint32_t>(found.stored.size()),
             record.plaintext_bytes});
    }
    if (cipher_) {
      check_opened(found);
    } else if (!has_right_salt(record, header_.version)) {
      report(ErrorCode::DamagedRecord,
             "a record's salt is not one of its container's format version" + at(found.offset));
    }
  }

  // Which types may stand in this kind of container, and in which order.
  void check_order(const RecordHeader& record, std::uint64_t offset) {
    const auto type = static_cast<std::uint8_t>(record.type);
    bool fits = true;
    switch (header_.kind) {
      case ContainerKind::segment:
        fits = type <= 4;
        break;
      case ContainerKind::journal:
        fits = type == 16 || type == 17;
        break;
      case ContainerKind::activity:
        fits = type == 48;
        break;
      case ContainerKind::checkpoint:
      case ContainerKind::manifest:
      case ContainerKind::index:
        if (record.type == RecordType::clear_inventory) {
          fits = header_.kind == ContainerKind::manifest && counts_in_file_ == 0;
        } else {
          fits = (type == 32 || type == 33) && !stream_ended_ && record.sequence == ++stream_parts_;
          stream_ended_ = stream_ended_ || type == 33;
        }
        break;
    }
    ++counts_in_file_;
    if (!fits) report(ErrorCode::DamagedRecord, "a record that does not belong here stands" + at(offset));
  }

  void check_opened(const RecordScanner::Found& found) {
    const RecordHeader& record = found.header;
    auto content = open_record(*cipher_, record, found.stored);
    if (!content.ok()) {
      not_authentic_bytes_ += found.stored.size();
      report(content.code(), content.error().message + at(found.offset));
      return;
    }
    if (max_content_bytes(record.type) > 0) {
      const auto id = keys_->with_id_key([&](const SecretBuffer& key) -> Result<ChunkId> {
        return chunk_id(key, static_cast<std::uint8_t>(record.type), *content);
      });
      if (!id.ok()) report(id.error());
      if (id.ok() && *id != record.id) {
        report(ErrorCode::ChunkMismatch, "a chunk is not what its id says" + at(found.offset));
      }
      if (record.type == RecordType::patch) {
        if (auto patch = PatchHeader::decode_whole(*content); !patch.ok()) {
          report(patch.code(), patch.error().message + at(found.offset));
        }
      }
      opened_.push_back({record.id, record.type, found.offset, static_cast<std::uint32_t>(found.stored.size()),
                         record.plaintext_bytes});
    }
    if (record.type == RecordType::segment_footer && !may_have_gaps_) check_footer(*content, found.offset);
    if (record.type == RecordType::stream_end) check_stream_end(*content);
    if (record.type == RecordType::stream_part) {
      stream_.add(*content);
      stream_bytes_ += content->size();
    }
  }

  void check_footer(ByteView content, std::uint64_t offset) {
    auto entries = decode_segment_footer(content, offset);
    if (!entries.ok()) {
      report(std::move(entries).error());
    } else if (*entries != opened_) {
      report(ErrorCode::DamagedSegment, "the footer lists other records than the segment holds");
    }
  }

  void check_stream_end(ByteView content) {
    ByteReader reader(content);
    const bool parts = reader.u64() + 1 == stream_parts_;
    const bool length = reader.u64() == stream_bytes_;
    const bool digest = reader.id<Digest>() == stream_.digest();
    if (!parts || !length || !digest || reader.failed() || reader.remaining() != 0) {
      report(ErrorCode::DamagedRecord, "the stream's end does not fit what stands before it");
    }
  }

  void finish() {
    const bool is_stream = header_.kind == ContainerKind::checkpoint || header_.kind == ContainerKind::manifest ||
                           header_.kind == ContainerKind::index;
    if (is_stream && !stream_ended_) report(ErrorCode::DamagedRecord, "the stream has no end");
    if (!trailer_) return;
    if (!footer_seen_) report(ErrorCode::DamagedSegment, "the segment has no footer");
    if (records_before_footer_ != trailer_->record_count) {
      report(ErrorCode::DamagedSegment, "the segment holds " + std::to_string(records_before_footer_) +
                                            " valid records of " + std::to_string(trailer_->record_count));
    }
  }

  File& file_;
  const std::string& name_;
  const EpochKeys* keys_;
  const bool may_have_gaps_;
  VerifyCounts& counts_;
  std::vector<Damage>& damage_;
  const RecordSeen& seen_;

  std::uint64_t file_bytes_ = 0;
  std::uint64_t records_end_ = 0;
  ContainerHeader header_;
  std::unique_ptr<ContainerCipher> cipher_;
  std::optional<SegmentTrailer> trailer_;
  bool footer_seen_ = false;
  std::uint64_t records_before_footer_ = 0;
  std::vector<SegmentEntry> opened_;
  std::uint64_t counts_in_file_ = 0;
  std::uint64_t stream_parts_ = 0;
  bool stream_ended_ = false;
  Sha256Stream stream_;  // its content
  std::uint64_t stream_bytes_ = 0;
  std::uint64_t not_authentic_bytes_ = 0;  // in records whose checksums are right
  std::size_t found_ = 0;                  // pieces of damage
};

}  // namespace

Status verify_container(File& file, const std::string& name, const EpochKeys* keys, bool may_have_gaps,
                        VerifyCounts& counts, std::vector<Damage>& damage, const RecordSeen& seen) {
  return ContainerVerifier(file, name, keys, may_have_gaps, counts, damage, seen).run();
}

}  // namespace vaultfs
