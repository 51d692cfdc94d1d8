# What vaultfs refuses to mount, each with its name and exit code, and what stands side by side.
. "$(dirname "$0")/lib.sh"
need_fuse
new_vault

say "mount points"
expect_error MountPointInvalid 2 "$vaultfs" "$vault" "$scratch/nowhere"
: >"$scratch/file"
expect_error MountPointInvalid 2 "$vaultfs" "$vault" "$scratch/file"
expect_error OverlapsVault 2 "$vaultfs" "$vault" "$vault"
expect_error OverlapsVault 2 "$vaultfs" "$vault" "$vault/segments"
expect_error OverlapsVault 2 "$vaultfs" "$vault" "$scratch"
ln -s "$vault" "$scratch/alias"
expect_error OverlapsVault 2 "$vaultfs" "$scratch/alias" "$vault/points"
mkdir "$scratch/full"
: >"$scratch/full/entry"
expect_error MountPointBusy 6 "$vaultfs" "$vault" "$scratch/full"

say "vaults"
expect_error VaultNotFound 3 "$vaultfs" "$scratch/novault" "$mnt"
mkdir "$scratch/empty"
expect_error NotAVault 7 "$vaultfs" "$scratch/empty" "$mnt"

say "options"
expect_error Usage 2 "$vaultfs"
expect_error Usage 2 "$vaultfs" "$vault"
expect_error Usage 2 "$vaultfs" "$vault" "$mnt" third
expect_error Usage 2 "$vaultfs" "$vault" "$mnt" -x
expect_error Usage 2 "$vaultfs" "$vault" "$mnt" -o
for option in settle=soon settle= max-job=0 commit=never cache=some write-buffer=1K read-cache=x wait=-1 passphrase-fd=x \
  no-such-option accept-older unverified; do
  expect_error Usage 2 "$vaultfs" "$vault" "$mnt" -o "$option"
done
expect_error IoError 31 "$vaultfs" "$vault" "$mnt" -o "log=$scratch/empty"
"$vaultfs" --help | grep -q '^usage: vaultfs VAULT MOUNTPOINT'
"$vaultfs" --version | grep -Eq '^vaultfs [0-9]+\.[0-9]+\.[0-9]+$'

say "a mounted vault: its mount point and itself are in use"
mount_vault settle=1
mkdir "$scratch/mnt2"
expect_error MountPointBusy 6 "$vaultfs" "$vault" "$mnt"
expect_error VaultBusy 6 "$vaultfs" "$vault" "$scratch/mnt2"
assert_eq "$(stat -c %a "$log")" "$(printf '%o' $((0666 & ~$(umask))))" "the log's mode follows the umask"
grep -q 'fuse.vaultfs' <(findmnt -n -o FSTYPE "$mnt")
assert_eq "$(findmnt -n -o SOURCE "$mnt")" "$vault"

say "a read-only mount may stand beside the owner, and shows what is committed"
mkdir "$mnt/vm"
echo shared >"$mnt/vm/f"
ctl backup commit "$vault" vm >/dev/null
"$vaultfs" "$vault" "$scratch/mnt2" -o "ro,log=$log"
point=$(newest_point vm)
assert_eq "$(cat "$scratch/mnt2/.recovery-points/vm/$point/f")" shared
expect_errno EROFS touch "$scratch/mnt2/vm/f"
timeout 60 "$umounter" "$scratch/mnt2" || fail "unmounting a reader waits for the owner"

say "-o nonempty, and mounting again at once after umount"
unmount_vault
"$vaultfs" "$vault" "$scratch/full" -o "nonempty,log=$log"
assert_eq "$(cat "$scratch/full/vm/f")" shared
timeout 60 "$umounter" "$scratch/full"
[[ -e $scratch/full/entry ]] || fail "what was under the mount is gone"
for _ in 1 2 3; do mount_vault && unmount_vault; done

say "in the foreground it logs to stderr and ends with the unmount"
"$vaultfs" "$vault" "$mnt" -f 2>"$scratch/stderr" &
pid=$!
wait_until 20 mountpoint -q "$mnt"
assert_eq "$(cat "$mnt/vm/f")" shared
unmount_vault
wait "$pid" || fail "vaultfs -f ended with $?"
grep -q mounted "$scratch/stderr" || fail "nothing was logged"

say "a daemon that died leaves a mount point with a word of advice"
mount_vault
kill_daemon
sleep 2 # so long the kernel answers from its cache that all is well
expect_error MountPointBusy 6 "$vaultfs" "$vault" "$mnt"
grep -q 'umount -l' "$scratch/err" || fail "no advice: $(cat "$scratch/err")"
umount -l "$mnt"
mount_vault
assert_eq "$(cat "$mnt/vm/f")" shared
unmount_vault

say "a machine state that is named from the working directory, which a mount leaves"
(cd "$scratch" && VAULTFS_HOME=home "$vaultfs" "$vault" "$mnt")
mkdir "$mnt/another"
ctl encryption refresh "$vault" >/dev/null
unmount_vault
