#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "store/record/file_origin.h"

namespace vaultfs {

// Lines about files of one kind, of which anybody can put a hundred thousand into a vault's directory: the first few go
// to the notes, of the others their number. One thread.
class FileNotes {
 public:
  // `what` became of the files, e.g. "files in points/ were removed".
  FileNotes(std::vector<std::string>& notes, std::string what) : notes_(notes), what_(std::move(what)) {}
  FileNotes(const FileNotes&) = delete;
  FileNotes& operator=(const FileNotes&) = delete;
  ~FileNotes() {
    if (count_ <= kShown) return;
    // Lists of files end there, however many there are.
    const std::string at_least = count_ == kMostFilesTold ? "at least " : "";
    notes_.push_back(at_least + std::to_string(count_ - kShown) + " more " + what_);
  }
  void add(std::string note) {
    if (++count_ <= kShown) notes_.push_back(std::move(note));
  }

 private:
  static constexpr std::size_t kShown = 20;
  std::vector<std::string>& notes_;
  const std::string what_;
  std::size_t count_ = 0;
};

}  // namespace vaultfs
