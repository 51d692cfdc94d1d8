# The rotation rule by the command line: Active, Retiring, Retired; what is refused and why.
. "$(dirname "$0")/lib.sh"
new_key
v1=$(newest_version)
new_vault
random_file "$scratch/disk" 2M
backup() { ctl --json backup run "$vault" vm --disk "d=$scratch/disk"; }
backup >/dev/null

say "the Active version can't be disabled; the reason names the vault and the number of recovery points"
expect_error KeyVersionInUse 8 "$vaultctl" key disable "office/backup/$v1"
grep -q "$vault: Active, 1 recovery points" "$scratch/err" || fail "$(cat "$scratch/err")"
assert_eq "$(jctl '.versions[0].enabled' key list office/backup)" true

say "rotation: the new version takes effect at a refresh, the old one is Retiring and still refused"
ctl key rotate office/backup --bits 2048 >/dev/null
v2=$(newest_version)
[[ $v1 != "$v2" ]] || fail "rotation made no new version"
assert_eq "$(version_role "$v1")" Active "before the refresh"
ctl encryption refresh "$vault" >/dev/null
assert_eq "$(version_role "$v2")" Active
assert_eq "$(version_role "$v1")" Retiring
expect_error KeyVersionInUse 8 "$vaultctl" key disable "office/backup/$v1"
grep -q "$vault: Retiring, 1 recovery points" "$scratch/err" || fail "$(cat "$scratch/err")"
assert_eq "$(jctl ".vaults[] | select(.path == \"$vault\") | .needs_version" key impact "office/backup/$v1")" true
ctl encryption refresh "$vault" >/dev/null
assert_eq "$(version_role "$v1")" Retiring "a refresh alone retires nothing"

say "an unchanged item's backup counts: the old version retires and may be disabled; all points stay readable"
backup >"$scratch/out1"
assert_eq "$(jq -r .job.state "$scratch/out1")" CompletedNoChange
assert_eq "$(jq -r '.retired_versions[0]' "$scratch/out1")" "$v1"
assert_eq "$(version_role "$v1")" Retired
ctl key disable "office/backup/$v1" >/dev/null
assert_eq "$(ctl --json key list office/backup | jq '.versions[0].enabled')" false
ctl restore "$vault" vm --to "$scratch/back" >/dev/null
assert_same "$scratch/disk" "$scratch/back"
ctl verify "$vault" >/dev/null
ctl key enable "office/backup/$v1" >/dev/null
ctl key disable "office/backup/$v1" >/dev/null

say "several rotations before a backup leave several Retiring versions; one backup retires them together"
ctl key rotate office/backup --bits 2048 >/dev/null
v3=$(newest_version)
ctl encryption refresh "$vault" >/dev/null
ctl key rotate office/backup --bits 3072 >/dev/null
v4=$(newest_version)
ctl encryption refresh "$vault" >/dev/null
assert_eq "$(version_role "$v2") $(version_role "$v3") $(version_role "$v4")" "Retiring Retiring Active"
for version in "$v2" "$v3" "$v4"; do
  expect_error KeyVersionInUse 8 "$vaultctl" key disable "office/backup/$version"
done
backup >"$scratch/out2"
assert_eq "$(jq '.retired_versions | length' "$scratch/out2")" 2
assert_eq "$(version_role "$v2") $(version_role "$v3") $(version_role "$v4")" "Retired Retired Active"

say "the epochs that a version could read end with its retirement"
current=$(jctl .current_epoch encryption show "$vault")
assert_eq "$(ctl --json encryption show "$vault" | jq --arg v "$v2" "[.versions[] | select(.version == \$v)][-1].last_epoch < $current")" true
assert_eq "$(ctl --json encryption show "$vault" | jq -r --arg v "$v4" '[.versions[] | select(.version == $v)][-1].last_epoch | type')" null

say "disabling the Active version by --override is a revocation: no older version is taken instead"
ctl key enable "office/backup/$v1" >/dev/null
expect_error Usage 2 "$vaultctl" key disable "office/backup/$v4" --override wrong
ctl key disable "office/backup/$v4" --override backup >/dev/null
expect_error 'KeyVersionDisabled|KeyRevoked|KeyVaultDenied' 21 "$vaultctl" backup run "$vault" vm --disk "d=$scratch/disk"
expect_error 'KeyVersionDisabled|KeyRevoked|KeyVaultDenied' 21 "$vaultctl" restore "$vault" vm --to "$scratch/denied"
[[ ! -e $scratch/denied ]] || fail "a restore without the key left a file"
ctl key enable "office/backup/$v4" >/dev/null
ctl restore "$vault" vm --to "$scratch/again" >/dev/null
assert_same "$scratch/disk" "$scratch/again"
assert_eq "$(version_role "$v4")" Active

say "refusals and rotations stand in the machine's audit log; a refusal is nothing that a vault is changed for"
[[ $(grep -c '"what":"key.disable.refused"' "$VAULTFS_HOME/audit.log") -ge 2 ]] ||
  fail "refusals are not recorded: $(cat "$VAULTFS_HOME/audit.log")"
grep -q 'key.disable.override' "$VAULTFS_HOME/audit.log"
jctl '[.jobs[] | select(.kind == "KeyUpdate" and .state == "Completed")] | length' job list "$vault" >"$scratch/updates"
[[ $(cat "$scratch/updates") -ge 3 ]] || fail "key updates are no jobs: $(cat "$scratch/updates")"

say "a pinned reference never follows"
ctl vault create "$scratch/pinned" --key "office/backup/$v4" >/dev/null 2>&1
ctl key rotate office/backup --bits 2048 >/dev/null
v5=$(newest_version)
ctl encryption refresh "$scratch/pinned" >/dev/null
assert_eq "$(jctl '[.versions[] | select(.role == "Active")][0].version' encryption show "$scratch/pinned")" "$v4"
assert_eq "$(ctl --json encryption show "$scratch/pinned" | jq .follows_new_versions)" false
say "until it is told to; a versionless reference follows"
ctl encryption set "$scratch/pinned" --key "office/backup" >/dev/null
ctl encryption refresh "$scratch/pinned" >/dev/null
assert_eq "$(jctl '[.versions[] | select(.role == "Active")][0].version' encryption show "$scratch/pinned")" "$v5"

say "another key: the old key's version must stay until the next backup"
ctl key create office/second --bits 2048 >/dev/null
ctl encryption set "$vault" --key office/second >/dev/null
active=$(jctl '[.versions[] | select(.role == "Active")][0] | .key' encryption show "$vault")
assert_eq "$active" office/second
previous=$(jctl '[.versions[] | select(.role == "Retiring")][-1].version' encryption show "$vault")
expect_error KeyVersionInUse 8 "$vaultctl" key disable "office/backup/$previous"
backup >/dev/null
assert_eq "$(version_role "$previous")" Retired

say "a compromised version: rewrap --drop-retiring does not wait for a backup, and says what it does not do"
ctl key rotate office/second --bits 2048 >/dev/null
ctl encryption refresh "$vault" >/dev/null
ctl key rewrap "$vault" --drop-retiring | grep -q 'does not take a leaked key back'
assert_eq "$(ctl --json encryption show "$vault" | jq '[.versions[] | select(.role == "Retiring")] | length')" 0
backup >/dev/null

say "a vault that can't be asked counts as needing its key; forget drops it"
pinned=$(jctl .id vault show "$scratch/pinned")
mv "$scratch/pinned" "$scratch/moved"
expect_error KeyVersionInUse 8 "$vaultctl" key disable "office/backup/$v1"
grep -q "can't be asked.*vault forget $pinned" "$scratch/err" || fail "$(cat "$scratch/err")"
expect_error VaultExists 4 "$vaultctl" vault forget "$scratch/moved"
ctl encryption refresh "$scratch/moved" >/dev/null # its owner tells the machine where it is now
expect_error KeyVersionInUse 8 "$vaultctl" key disable "office/backup/$v5"
grep -q "$scratch/moved: Active" "$scratch/err" || fail "$(cat "$scratch/err")"
expect_error VaultExists 4 "$vaultctl" vault forget "$scratch/moved"
expect_error Usage 2 "$vaultctl" vault forget "$scratch/moved" --override "$scratch/moved"
mv "$scratch/moved" "$scratch/pinned"
ctl encryption refresh "$scratch/pinned" >/dev/null
mv "$scratch/pinned" "$scratch/moved"
ctl vault forget "$scratch/pinned" >/dev/null
ctl key disable "office/backup/$v1" >/dev/null
expect_error VaultNotFound 3 "$vaultctl" vault forget "$scratch/pinned"
