# Key versions that make themselves: by the owner of a vault at its refresh, and by a timer's `key rotate --due`.
. "$(dirname "$0")/lib.sh"
new_key
new_vault
first=$(newest_version)

# The key vault's files are its administrator's: a version is made older by hand, as time would.
age_newest() { # KEY DAYS
  python3 - "$VAULTFS_HOME/keyvaults/office/keys/$1.json" "$2" <<'PYTHON'
import json, sys
path, days = sys.argv[1], int(sys.argv[2])
with open(path) as file:
    state = json.load(file)
for version in state["versions"]:
    version["created"] -= days * 86400
with open(path, "w") as file:
    json.dump(state, file)
PYTHON
}
versions() { ctl --json key list "office/$1" | jq '.versions | length'; }

say "a policy is checked and shown"
expect_error InvalidArgument 2 "$vaultctl" key rotation-policy set office/backup
expect_error InvalidArgument 2 "$vaultctl" key rotation-policy set office/backup --after-create P1M
expect_error InvalidArgument 2 "$vaultctl" key rotation-policy set office/backup --after-create 6d
expect_error InvalidArgument 2 "$vaultctl" key rotation-policy set office/backup --before-expiry 30d
ctl key rotation-policy set office/backup --after-create P30D --expiry 90d >/dev/null
assert_eq "$(jctl .rotation_policy.after_create key rotation-policy show office/backup)" P30D
assert_eq "$(jctl .rotation_policy.expiry key show office/backup)" P90D

say "before its time nothing happens"
assert_eq "$(ctl --json key rotate --due | jq '.rotated | length')" 0
ctl encryption refresh "$vault" >/dev/null
assert_eq "$(versions backup)" 1

say "the owner of a vault runs it at a refresh, and takes the new version up at once"
age_newest backup 31
ctl encryption refresh "$vault" >/dev/null
assert_eq "$(versions backup)" 2
second=$(newest_version)
[[ $second != "$first" ]] || fail "no new version"
assert_eq "$(version_role "$second")" Active
assert_eq "$(version_role "$first")" Retiring
[[ $(jctl '.versions[-1].expires' key list office/backup) != null ]] || fail "the policy's expiry was not set"
ctl encryption refresh "$vault" >/dev/null
assert_eq "$(versions backup)" 2

say "a timer runs all that is due; several at once make one version each"
ctl key create office/other --bits 2048 >/dev/null
ctl key rotation-policy set office/other --after-create 30d >/dev/null
age_newest backup 31
age_newest other 31
pids=()
for i in 1 2 3 4; do
  ctl --json key rotate --due >"$scratch/due.$i" &
  pids+=($!)
done
for pid in "${pids[@]}"; do wait "$pid"; done
assert_eq "$(versions backup)" 3
assert_eq "$(versions other)" 2
assert_eq "$(jq -s '[.[].rotated[]] | length' "$scratch"/due.*)" 2
assert_eq "$(ctl --json key rotate --due office | jq '.rotated | length')" 0
expect_error KeyVaultNotFound 3 "$vaultctl" key rotate --due nosuch

say "without a policy nothing rotates"
ctl key rotation-policy set office/other --none >/dev/null
age_newest other 400
ctl key rotate --due >/dev/null
assert_eq "$(versions other)" 2
