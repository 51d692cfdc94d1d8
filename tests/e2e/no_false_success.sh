# No success that is none: sources that are no good copy of a disk, targets that keep less than they get, files in places
# where they help nobody. Refused, or told and counted.
. "$(dirname "$0")/lib.sh"
new_vault
cd "$scratch"
random_file img 3M
chmod 0640 img
touch -d '2001-02-03 04:05:06.789' img
run() { ctl --json backup run "$vault" "$@" 2>"$scratch/err"; }
last_job() { jctl "[.jobs[] | select(.kind == \"$1\")][-1]$2" job list "$vault"; }

say "an empty source is refused, and the item keeps what it has"
ctl backup run "$vault" vm --disk d=img >/dev/null 2>&1
: >empty
expect_error InvalidArgument 2 "$vaultctl" backup run "$vault" vm --disk d=empty
assert_eq "$(last_job Backup .state)" Failed
assert_eq "$(point_count vm)" 1
expect_error InvalidArgument 2 "$vaultctl" backup run "$vault" vm --disk d=-

say "what another process has open for writing is crash-consistent, and that is said"
dd if=/dev/urandom of=img bs=4k count=1 conv=notrunc status=none
exec 5<>img
assert_eq "$(run vm --disk d=img | jq -r .recovery_point.consistency)" CrashConsistent
exec 5>&-
grep -q '^vaultctl: warning: .*open for writing' err || fail "it said: $(cat err)"

say "an overlay is no whole disk: told, counted, and no exit code 0"
if command -v qemu-img >/dev/null; then
  qemu-img create -q -f qcow2 -F raw -b "$scratch/img" overlay.qcow2
  expect_error DamageFound 40 "$vaultctl" backup run "$vault" overlay --disk d=overlay.qcow2
  grep -q 'backing file' err || fail "it said: $(cat err)"
  assert_eq "$(jctl '.recovery_points[-1].consistency' recovery-point list "$vault" overlay)" CrashConsistent
  assert_eq "$(last_job Backup .state)" CompletedWithWarnings
  qemu-img create -q -f vmdk -o subformat=twoGbMaxExtentSparse parts.vmdk 8M
  for kind in vmdk qcow2 vhdx vpc vdi qed parallels; do
    qemu-img create -q -f "$kind" "whole.$kind" 8M || continue
    ctl backup run "$vault" whole --disk "d=whole.$kind" >/dev/null || fail "a whole $kind is refused"
  done
  qemu-img create -q -f vmdk -F vmdk -b whole.vmdk overlay.vmdk
  for part in overlay.vmdk parts.vmdk parts-s001.vmdk; do
    expect_error DamageFound 40 "$vaultctl" backup run "$vault" overlay --disk "d=$part"
  done
  # What qemu-img does not make: a VHDX that says that it has a parent.
  python3 - whole.vhdx <<'PYTHON'
import sys
with open(sys.argv[1], "r+b") as file:
    image = file.read()
    region = image.index(bytes.fromhex("06a27c8b90479a4bb8fe575f050f886e"))
    metadata = int.from_bytes(image[region + 16:region + 24], "little")
    item = image.index(bytes.fromhex("3767a1ca36fa434db3b633f0aa44e76b"), metadata)
    file.seek(metadata + int.from_bytes(image[item + 16:item + 20], "little") + 4)
    file.write(b"\2")
PYTHON
  expect_error DamageFound 40 "$vaultctl" backup run "$vault" overlay --disk d=whole.vhdx
  grep -q 'VHDX image on top of a parent' err || fail "it said: $(cat err)"
fi

say "a set of disks that changed: what was not named is told"
ctl backup run "$vault" set --disk a=img --disk b=img >/dev/null 2>&1
assert_eq "$(run set --disk a=img | jq -c .carried)" '["b"]'
grep -q '^vaultctl: note: .*: b;' err || fail "it said: $(cat err)"

say "mode, owner and times come back as they were read, in a directory and as a single file"
touch -d '2001-02-03 04:05:06.789' img
ctl backup run "$vault" kept --disk d=img >/dev/null
mkdir whole_item
ctl restore "$vault" kept --to whole_item >/dev/null
ctl restore "$vault" kept --to single >/dev/null
for file in whole_item/d single; do assert_eq "$(stat -c '%a %u %g %y' "$file")" "$(stat -c '%a %u %g %y' img)" "$file"; done

say "--to LINK writes the file that the link leads to; one that leads nowhere yet gets it made"
echo old >target
ln -s target link
expect_error RefusedOverwrite 8 "$vaultctl" restore "$vault" kept --to link
ctl restore "$vault" kept --to link --force >/dev/null
[[ -L link ]] || fail "the link was replaced"
assert_same img target
ln -s "$scratch/later" dangling
ctl restore "$vault" kept --to dangling >/dev/null
assert_same img later

say "--to -: one disk to standard output, anything else is refused"
ctl restore "$vault" kept --to - 2>err | cmp - img
[[ ! -e ./- ]] || fail "a file named - was made"
expect_error Usage 2 "$vaultctl" --json restore "$vault" kept --to -
expect_error DiskNotFound 3 "$vaultctl" restore "$vault" set --to -
got=0
ctl restore "$vault" kept --to - 2>err >/dev/full || got=$?
assert_eq "$got" 30 "standard output is full"

say "restore --force leaves alone what somebody goes on using, unless told"
echo guest >busy
exec 5<>busy
expect_error ItemBusy 6 "$vaultctl" restore "$vault" kept --to busy --force
assert_eq "$(cat busy)" guest
ctl restore "$vault" kept --to busy --force --replace-open >/dev/null
exec 5>&-
assert_same img busy

say "what is to save a vault does not lie in it, nor in another"
echo passphrase >pass
for place in "$scratch/second/recovery" "$vault/recovery" "$vault/segments/recovery"; do
  expect_error OverlapsVault 2 "$vaultctl" vault create "$scratch/second" --recovery-file "$place" --recovery-passphrase-file pass
done
[[ ! -e $scratch/second ]] || fail "a refused vault was made"
expect_error OverlapsVault 2 "$vaultctl" key export office/backup --to "$vault/key.pem" --file-passphrase-file pass
expect_error OverlapsVault 2 "$vaultctl" restore "$vault" kept --to "$vault"

if [[ $EUID == 0 ]]; then
  say "an ordinary user's restore counts the owners that it may not set, and goes on"
  chown 1234:1234 img
  ctl backup run "$vault" kept --disk d=img >/dev/null
  mkdir theirs theirs/target
  cp -a "$vault" "$VAULTFS_HOME" theirs
  chown -R 65534 theirs
  cp "$vaultctl" theirs/vaultctl # where an ordinary user can reach it
  setpriv --reuid 65534 --regid 65534 --clear-groups env VAULTFS_HOME="$scratch/theirs/home" VAULTFS_RUNTIME_DIR="$scratch/theirs/run" theirs/vaultctl --json \
    restore theirs/vault kept --unverified --to theirs/target >json 2>err </dev/null || fail "it said: $(cat err)"
  assert_eq "$(jq .lost_owners json)" 1
  assert_same img theirs/target/d
  assert_eq "$(stat -c '%u %a %y' theirs/target/d)" "65534 640 $(stat -c %y img)"
  grep -q '^vaultctl: note: 1 files have this user as their owner' err || fail "it said: $(cat err)"
fi

if [[ $EUID == 0 && -c /dev/loop-control ]] && losetup -f >/dev/null 2>&1; then
  say "a mounted device is crash-consistent"
  truncate -s 16M fs.img
  mkfs.ext4 -q -F fs.img
  mkdir mounted
  loop=$(losetup --find --show fs.img)
  mount "$loop" mounted
  assert_eq "$(run device --disk "d=$loop" | jq -r .recovery_point.consistency)" CrashConsistent
  grep -q '^vaultctl: warning: .*mounted' err || fail "it said: $(cat err)"
  umount mounted
  dd if=/dev/urandom of="$loop" bs=1M seek=10 count=1 conv=fsync status=none
  assert_eq "$(run device --disk "d=$loop" | jq -r .recovery_point.consistency)" FileConsistent
  losetup -d "$loop"

  if command -v mkfs.vfat >/dev/null; then
    say "a file system that keeps little: tried before the first byte, and counted"
    truncate -s 64M vfat.img
    mkfs.vfat vfat.img >/dev/null
    mount -o loop vfat.img mounted
    assert_eq "$(ctl --json restore "$vault" kept --to mounted 2>err | jq .lost_owners)" 1
    assert_same img mounted/d
    umount mounted
  fi
fi

need_fuse
say "a time that no vault keeps is the nearest one, never another"
mount_vault commit=manual
mkdir -p "$mnt/times"
touch -d '2500-01-01' "$mnt/times/late"
touch -d '1500-01-01' "$mnt/times/early"
assert_match "$(stat -c %y "$mnt/times/late")" '^2262-04-11'
assert_match "$(stat -c %y "$mnt/times/early")" '^1677-09-21'
unmount_vault
mount_vault ro
assert_match "$(stat -c %y "$mnt/times/late")" '^2262-04-11'
unmount_vault
assert_eq "$(grep -c 'a time before 1677 or after 2262' "$log")" 1
