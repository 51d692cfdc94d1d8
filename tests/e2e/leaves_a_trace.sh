# Nothing fails without a trace: attempts that came to nothing, vaults that could not be opened, what happens by itself.
. "$(dirname "$0")/lib.sh"
new_vault
cd "$scratch"
random_file img 3M
jobs_of() { ctl --json job list "$vault" | jq -c "[.jobs[] | select(.kind == \"$1\") | [.state, .item]]"; }
last_job() { jctl "[.jobs[] | select(.kind == \"$1\")][-1]$2" job list "$vault"; }
activities() { ctl --json activity "$vault" | jq -c "[.activities[] | select(.operation | startswith(\"$1\")) | .outcome]"; }
audits() { grep -c "\"$1\"" "$VAULTFS_HOME/audit.log" || true; }

say "every attempt is a job and an activity record, however early it failed"
expect_error NotFound 3 "$vaultctl" backup run "$vault" vm --disk d=missing
expect_error InvalidName 2 "$vaultctl" backup run "$vault" a/b --disk d=img
expect_error InvalidName 2 "$vaultctl" backup run "$vault" vm --disk d/e=img
expect_error InvalidArgument 2 "$vaultctl" backup run "$vault" vm --disk d=/dev/null
expect_error ItemNotFound 3 "$vaultctl" backup commit "$vault" vm
assert_eq "$(jobs_of Backup)" '[["Failed","vm"],["Failed",""],["Failed","vm"],["Failed","vm"],["Failed","vm"]]'
assert_eq "$(activities backup.fail)" '["Failed","Failed","Failed","Failed","Failed"]'
assert_eq "$(ctl --json vault show "$vault" | jq -c .items)" '[]' "no phantom items"

say "a restore of an unmounted vault is one too, whatever came of it"
ctl backup run "$vault" vm --disk d=img >/dev/null
ctl restore "$vault" vm --to restored >/dev/null
expect_error ItemNotFound 3 "$vaultctl" restore "$vault" nobody --to x
expect_error NotFound 3 "$vaultctl" restore "$vault" vm --to missing/x
assert_eq "$(jobs_of Restore)" '[["Completed","vm"],["Failed","nobody"],["Failed","vm"]]'
assert_eq "$(activities restore)" '["Succeeded","Failed","Failed"]'
number=$(last_job Restore .job)
assert_eq "$(jctl .state job show "$vault" "$number")" Failed
ctl backup run "$vault" vm --disk d=img >/dev/null # an owner takes them over, under the same numbers
assert_eq "$(jobs_of Restore)" '[["Completed","vm"],["Failed","nobody"],["Failed","vm"]]'
assert_eq "$(jctl .state job show "$vault" "$number")" Failed
assert_eq "$(activities restore)" '["Succeeded","Failed","Failed"]'
ctl activity "$vault" --verify >/dev/null

say "a vault that can't be opened: the machine keeps it for the next opening"
version=$(newest_version)
before=$(audits backup.attempt)
ctl key disable "office/backup/$version" --override backup >/dev/null
expect_error KeyRevoked 21 "$vaultctl" backup run "$vault" vm --disk d=img
mv "$vault" "$vault.away"
expect_error VaultNotFound 3 "$vaultctl" backup run "$vault" vm --disk d=img
expect_error VaultNotFound 3 "$vaultctl" backup run "$scratch/typo" vm --disk d=img
mv "$vault.away" "$vault"
ctl key enable "office/backup/$version" >/dev/null
assert_eq "$(($(audits backup.attempt) - before))" 3
ctl backup run "$vault" vm --disk d=img >/dev/null
assert_eq "$(ctl --json job list "$vault" | jq -c '[.jobs[] | select(.kind == "Backup") | .detail][-3:-1] | map(split(":")[0])')" '["KeyRevoked","VaultNotFound"]'

say "an attempt on a platform-managed vault that could not be opened is the last moment for customer-managed keys"
ctl vault create "$scratch/second" --no-recovery >/dev/null 2>&1
mv second second.away
expect_error VaultNotFound 3 "$vaultctl" backup run "$scratch/second" vm --disk d=img
mv second.away second
expect_error EncryptionNotChangeable 8 "$vaultctl" encryption set "$scratch/second" --key office/backup

need_fuse
say "a client that goes away leaves Cancelled"
mount_vault settle=60
mkfifo gate
random_file big 200M
"$vaultctl" restore "$vault" vm --to - </dev/null >gate 2>/dev/null &
client=$!
exec 5<gate
restoring() { [[ $(last_job Restore .state) == InProgress ]]; }
wait_until 20 restoring
kill -KILL "$client"
wait "$client" 2>/dev/null || true
exec 5>&-
restore_ended() { [[ $(last_job Restore .state) != InProgress ]]; }
wait_until 20 restore_ended
assert_match "$(last_job Restore .state)" 'Cancelled|Failed'
"$vaultctl" backup run "$vault" big --disk d=big </dev/null >/dev/null 2>&1 &
client=$!
under_way() { [[ $(last_job Backup .item) == big ]]; }
wait_until 20 under_way
kill -KILL "$client" 2>/dev/null || true # it may have been as fast as the look at the list
wait "$client" 2>/dev/null || true
ended() { [[ $(last_job Backup .state) != InProgress ]]; }
wait_until 20 ended
assert_match "$(last_job Backup .state)" 'Cancelled|Completed'
unmount_vault

say "one line each in the log, with the reason: automatic points, commits, revocation, grace, sealing, healing, retirement"
: >"$log"
ctl encryption set "$vault" --revocation-grace 1 >/dev/null
mount_vault settle=1
line() { grep -c -- "$1" "$log" || true; }
has_line() { [[ $(line "$1") -ge 1 ]]; }
echo one >"$mnt/vm/note"
wait_until 20 has_line 'recovery point .*: automatic, nothing was open for writing for 1 s'
unmount_vault
mount_vault settle=3600 # no second one, however slow the machine
echo two >"$mnt/vm/note"
ctl backup commit "$vault" vm >/dev/null
ctl backup commit "$vault" vm >/dev/null
wait_until 5 has_line 'nothing had changed: asked for'
assert_eq "$(line ': automatic, ')" 1
assert_eq "$(line 'recovery point .*: asked for')" 1
ctl key disable "office/backup/$version" --override backup >/dev/null
ctl encryption refresh "$vault" >/dev/null 2>&1 || true
wait_until 30 has_line 'sealed: '
expect_errno EKEYREVOKED mkdir "$mnt/phantom"
expect_error KeyRevoked 21 "$vaultctl" backup commit "$vault" vm
expect_error KeyRevoked 21 "$vaultctl" backup run "$vault" phantom --disk d=img
assert_eq "$(ctl --json job list "$vault" | jq '[.jobs[] | select(.state == "InProgress")] | length')" 0 "a phantom job"
ctl key enable "office/backup/$version" >/dev/null
ctl encryption refresh "$vault" >/dev/null 2>&1 || true
wait_until 40 has_line 'healed: '
for word in revocation grace sealed healed; do assert_eq "$(line "\] $word: ")" 1 "lines for $word"; done
ctl key rotate office/backup >/dev/null
ctl encryption refresh "$vault" >/dev/null
echo three >"$mnt/vm/note"
ctl backup commit "$vault" vm >/dev/null
wait_until 20 has_line 'retirement: key version'
assert_eq "$(line 'retirement: ')" 1
unmount_vault
assert_eq "$(ctl --json vault show "$vault" | jq -c '[.items[].name] | index("phantom")')" null
assert_eq "$(ctl --json job list "$vault" | jq -c '[.jobs[] | select(.item == "phantom") | .state] | unique')" '["Failed"]'

say "without syslog the mount says where its words go"
if [[ ! -S /dev/log ]]; then
  "$vaultfs" "$vault" "$mnt" </dev/null 2>err
  grep -q "^vaultfs: note: there is no syslog here, the log goes to $VAULTFS_HOME/vaultfs.log" err || fail "it said: $(cat err)"
  unmount_vault
  grep -q mounted "$VAULTFS_HOME/vaultfs.log"
  assert_eq "$(stat -c %a "$VAULTFS_HOME/vaultfs.log")" 600
fi

say "a version that can't be taken up is a note of the command that backs up, once"
identity=$(jctl '.access[0].identity' keyvault show office)
ctl keyvault allow office --identity "$identity" --permissions get,list,unwrapkey --override office >/dev/null
ctl key rotate office/backup >/dev/null
random_file img 3M
ctl backup run "$vault" vm --disk d=img >/dev/null 2>err
assert_eq "$(grep -c '^vaultctl: note: a newer version of the key could not be taken up' err)" 1 "notes in: $(cat err)"
ctl keyvault allow office --identity "$identity" --template backup >/dev/null
ctl backup run "$vault" vm --disk d=img >/dev/null 2>err
if grep -q 'could not be taken up' err; then fail "it said: $(cat err)"; fi
