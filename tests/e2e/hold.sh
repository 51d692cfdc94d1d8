# What was removed gives its space back, but not while somebody holds the vault; a copy made under a hold is whole.
. "$(dirname "$0")/lib.sh"
need_fuse
need rsync
new_vault
mount_vault commit=manual
mkdir "$mnt/vm"
stored_mib() { echo $(($(allocated "$vault/segments") >> 20)); }
little_stored() { [[ $(stored_mib) -lt 60 ]]; }

random_file "$scratch/kept" 20M
cp "$scratch/kept" "$mnt/vm/kept"
ctl backup commit "$vault" vm >/dev/null
dd if=/dev/urandom of="$mnt/vm/garbage" bs=1M count=300 conv=fsync status=none

say "held: the copy has all that was there when it began"
ctl vault hold "$vault" -- bash -c "touch '$scratch/held'; while [[ ! -e '$scratch/copy-now' ]]; do sleep 0.1; done; rsync -a '$vault/' '$scratch/copy/'" &
holder=$!
wait_until 20 test -e "$scratch/held"
# The copy is opened where nobody has seen what the owner does after it was made: here it would be an older state.
cp -a "$VAULTFS_HOME" "$scratch/other-home"
rm "$mnt/vm/garbage"
sleep 7 # more than one look of the compactor
[[ $(stored_mib) -ge 300 ]] || fail "removed under a hold: $(stored_mib) MiB are left"
touch "$scratch/copy-now"
wait "$holder"
VAULTFS_HOME=$scratch/other-home ctl restore "$scratch/copy" vm --disk kept --to "$scratch/restored" >/dev/null
assert_same "$scratch/kept" "$scratch/restored"

say "not held: the space comes back, the point stays"
wait_until 40 little_stored
assert_same "$scratch/kept" "$mnt/.recovery-points/vm/$(newest_point vm)/kept"
assert_same "$scratch/kept" "$mnt/vm/kept"
ctl verify "$vault" >/dev/null

say "a read-only mount holds, too"
dd if=/dev/urandom of="$mnt/vm/garbage" bs=1M count=300 conv=fsync status=none
mkdir "$scratch/reader"
"$vaultfs" "$vault" "$scratch/reader" -o "ro,log=$log" </dev/null
sum=$(sha256sum <"$mnt/vm/garbage")
rm "$mnt/vm/garbage"
sleep 7
assert_eq "$(sha256sum <"$scratch/reader/vm/garbage")" "$sum"
"$umounter" "$scratch/reader"
wait_until 40 little_stored

say "exit codes and bad input"
got=0
ctl vault hold "$vault" -- sh -c 'exit 7' || got=$?
assert_eq "$got" 7
expect_error InvalidArgument 2 "$vaultctl" vault hold "$vault" -- "$scratch/no-such-program"
expect_error VaultNotFound 3 "$vaultctl" vault hold "$scratch/nothing" -- true
unmount_vault
