#include "fs/tree/state/cut_gate.h"

namespace vaultfs {

ChangeHold CutGate::lock_for_change(const Inode& inode) {
  {
    ChangeHold content(cut_);
    cut_.assert_reader_held();
    const bool other_item = cut_item_ != nullptr && inode.item != cut_item_;
    if (!cutting_.load() || other_item || inode.cut_number.load() == cut_number_) return content;
  }
  return ChangeHold(change_cut_);
}

CutGate::Closed::Closed(CutGate& gate) : gate_(gate) {
  gate.change_cut_.lock();
  gate.cut_.lock();
  number_ = ++gate.cut_number_;
}

void CutGate::Closed::let_content_pass(const Item* item) {
  gate_.cut_.assert_held();
  gate_.cut_item_ = item;
  gate_.cutting_ = true;
  first_part_ = false;
  gate_.cut_.unlock();
}

CutGate::Closed::~Closed() {
  gate_.cutting_ = false;
  if (first_part_) gate_.cut_.unlock();
  gate_.change_cut_.unlock();
}

}  // namespace vaultfs
