# No name and no plaintext reaches storage, the machine's state or a log: a session with distinctive names and contents,
# then a search through every byte that was left.
. "$(dirname "$0")/lib.sh"
need_fuse
new_vault
item=PaulaSchmidtPayroll
file=QuarterlyLossesWorksheet
word=TheLaunchCodeIsElephant
password=PassphraseOfTheRecovery

mount_vault settle=1
mkdir "$mnt/$item" "$mnt/$item/Dir$file"
yes "$word" | head -c 3M >"$mnt/$item/$file.img" || true # compresses well
{ yes "$word" | head -c 64k || true; head -c 2M /dev/urandom; yes "$word" | head -c 3000 || true; } >"$mnt/$item/mixed"
printf %s "$word" >"$mnt/$item/small"
ln -s "Target$file" "$mnt/$item/link"
sync "$mnt/$item/small"
ctl backup commit "$vault" "$item" >/dev/null
# What goes wrong is logged too: a refused name, a failed restore, a kill.
mkdir "$mnt/$item/Dir$file" 2>/dev/null || true
"$vaultctl" restore "$vault" "$item" --disk "No$file" --to "$scratch/x" </dev/null 2>/dev/null || true
"$vaultctl" backup commit "$vault" "No$item" </dev/null 2>/dev/null || true
echo "$word" >>"$mnt/$item/mixed"
sync "$mnt/$item/mixed"
kill_daemon
umount -l "$mnt"
mount_vault settle=1
mv "$mnt/$item/$file.img" "$mnt/$item/Moved$file"
ctl backup commit "$vault" "$item" >/dev/null
unmount_vault
echo "$password" >"$scratch/pass"
ctl vault create "$scratch/second" --recovery-file "$scratch/recovery" --passphrase-file "$scratch/pass" >/dev/null 2>&1
yes "$word" | head -c 1M >"$scratch/source" || true
ctl backup run "$scratch/second" "$item" --disk "$file=$scratch/source" >/dev/null
ctl keyvault create safe --new-passphrase-file "$scratch/pass" >/dev/null
ctl --passphrase-file "$scratch/pass" key create safe/k --bits 2048 >/dev/null

say "the search itself works"
grep -rq "$word" "$scratch/source"
[[ -s $log ]] || fail "nothing was logged, so the test proves nothing"
[[ $(find "$vault" "$scratch/second" "$VAULTFS_HOME" -type f -size +0 | wc -l) -gt 20 ]] || fail "there is too little to search"

places=("$vault" "$scratch/second" "$VAULTFS_HOME" "$VAULTFS_RUNTIME_DIR" "$scratch/recovery" "$log")
say "storage, machine state, log, recovery file: no name, no content, no passphrase; not in base64 or hex either"
for secret in "$item" "$file" "$word" "$password"; do
  for form in "$secret" "$(printf %s "$secret" | base64 | cut -c 1-20)" "$(printf %s "$secret" | od -An -tx1 | tr -d ' \n')"; do
    if grep -rlaiF -- "$form" "${places[@]}"; then fail "\"$secret\" stands in the clear (as $form)"; fi
  done
done
if find "$vault" "$scratch/second" "$VAULTFS_HOME" | grep -iE "$item|$file"; then fail "a name stands in a file's name"; fi

say "the daemon keeps no core, and its keys are locked"
mount_vault
pid=$(daemon_pid)
assert_match "$(grep 'Max core file size' "/proc/$pid/limits")" ' 0 +0 '
# The runtimes of the sanitizers make mlock(2) do nothing.
if ! ldd "$vaultfs" | grep -Eq 'lib(asan|tsan)'; then
  [[ $(awk '/VmLck/ {print $2}' "/proc/$pid/status") -gt 0 ]] || fail "the daemon has no locked memory"
fi
unmount_vault
