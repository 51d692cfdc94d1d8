# A vault is an object, not a path: directories exchanged under a mounted vault, disks that take turns, copies, links in the
# place of its files, and restores into the caller's namespace.
. "$(dirname "$0")/lib.sh"
need_fuse
new_vault
random_file "$scratch/disk" 3M
ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null
second=$scratch/second
ctl vault create "$second" --no-recovery >/dev/null 2>&1
ctl backup run "$second" other --disk "d=$scratch/disk" >/dev/null
exchange() { # DIRECTORY DIRECTORY
  mv "$1" "$1.away"
  mv "$2" "$1"
  mv "$1.away" "$2"
}
sums() { (cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum); }
fingerprint_at() { ctl --json vault show "$1" | jq -r .fingerprint; }
second_fingerprint=$(fingerprint_at "$second")

say "directories exchanged: neither vault is taken for the other"
exchange "$vault" "$second"
sums "$vault" >"$scratch/before"
for path in "$vault" "$second"; do
  expect_error AnotherVault 11 "$vaultctl" backup run "$path" vm --disk "d=$scratch/disk"
  expect_error AnotherVault 11 "$vaultctl" recovery-point list "$path"
  expect_error AnotherVault 11 "$vaultctl" vault show "$path"
  expect_error AnotherVault 11 "$vaultctl" restore "$path" vm --to "$scratch/no"
  expect_error AnotherVault 11 "$vaultctl" encryption refresh "$path"
  expect_error AnotherVault 11 "$vaultfs" "$path" "$mnt"
done
sums "$vault" | cmp - "$scratch/before" || fail "a refused command changed the vault"
exchange "$vault" "$second"
ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null

say "exchanged while mounted: the mount goes by what it has open, commands are not carried out on the wrong one"
mount_vault commit=manual
mkdir "$mnt/vm2"
cp "$scratch/disk" "$mnt/vm2/early"
exchange "$vault" "$second"
sums "$vault" >"$scratch/before"
cp "$scratch/disk" "$mnt/vm2/late"
sync -f "$mnt/vm2/late"
assert_same "$scratch/disk" "$mnt/vm2/late"
for path in "$vault" "$second"; do
  expect_error AnotherVault 11 "$vaultctl" backup run "$path" vm --disk "d=$scratch/disk"
  expect_error AnotherVault 11 "$vaultctl" backup commit "$path" vm2
  expect_error AnotherVault 11 "$vaultctl" recovery-point list "$path"
done
sums "$vault" | cmp - "$scratch/before" || fail "the other vault was written to"
exchange "$vault" "$second"
ctl backup commit "$vault" vm2 >/dev/null
unmount_vault
ctl restore "$vault" vm2 --disk late --to "$scratch/late" >/dev/null
assert_same "$scratch/disk" "$scratch/late"
ctl verify "$vault" >/dev/null
ctl verify "$second" >/dev/null

say "vault.lock linked to that of a mounted vault"
mount_vault commit=manual
mv "$second/vault.lock" "$scratch/lock"
for link in -s ""; do
  ln $link "$vault/vault.lock" "$second/vault.lock"
  expect_error ForeignFile 10 "$vaultctl" backup run "$second" vm --disk "d=$scratch/disk"
  expect_error ForeignFile 10 "$vaultctl" encryption refresh "$second"
  rm "$second/vault.lock"
done
mv "$scratch/lock" "$second/vault.lock"
unmount_vault
assert_eq "$(jctl '.recovery_points | length' recovery-point list "$vault" vm)" 1
ctl backup run "$second" other --disk "d=$scratch/disk" >/dev/null

say "a rehearsal on a copy takes nothing from its original"
cp -a "$vault" "$scratch/copy"
head -c 1M /dev/urandom >>"$scratch/disk"
ctl backup run "$scratch/copy" vm --disk "d=$scratch/disk" >/dev/null
ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null
ctl backup run "$scratch/copy" rehearsed --disk "d=$scratch/disk" >/dev/null
ctl backup run "$vault" vm3 --disk "d=$scratch/disk" >/dev/null
ctl verify "$vault" >/dev/null
ctl verify "$scratch/copy" >/dev/null
expect_error ItemNotFound 3 "$vaultctl" recovery-point list "$vault" rehearsed
rm -r "$scratch/copy"
ctl vault forget "$scratch/copy" >/dev/null
ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null

say "a vault that is moved takes what the machine knows of it along"
mv "$vault" "$scratch/moved"
ctl backup run "$scratch/moved" vm --disk "d=$scratch/disk" >/dev/null
expect_error VaultNotFound 3 "$vaultctl" vault forget "$vault"
mv "$scratch/moved" "$vault"
ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null

say "a failed creation removes nothing that it did not make"
mkdir "$scratch/mine"
echo mine >"$scratch/mine/file"
mkdir "$scratch/new"
ln -s "$scratch/mine" "$scratch/alias"
expect_error VaultExists 4 "$vaultctl" vault create "$scratch/alias" --no-recovery
expect_error KeyVaultUnavailable 20 "$vaultctl" vault create "$scratch/new" --key nosuch/key
assert_eq "$(cat "$scratch/mine/file")" mine
[[ -d $scratch/new && -z $(ls -A "$scratch/new") ]] || fail "left: $(ls -A "$scratch/new" 2>&1)"
if [[ $EUID == 0 ]]; then
  chown 65534 "$scratch/new"
  expect_error PermissionDenied 5 "$vaultctl" vault create "$scratch/new" --no-recovery
  assert_eq "$(ls -A "$scratch/new")" ""
fi

say "files of another vault are found without keys"
foreign=$(ls "$second/segments" | head -n 1)
for name in "$foreign" 9999999999999999.segment; do
  cp -a "$vault" "$scratch/mixed"
  cp "$second/segments/$foreign" "$scratch/mixed/segments/$name"
  expect_error DamageFound 40 "$vaultctl" verify "$scratch/mixed" --keyless
  grep -q "$name" "$scratch/out" || fail "verify does not name it: $(cat "$scratch/out")"
  rm -r "$scratch/mixed"
done

if [[ $EUID == 0 ]] && unshare -m true 2>/dev/null; then
  say "a restore by the owner lands where its caller is"
  mount_vault commit=manual
  mkdir "$scratch/elsewhere"
  random_file "$scratch/expected" 1M
  ctl backup run "$vault" single --disk "d=$scratch/expected" >/dev/null
  unshare -m --propagation private bash -euc "
    mount -t tmpfs none '$scratch/elsewhere'
    '$vaultctl' restore '$vault' single --to '$scratch/elsewhere/file' >/dev/null
    mkdir '$scratch/elsewhere/directory'
    '$vaultctl' restore '$vault' single --to '$scratch/elsewhere/directory' >/dev/null
    cmp '$scratch/expected' '$scratch/elsewhere/file'
    cmp '$scratch/expected' '$scratch/elsewhere/directory/d'
    code=0
    '$vaultctl' restore '$vault' single --to '$scratch/elsewhere/file' 2>'$scratch/elsewhere/err' || code=\$?
    [[ \$code == 8 ]] && grep -q '$scratch/elsewhere/file' '$scratch/elsewhere/err'
  " </dev/null || fail "not in the caller's namespace"
  assert_eq "$(ls -A "$scratch/elsewhere")" "" "what the owner left in its own namespace"

  say "the mount is known by its number, not by what lies at its path"
  mkdir -p "$scratch/bound" "$mnt/vm4"
  cp "$scratch/expected" "$mnt/vm4/disk"
  mount --bind "$mnt" "$scratch/bound"
  mount -t tmpfs none "$mnt"
  cp "$scratch/expected" "$mnt/foreign"
  expect_error OverlapsVault 2 "$vaultctl" restore "$vault" single --to "$scratch/bound/vm4/back"
  expect_error OverlapsVault 2 "$vaultctl" backup run "$vault" vm5 --disk "d=$scratch/bound/vm4/disk"
  ctl backup run "$vault" vm5 --disk "d=$mnt/foreign" >/dev/null
  ctl restore "$vault" single --to "$mnt/back" >/dev/null
  assert_same "$scratch/expected" "$mnt/back"
  umount "$mnt"
  umount -i "$scratch/bound"
  unmount_vault
fi

if [[ $EUID == 0 ]] && command -v mkfs.ext4 >/dev/null; then
  say "two disks take turns at one mount point"
  mkdir "$scratch/point"
  put_disk_in() { mount -o loop "$scratch/$1.ext4" "$scratch/point"; }
  take_disk_out() { umount "$scratch/point"; }
  truncate -s 128M "$scratch/one.ext4"
  mkfs.ext4 -q "$scratch/one.ext4"
  truncate -s 256M "$scratch/two.ext4"
  mkfs.ext4 -q "$scratch/two.ext4"
  if put_disk_in one 2>/dev/null; then
    ctl vault create "$scratch/point/v" --no-recovery >/dev/null 2>&1
    ctl backup run "$scratch/point/v" vm --disk "d=$scratch/expected" >/dev/null
    take_disk_out
    put_disk_in two
    ctl vault create "$scratch/elsewhere/v" --no-recovery >/dev/null 2>&1
    cp -a "$scratch/elsewhere/v" "$scratch/point/v"
    print=$(fingerprint_at "$scratch/elsewhere/v")
    expect_error AnotherVault 11 "$vaultctl" backup run "$scratch/point/v" vm --disk "d=$scratch/expected"
    ctl vault trust "$scratch/point/v" --fingerprint "$print" >/dev/null
    for disk in one two one two; do
      take_disk_out
      put_disk_in "$disk"
      ctl backup run "$scratch/point/v" "$disk" --disk "d=$scratch/expected" >/dev/null
      ctl verify "$scratch/point/v" >/dev/null
    done
    take_disk_out
    expect_error VaultNotFound 3 "$vaultctl" backup run "$scratch/point/v" vm --disk "d=$scratch/expected"

    say "the disk is exchanged under a mounted vault: the other one is not touched, and umount tells the truth"
    put_disk_in one
    first=$vault
    vault=$scratch/point/v
    mount_vault settle=3600
    mkdir "$mnt/exchanged"
    cp "$scratch/expected" "$mnt/exchanged/before"
    size=$(stat -f -c %b "$mnt")
    umount -l "$scratch/point"
    put_disk_in two
    assert_eq "$(stat -f -c %b "$mnt")" "$size" "the size that df shows is the other disk's"
    sums "$vault" >"$scratch/before"
    cp "$scratch/expected" "$mnt/exchanged/after"
    sync "$mnt/exchanged/after"
    assert_same "$scratch/expected" "$mnt/exchanged/before"
    expect_error ItemNotFound 3 "$vaultctl" recovery-point list "$vault" exchanged
    unmount_vault
    sums "$vault" | cmp - "$scratch/before" || fail "the daemon of one wrote into two"
    ctl backup run "$vault" two --disk "d=$scratch/expected" >/dev/null
    ctl verify "$vault" >/dev/null
    take_disk_out
    put_disk_in one
    ctl verify "$vault" >/dev/null
    ctl restore "$vault" exchanged --disk after --to "$scratch/exchanged" >/dev/null
    assert_same "$scratch/expected" "$scratch/exchanged"
    take_disk_out
    vault=$first
  fi
fi
