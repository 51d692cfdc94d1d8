# restore: to a file, a block device, a directory; what it must not overwrite; while mounted.
. "$(dirname "$0")/lib.sh"
new_vault
mkdir "$scratch/src"
truncate -s 64M "$scratch/src/root.img"
head -c 9M /dev/urandom | dd of="$scratch/src/root.img" bs=1M seek=20 conv=notrunc status=none
random_file "$scratch/src/data.img" 3333333
ctl backup run "$vault" vm --disk "root.img=$scratch/src/root.img" --disk "data.img=$scratch/src/data.img" >/dev/null
cd "$scratch"

say "one disk to a file, sparse"
ctl --json restore "$vault" vm --disk root.img --to root.img >"$scratch/json"
assert_same src/root.img root.img
[[ $(allocated root.img) -lt 12000000 ]] || fail "the restored disk has no holes"
[[ $(jq .written_bytes "$scratch/json") -lt 11000000 ]] || fail "holes were written: $(cat "$scratch/json")"
assert_eq "$(jq .logical_bytes "$scratch/json")" 67108864

say "the whole item to a directory"
mkdir whole
ctl restore "$vault" vm --to whole >/dev/null
restored=$(find whole -name root.img)
assert_same src/root.img "$restored"
assert_same src/data.img "$(find whole -name data.img)"

say "to a directory that is made for it, and taken away again if nothing comes of it"
ctl restore "$vault" vm --to "$scratch/made/" >/dev/null
assert_same src/root.img "$(find made -name root.img)"
expect_error RecoveryPointNotFound "" "$vaultctl" restore "$vault" vm@99 --to "$scratch/not-made/"
[[ ! -e not-made ]] || fail "a directory was left behind"
ctl restore "$vault" vm --disk data.img --to "$scratch/single/" >/dev/null
assert_same src/data.img single/data.img

say "a file that is there is not overwritten, with --force it is replaced"
echo precious >precious
expect_error RefusedOverwrite 8 "$vaultctl" restore "$vault" vm --disk data.img --to precious
assert_eq "$(cat precious)" precious
ctl restore "$vault" vm --disk data.img --to precious --force >/dev/null
assert_same src/data.img precious

say "what is not there, each by its name"
expect_error ItemNotFound 3 "$vaultctl" restore "$vault" nobody --to x
expect_error RecoveryPointNotFound 3 "$vaultctl" restore "$vault" vm@0000000099 --disk data.img --to x
expect_error DiskNotFound 3 "$vaultctl" restore "$vault" vm --disk other.img --to x
expect_error NotFound 3 "$vaultctl" restore "$vault" vm --disk data.img --to missing/folder/x
expect_error Usage 2 "$vaultctl" restore "$vault" vm
[[ ! -e x ]] || fail "a failed restore left a file"
leftovers=$(find . -maxdepth 1 -name '*x*' -newer precious -type f ! -name 'precious' ! -name json ! -name out ! -name err)
[[ -z $leftovers ]] || fail "a failed restore left $leftovers"

say "every point by its id"
cp src/data.img yesterday
dd if=/dev/urandom of=src/data.img bs=1k seek=1000 count=1 conv=notrunc status=none
ctl backup run "$vault" vm --disk "data.img=src/data.img" >/dev/null
first=$(jctl '.recovery_points[0].id' recovery-point list "$vault" vm)
second=$(jctl '.recovery_points[1].id' recovery-point list "$vault" vm)
ctl restore "$vault" "vm@$first" --disk data.img --to day1 >/dev/null
ctl restore "$vault" "vm@$second" --disk data.img --to day2 >/dev/null
assert_same yesterday day1
assert_same src/data.img day2
ctl restore "$vault" vm --disk data.img --to newest >/dev/null
assert_same src/data.img newest

if [[ -c /dev/fuse ]]; then
  say "while mounted: the owner writes it, but not into its own mount"
  mount_vault commit=manual
  ctl restore "$vault" "vm@$first" --disk data.img --to "$scratch/mounted" >/dev/null
  assert_same yesterday mounted
  expect_error OverlapsVault 2 "$vaultctl" restore "$vault" vm --disk data.img --to "$mnt/vm/copy"
  unmount_vault
fi
expect_error OverlapsVault 2 "$vaultctl" restore "$vault" vm --disk data.img --to "$vault/segments/copy"

if [[ $EUID == 0 && -c /dev/loop-control ]] && losetup -f >/dev/null 2>&1; then
  say "to a block device with a file system or a partition table on it: only by --force"
  truncate -s 16M "$scratch/occupied"
  mkfs.ext4 -q "$scratch/occupied"
  cp "$scratch/occupied" "$scratch/occupied.before"
  loop=$(losetup --find --show "$scratch/occupied")
  expect_error RefusedOverwrite "" "$vaultctl" restore "$vault" vm --disk data.img --to "$loop"
  grep -q "a file system (ext4)" "$scratch/err" || fail "$(cat "$scratch/err")"
  cmp "$scratch/occupied" "$scratch/occupied.before"
  ctl restore "$vault" vm --disk data.img --to "$loop" --force >/dev/null
  losetup -d "$loop"

  say "to a block device that held other bytes: holes become zeros there"
  head -c 64M /dev/urandom >backing
  loop=$(losetup --find --show backing)
  ctl restore "$vault" vm --disk root.img --to "$loop" >/dev/null
  cmp -n 67108864 "$loop" src/root.img
  losetup -d "$loop"
  assert_same src/root.img backing
  say "to a device that is too small"
  head -c 16M /dev/zero >backing
  loop=$(losetup --find --show backing)
  expect_error ShortDevice 31 "$vaultctl" restore "$vault" vm --disk root.img --to "$loop"
  losetup -d "$loop"
fi
