# service_keys.sh PROVIDER: a vault whose key is in a key service, from registration to restore. The key is rotated at the
# service, by the service's own means, while the vault is mounted and written to; the service hangs and refuses during a
# backup; what it cannot do is said by name.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/key_services.sh"
need_fuse
need curl jq
service_start "$1"

say "registered, with a key made at the service; the vault holds no address and no secret"
service_register office 30
service_register hasty $((2 * time_factor))
v1=$(service_create)
assert_eq "$(newest_version office/vm)" "$v1"
ctl vault create "$vault" --key office/vm >/dev/null 2>"$scratch/err"
[[ ! -s $scratch/err ]] || fail "nothing is to be warned of, but it said: $(cat "$scratch/err")"
random_file "$scratch/disk" 3M
ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null
for word in "$service_port" "$transit_token" "$service_directory"; do
  if grep -rqaF -- "$word" "$vault"; then fail "the vault holds $word"; fi
done
other=$scratch/other # not mounted: each command opens it, and that wants the service
mkdir "$scratch/other-mnt"
ctl vault create "$other" --key hasty/vm >/dev/null
ctl backup run "$other" vm --disk "d=$scratch/disk" >/dev/null

say "rotated at the service while mounted and written to"
service_mount commit=manual
# Writes and syncs small blocks until told to stop; what it wrote, in order, stands in the reference.
cat >"$scratch/writer.py" <<'PY'
import os, sys, time
target, reference, stop = sys.argv[1:]
with open(target, "wb", buffering=0) as out, open(reference, "wb", buffering=0) as copy:
    while not os.path.exists(stop):
        block = os.urandom(30000)
        out.write(block)
        os.fsync(out.fileno())
        copy.write(block)
        time.sleep(0.02)
PY
python3 "$scratch/writer.py" "$mnt/vm/log" "$scratch/reference" "$scratch/stop" 7>&- 8<&- &
writer=$!
takes_effect() { [[ $(version_role "$v2") == Active ]]; }
if [[ $service == kmip ]]; then
  sleep 5 # a job starts with the keys that were looked at less than 5 s ago
  v2=$(service_rotate)
  mkdir "$mnt/second" # the start of a job looks for a new version
  echo first >"$mnt/second/note"
  wait_until 20 takes_effect
else
  v2=$(service_rotate)
  ctl encryption refresh "$vault" >/dev/null
  takes_effect || fail "the new version is not Active"
fi
[[ -n $v2 && $v2 != "$v1" ]] || fail "the service made no new version: $v2"
assert_eq "$(version_role "$v1")" Retiring
kill -0 "$writer" || fail "the writer has ended"

say "the job that began before does not retire the old version, one that began after it does"
assert_eq "$(ctl --json backup commit "$vault" vm | jq '.retired_versions | length')" 0
expect_error KeyVersionInUse 8 "$vaultctl" key disable "office/vm/$v1"
touch "$scratch/stop"
wait "$writer" || fail "the writer failed"
assert_same "$scratch/reference" "$mnt/vm/log"
echo more >"$mnt/vm/note"
assert_eq "$(ctl --json backup commit "$vault" vm | jq -r '.retired_versions[0]')" "$v1"
ctl key drill "$vault" >/dev/null

say "what the service cannot do is said by name; what it can is done"
ctl encryption refresh "$other" >/dev/null
echo more >>"$scratch/disk"
ctl backup run "$other" vm --disk "d=$scratch/disk" >/dev/null # nor does this vault need the old version any more
case $service in
  kmip)
    expect_error NotSupportedByProvider 8 "$vaultctl" key disable "office/vm/$v1"
    expect_error NotSupportedByProvider 8 "$vaultctl" key enable "office/vm/$v1"
    ;;
  transit)
    # The engine has a floor, not a switch for each version.
    expect_error NotSupportedByProvider 8 "$vaultctl" key disable "office/vm/$v2" --override vm
    ctl key disable "office/vm/$v1" >/dev/null
    ;;
  azure) ctl key disable "office/vm/$v1" >/dev/null ;;
esac
if [[ $service != kmip ]]; then assert_eq "$(ctl --json key list office/vm | jq -c '[.versions[] | .enabled]')" '[false,true]'; fi
if [[ $service != azure ]]; then
  expect_error NotSupportedByProvider 8 "$vaultctl" key delete office/vm --override vm
  expect_error NotSupportedByProvider 8 "$vaultctl" key recover office/vm
fi
expect_error NotSupportedByProvider 8 "$vaultctl" key export office/vm --to "$scratch/no"
if [[ $service == azure ]]; then
  policy_of() { ctl --json key rotation-policy show office/vm | jq -c .rotation_policy; }
  assert_eq "$(policy_of)" null # one that only notifies makes no version
  expect_error InvalidArgument 2 "$vaultctl" key rotation-policy set office/vm --after-create 6d
  ctl key rotation-policy set office/vm --after-create 30d --expiry 90d >/dev/null
  assert_eq "$(azure_request GET keys/vm/rotationpolicy | jq -c '[.lifetimeActions[0].trigger, .attributes.expiryTime]')" \
    '[{"timeAfterCreate":"P30D"},"P90D"]'
  assert_eq "$(jctl .rotation_policy.expiry key show office/vm)" P90D
  azure_request PUT keys/vm/rotationpolicy \
    '{"lifetimeActions":[{"trigger":{"timeAfterCreate":"P3M"},"action":{"type":"Rotate"}}],"attributes":{}}' >/dev/null
  assert_eq "$(policy_of)" '{"after_create":"P3M","before_expiry":null,"expiry":null}'
  ctl key rotation-policy set office/vm --none >/dev/null
  assert_eq "$(policy_of)" null
else
  expect_error NotSupportedByProvider 8 "$vaultctl" key rotation-policy set office/vm --after-create 30d
fi

say "the service hangs: neither readers nor writers wait, and the backup that is under way completes"
echo begun >"$mnt/vm/note" # the job
service_hang
ctl encryption refresh "$vault" >/dev/null 2>"$scratch/refresh.err" 7>&- 8<&- &
refresh=$!
sleep 0.5
timeout "$(patience 20)" dd if=/dev/urandom of="$mnt/vm/during" bs=256k count=8 conv=fsync status=none || fail "a write waits for the service"
timeout "$(patience 20)" cat "$mnt/vm/during" "$mnt/vm/d" "$mnt/vm/log" >"$scratch/read" || fail "a read waits for the service"
kill -0 "$refresh" 2>/dev/null || fail "the refresh has not waited: this shows nothing: $(cat "$scratch/refresh.err")"
timeout "$(patience 25)" "$vaultctl" backup commit "$vault" vm >/dev/null || fail "the backup has not completed"
service_return
wait "$refresh" || fail "the refresh went wrong though the service came back: $(cat "$scratch/refresh.err")"

say "the service says no, or is gone: an outage, told at once to whoever opens a vault; the mount goes on"
echo begun-again >"$mnt/vm/note"
service_refuse
begun=$SECONDS
expect_error KeyVaultUnavailable 20 timeout "$(patience 20)" "$vaultctl" restore "$other" vm --to "$scratch/no"
expect_error KeyVaultUnavailable 20 timeout "$(patience 20)" "$vaultfs" "$other" "$scratch/other-mnt"
[[ $((SECONDS - begun)) -lt $(patience 15) ]] || fail "the answers took $((SECONDS - begun)) s"
expect_error KeyVaultUnavailable 20 timeout "$(patience 40)" "$vaultctl" encryption refresh "$vault"
assert_eq "$(jctl .key_access encryption show "$vault")" Unreachable
echo on-cached-keys >"$mnt/vm/last"
timeout "$(patience 25)" "$vaultctl" backup commit "$vault" vm >/dev/null || fail "the backup has not completed"

say "the service is back: all is well without a remount"
service_return
ctl encryption refresh "$vault" >/dev/null
assert_eq "$(jctl .key_access encryption show "$vault")" Available
assert_same "$scratch/reference" "$mnt/vm/log"
cp "$mnt/vm/during" "$scratch/during"
unmount_vault
printf 'on-cached-keys\n' >"$scratch/last"
cp "$scratch/reference" "$scratch/log"
for name in log during last; do
  ctl restore "$vault" vm --disk "$name" --to "$scratch/back-$name" >/dev/null
  assert_same "$scratch/$name" "$scratch/back-$name"
done
ctl verify "$vault" >/dev/null
service_check

if [[ $service == kmip ]]; then
  say "a revocation at the service is for good, and nobody is told to enable the version again"
  service_ask "revoke $kmip_user $v2 superseded" >/dev/null
  expect_error KeyRevoked 21 "$vaultctl" restore "$vault" vm --to "$scratch/no"
  if grep -q 'nable it' "$scratch/err"; then fail "said: $(cat "$scratch/err")"; fi
  grep -q 'never' "$scratch/err" || fail "said: $(cat "$scratch/err")"
fi
