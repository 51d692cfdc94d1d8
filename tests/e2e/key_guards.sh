# What keeps keys, and the access to them, from being taken away from vaults, and what is told and written down about them:
#   key_guards.sh local            refusals that change nothing, identities and policies, exports, regions, the audit log
#   key_guards.sh transit|token    one key vault under two names; a key of a certificate
#   key_guards.sh azure            regions, a key of a certificate
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/key_services.sh"
readonly mode=$1
sums() { (cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum); }
# The last record of that kind in the machine's audit log.
audited() { jq -r --arg what "$1" 'select(.what == $what) | .detail' "$VAULTFS_HOME/audit.log" | tail -n 1; }
# The log can't be written: what needs a record is not done.
break_log() {
  cp "$VAULTFS_HOME/audit.log" "$scratch/audit.log"
  printf 'no line of a log\n' >"$VAULTFS_HOME/audit.log"
}
mend_log() { cp "$scratch/audit.log" "$VAULTFS_HOME/audit.log"; }
refused_without_record() { expect_error DamagedMachineState 10 "$vaultctl" "$@"; }

first_backup() {
  random_file "$scratch/disk" 1M
  ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null
}

refusals_change_nothing() {
  local v1 v2
  v1=$(newest_version)
  ctl key rotate office/backup --bits 2048 >/dev/null
  v2=$(newest_version)
  say "a refused key disable changes no vault, however often, and advises a refresh where that helps"
  sums "$vault" >"$scratch/before"
  for _ in 1 2; do
    expect_error KeyVersionInUse 8 "$vaultctl" key disable "office/backup/$v1"
    grep -q "$vault: Active.*encryption refresh $vault" "$scratch/err" || fail "no refresh advised: $(cat "$scratch/err")"
  done
  expect_error KeyVersionInUse 8 "$vaultctl" key delete office/backup
  sums "$vault" | cmp - "$scratch/before" || fail "a refusal changed the vault"
  assert_eq "$(version_role "$v1")" Active
  assert_eq "$(audited key.disable.refused)" "office/backup/$v1 still needed"
  ctl encryption refresh "$vault" >/dev/null
  assert_eq "$(version_role "$v1") $(version_role "$v2")" "Retiring Active"

  say "the same while it is mounted"
  mount_vault commit=manual
  ctl key rotate office/backup --bits 2048 >/dev/null
  expect_error KeyVersionInUse 8 "$vaultctl" key disable "office/backup/$v2"
  grep -q "$vault: Active.*encryption refresh $vault" "$scratch/err" || fail "no refresh advised: $(cat "$scratch/err")"
  expect_error KeyVersionInUse 8 "$vaultctl" key disable "office/backup/$v1"
  grep -q "$vault: Retiring.*backup run" "$scratch/err" || fail "no backup advised: $(cat "$scratch/err")"
  assert_eq "$(version_role "$v1") $(version_role "$v2")" "Retiring Active"
  unmount_vault
}

access_is_asked_for() {
  local own mounted
  own=$(jctl '[.identities[] | select(.kind == "SystemAssigned")][0].id' identity list)
  say "who is let in at a key vault stays so while a vault needs it"
  for mounted in yes no; do
    [[ $mounted == no ]] || mount_vault commit=manual
    expect_error KeyVaultInUse 8 "$vaultctl" keyvault deny office --identity "$own"
    grep -q "$vault: .*recovery points" "$scratch/err" || fail "the vault is not named: $(cat "$scratch/err")"
    expect_error KeyVaultInUse 8 "$vaultctl" keyvault allow office --identity "$own" --permissions get,list,wrapkey
    expect_error IdentityInUse 8 "$vaultctl" identity disable "$own"
    expect_error Usage 2 "$vaultctl" identity disable "$own" --override wrong
    expect_error Usage 2 "$vaultctl" keyvault deny office --identity "$own" --override "$own"
    ctl --json keyvault show office | jq -e --arg id "$own" '.access | any(.identity == $id and (.permissions | length) == 4)' >/dev/null ||
      fail "the access is gone"
    assert_eq "$(jctl '.identities[0].state' identity list)" Enabled
    [[ $mounted == no ]] || unmount_vault
  done
  say "an override goes through and is written down first; without that record it is not done"
  break_log
  refused_without_record keyvault deny office --identity "$own" --override office
  refused_without_record identity disable "$own" --override "$own"
  mend_log
  assert_eq "$(jctl .overridden identity disable "$own" --override "$own")" true
  assert_eq "$(audited identity.disable.override)" "$own"
  expect_error IdentityDisabled 21 "$vaultctl" restore "$vault" vm --to "$scratch/no"
  ctl identity disable "$own" >/dev/null # it is already
  ctl identity enable "$own" >/dev/null
  assert_eq "$(jctl .overridden keyvault deny office --identity "$own" --override office)" true
  assert_eq "$(audited keyvault.deny.override)" "office $own"
  ctl keyvault allow office --identity "$own" >/dev/null

  say "nobody is asked about an identity, or an access, that no vault uses"
  ctl identity create spare >/dev/null
  ctl keyvault allow office --identity spare >/dev/null
  ctl --json keyvault allow office --identity spare --permissions get | jq -e '.overridden == false' >/dev/null
  ctl keyvault deny office --identity spare >/dev/null
  ctl identity disable spare >/dev/null
  ctl identity delete spare >/dev/null

  say "a vault that is away may need both"
  mv "$vault" "$scratch/away"
  expect_error KeyVaultInUse 8 "$vaultctl" keyvault deny office --identity "$own"
  grep -q "can't be asked" "$scratch/err" || fail "$(cat "$scratch/err")"
  expect_error IdentityInUse 8 "$vaultctl" identity disable "$own"
  mv "$scratch/away" "$vault"
}

exports_age() {
  local pass=$scratch/pass missing
  echo 'for the road' >"$pass"
  export_key() { rm -f "$2" && ctl --json key export "$1" --to "$2" --file-passphrase-file "$pass"; }
  say "an export has all versions that a vault needs, oldest first; one of a version just that"
  assert_eq "$(jctl .key_export.state vault show "$vault")" None
  assert_eq "$(jctl .export.state key list office/backup)" None
  ctl encryption refresh "$vault" >/dev/null
  mapfile -t needed < <(ctl --json encryption show "$vault" | jq -r '.versions[] | select(.role != "Retired") | .version')
  [[ ${#needed[@]} -ge 2 ]] || fail "wanted a Retiring version"
  assert_eq "$(export_key office/backup "$scratch/all.pem" | jq -c .versions)" "$(printf '%s\n' "${needed[@]}" | jq -Rsc 'split("\n")[:-1]')"
  assert_eq "$(grep -c 'BEGIN ENCRYPTED PRIVATE KEY' "$scratch/all.pem")" "${#needed[@]}"
  export_key "office/backup/${needed[0]}" "$scratch/one.pem" >/dev/null
  assert_eq "$(grep -c 'BEGIN ENCRYPTED PRIVATE KEY' "$scratch/one.pem")" 1
  assert_match "$(audited key.export)" "office/backup ${needed[0]} to $scratch/one.pem"
  assert_eq "$(jctl .key_export.state vault show "$vault")" Current
  assert_eq "$(jctl .export.state key list office/backup)" Current

  say "it is stale after a rotation: said at once, by the list, and by the vault when it has taken the version up"
  ctl key rotate office/backup --bits 2048 >/dev/null 2>"$scratch/err"
  grep -q 'note: the exported copies of office/backup' "$scratch/err" || fail "not said: $(cat "$scratch/err")"
  missing=$(newest_version)
  assert_eq "$(jctl '.export.state + .export.missing[0]' key list office/backup)" "Stale$missing"
  assert_eq "$(ctl --json key list office/backup | jq -c '[.versions[-2,-1].exported | type]')" '["string","null"]'
  ctl encryption refresh "$vault" >/dev/null
  assert_eq "$(jctl '.key_export.state + .key_export.missing[0]' vault show "$vault")" "Stale$missing"
  ctl vault show "$vault" | grep -q "Exported key: .*Stale.*$missing" || fail "not in words"
  mount_vault
  assert_eq "$(jctl '.key_export.state + .key_export.missing[0]' vault show "$vault")" "Stale$missing"
  unmount_vault
  export_key office/backup "$scratch/new.pem" >/dev/null
  assert_eq "$(jctl .key_export.state vault show "$vault")" Current

  say "a bundle brings the versions back elsewhere in their order; what is there already is passed over"
  ctl keyvault create branch >/dev/null
  ctl --json key import branch/kek --from "$scratch/all.pem" --file-passphrase-file "$pass" >"$scratch/out"
  assert_eq "$(jq '.versions | length' "$scratch/out")" "${#needed[@]}"
  assert_eq "$(jq -r .version "$scratch/out")" "${needed[-1]}"
  assert_eq "$(ctl --json key list branch/kek | jq -c '[.versions[].version]')" "$(printf '%s\n' "${needed[@]}" | jq -Rsc 'split("\n")[:-1]')"
  ctl key import branch/kek --from "$scratch/new.pem" --file-passphrase-file "$pass" >/dev/null 2>"$scratch/err"
  assert_eq "$(newest_version branch/kek)" "$missing"
  expect_error AlreadyExists 4 "$vaultctl" key import branch/kek --from "$scratch/new.pem" --file-passphrase-file "$pass"
  head -c 900 "$scratch/new.pem" >"$scratch/cut.pem"
  cat "$scratch/one.pem" "$scratch/cut.pem" >"$scratch/half.pem"
  if ctl key import branch/other --from "$scratch/half.pem" --file-passphrase-file "$pass" 2>"$scratch/err"; then
    fail "half a bundle was imported"
  fi
  expect_error KeyNotFound 3 "$vaultctl" key list branch/other
}

regions() {
  say "a region is compared without case and blanks; a key vault without one is none for a vault with one"
  ctl keyvault create west --region 'West Europe' >/dev/null
  ctl key create west/kek --bits 2048 >/dev/null
  ctl vault create "$scratch/there" --key west/kek --region westeurope >/dev/null 2>&1
  assert_eq "$(ctl --json encryption show "$scratch/there" | jq -c .unmet_preconditions)" '[]'
  expect_error RegionMismatch 8 "$vaultctl" vault create "$scratch/nowhere" --key office/backup --region WestEurope
  [[ ! -e $scratch/nowhere ]] || fail "a failed creation left something"
  expect_error RegionMismatch 8 "$vaultctl" encryption set "$scratch/there" --key office/backup
  grep -q 'keyvault update office --region' "$scratch/err" || fail "what to do is not said: $(cat "$scratch/err")"
  ctl keyvault update office --region 'WESTEUROPE' >/dev/null
  assert_eq "$(audited keyvault.update)" 'office region WESTEUROPE'
  ctl keyvault allow office --identity "$(jctl '.identities[] | select(.vault_path == "'"$scratch/there"'") | .id' identity list)" >/dev/null
  ctl encryption set "$scratch/there" --key office/backup >/dev/null
  ctl keyvault update office --region '' >/dev/null
  assert_eq "$(jctl '.unmet_preconditions[0].name' encryption refresh "$scratch/there")" RegionMismatch
  assert_eq "$(jctl '.unmet_preconditions[0].name' encryption show "$scratch/there")" RegionMismatch
}

forgotten_vault_comes_back() {
  local id version
  say "after vault forget, its own identity made again puts the vault back on the machine's list"
  id=$(jctl .id vault show "$vault")
  version=$(ctl --json encryption show "$vault" | jq -r '.versions[] | select(.role == "Active") | .version')
  ctl vault forget "$vault" --override "$id" >/dev/null
  ctl identity create --vault "$vault" >/dev/null
  expect_error KeyVersionInUse 8 "$vaultctl" key disable "office/backup/$version"
  grep -q "$vault" "$scratch/err" || fail "the vault is not named: $(cat "$scratch/err")"
  expect_error KeyVersionInUse 8 "$vaultctl" key delete office/backup
  ctl keyvault allow office --identity "$(jctl '.identities[] | select(.vault_path == "'"$vault"'") | .id' identity list)" >/dev/null
  ctl restore "$vault" vm --to "$scratch/again" >/dev/null
  assert_same "$scratch/disk" "$scratch/again"
}

changes_are_written_down() {
  local version
  version=$(newest_version)
  echo pass >"$scratch/short"
  say "what changes keys and who may use them is in the machine's audit log before it is done, or is not done"
  break_log
  refused_without_record key create office/unlogged --bits 2048
  refused_without_record key rotate office/backup --bits 2048
  refused_without_record key enable "office/backup/$version"
  refused_without_record key export office/backup --to "$scratch/unlogged.pem" --file-passphrase-file "$scratch/short"
  refused_without_record key import office/unlogged --from "$scratch/one.pem" --file-passphrase-file "$scratch/pass"
  refused_without_record key rotation-policy set office/backup --after-create 30d
  refused_without_record keyvault update office --region here
  refused_without_record keyvault allow office --identity "$(jctl '.identities[0].id' identity list)"
  refused_without_record keyvault create unlogged
  mend_log
  [[ ! -e $scratch/unlogged.pem ]] || fail "exported without a record"
  assert_eq "$(newest_version)" "$version" "rotated without a record"
  expect_error KeyNotFound 3 "$vaultctl" key list office/unlogged
  expect_error KeyVaultNotFound 3 "$vaultctl" keyvault show unlogged
  ctl key create office/logged --bits 2048 >/dev/null
  assert_eq "$(audited key.create)" office/logged
  ctl key rotate office/logged --bits 2048 >/dev/null
  assert_eq "$(audited key.rotate)" office/logged
  expect_error KeyExists 4 "$vaultctl" key create office/logged
  assert_eq "$(audited key.create)" 'office/logged failed: KeyExists'
  ctl key rotation-policy set office/logged --after-create 30d --expiry 90d >/dev/null
  assert_eq "$(audited key.rotation-policy)" 'office/logged after-create=P30D expiry=P90D'
  say "names of others' choice don't reach a terminal from there"
  ctl key export office/logged --to "$scratch/"$'bad\e[2Jname' --file-passphrase-file "$scratch/short" >/dev/null
  assert_match "$(audited key.export)" 'bad\\x1b\[2Jname'
}

two_names() { # KEYVAULT OTHER: one key vault that is registered twice, with the key "vm" and short version ids
  local version
  version=$(newest_version "$1/vm")
  say "the key is needed under whatever name the key vault is registered: $2 for $1"
  ctl vault create "$vault" --key "$1/vm" >/dev/null 2>&1
  first_backup
  local mounted
  for mounted in no yes; do
    [[ $mounted == no ]] || service_mount commit=manual
    expect_error KeyVersionInUse 8 "$vaultctl" key disable "$2/vm/$version"
    grep -q "$vault: Active.*as $1/vm/$version" "$scratch/err" || fail "$(cat "$scratch/err")"
    assert_eq "$(jctl '.vaults[0].needs_version' key impact "$2/vm/$version")" true
    [[ $mounted == no ]] || unmount_vault
  done
  mv "$vault" "$scratch/away"
  expect_error KeyVersionInUse 8 "$vaultctl" key disable "$2/vm/$version"
  mv "$scratch/away" "$vault"
}

transit() {
  service_start transit
  service_create >/dev/null
  service_register bao 20
  ctl keyvault add twin --provider transit --option "address=HTTPS://LocalHost:$service_port/" --option mount=transit \
    --option "ca-file=$service_directory/ca.pem" --option "token-file=$service_directory/token" >/dev/null
  two_names bao twin
  say "another address that may lead to the same server: in doubt it is needed, and that is said"
  ctl keyvault add maybe --provider transit --option "address=https://127.0.0.1:$service_port" \
    --option "ca-file=$service_directory/ca.pem" --option "token-file=$service_directory/token" >/dev/null
  expect_error KeyVersionInUse 8 "$vaultctl" key disable maybe/vm/1
  grep -q "which may be the same key vault" "$scratch/err" || fail "$(cat "$scratch/err")"
  say "a key vault that a vault may know under a name that is not registered here is not removed"
  ctl keyvault remove twin >/dev/null
  ctl keyvault remove bao --override bao >/dev/null
  expect_error KeyVaultInUse 8 "$vaultctl" keyvault remove maybe
  expect_error KeyVersionInUse 8 "$vaultctl" key disable maybe/vm/1
}

token_mode() {
  need softhsm2-util pkcs11-tool openssl
  local module=/usr/lib/softhsm/libsofthsm2.so id
  [[ -e $module ]] || skip "no $module"
  mkdir -m 0700 "$scratch/tokens"
  export SOFTHSM2_CONF=$scratch/softhsm2.conf
  printf 'directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n' "$scratch/tokens" >"$SOFTHSM2_CONF"
  softhsm2-util --init-token --free --label backup --so-pin 87654321 --pin 1234567 >/dev/null
  softhsm2-util --init-token --free --label second --so-pin 87654321 --pin 1234567 >/dev/null
  (umask 077 && echo 1234567 >"$scratch/pin")
  token() { pkcs11-tool --module "$module" --token-label "$1" --login --pin 1234567 "${@:2}" >/dev/null 2>&1; }
  register() { ctl keyvault add "$1" --provider pkcs11 --option module="$module" --option "$2" --option pin-file="$scratch/pin" >/dev/null; }
  token backup --keypairgen --key-type rsa:2048 --label vm --id 01
  token second --keypairgen --key-type rsa:2048 --label vm --id 01
  register hsm token=backup
  register twin "uri=pkcs11:serial=$(pkcs11-tool --module "$module" --list-slots 2>/dev/null | awk '/token label *: backup/ {found = 1} found && /serial num/ {print $4; exit}')"
  register other token=second
  two_names hsm twin
  say "another token with a key of the same name and number is another key vault"
  ctl key disable other/vm/01 >/dev/null
  ctl key enable other/vm/01 >/dev/null

  say "a key that belongs to a certificate is refused by that name"
  token backup --keypairgen --key-type rsa:2048 --label tls --id 02
  openssl req -x509 -newkey rsa:2048 -nodes -keyout "$scratch/own.key" -out "$scratch/own.pem" -days 2 -subj /CN=own 2>/dev/null
  openssl rsa -in "$scratch/own.key" -outform DER -out "$scratch/own.key.der" 2>/dev/null
  openssl x509 -in "$scratch/own.pem" -outform DER -out "$scratch/own.der"
  token backup --write-object "$scratch/own.key.der" --type privkey --label web --id 03 --usage-decrypt
  ctl vault create "$scratch/web" --key hsm/web --no-recovery >/dev/null 2>"$scratch/err" || fail "before: $(cat "$scratch/err")"
  token backup --write-object "$scratch/own.der" --type cert --label web --id 03
  token backup --write-object "$scratch/own.der" --type cert --label stray --id 02
  expect_error KeyOfCertificate 8 "$vaultctl" vault create "$scratch/no" --key hsm/web
  expect_error KeyOfCertificate 8 "$vaultctl" encryption set "$vault" --key hsm/web
  ctl restore "$vault" vm --to "$scratch/back" >/dev/null
  say "a vault that has it already goes on: anybody who reaches the token could have put the certificate there"
  ctl key rewrap "$scratch/web" >/dev/null
  ctl encryption refresh "$scratch/web" >/dev/null
  say "a certificate of another key with the same number is none of it"
  ctl vault create "$scratch/tls" --key hsm/tls >/dev/null 2>"$scratch/err" || fail "$(cat "$scratch/err")"
}

azure() {
  service_start azure
  service_create >/dev/null
  local option arguments=()
  for option in $(service_options); do arguments+=(--option "$option"); done
  ctl keyvault add office --provider azure "${arguments[@]}" --option region='West Europe' >/dev/null
  say "regions as Azure writes them, and none"
  ctl vault create "$vault" --key office/vm --region westeurope >/dev/null 2>"$scratch/err" || fail "$(cat "$scratch/err")"
  expect_error RegionMismatch 8 "$vaultctl" vault create "$scratch/no" --key office/vm --region northeurope
  ctl keyvault update office --region '' >/dev/null
  expect_error RegionMismatch 8 "$vaultctl" vault create "$scratch/no" --key office/vm --region westeurope
  ctl encryption refresh "$vault" >/dev/null
  ctl keyvault update office --region WestEurope >/dev/null
  say "a managed key is refused as the key of a certificate"
  service_ask '{"do": "create", "name": "tls", "managed": true}' >/dev/null
  expect_error KeyOfCertificate 8 "$vaultctl" vault create "$scratch/no" --key office/tls
  expect_error KeyOfCertificate 8 "$vaultctl" encryption set "$vault" --key office/tls
  [[ ! -e $scratch/no ]] || fail "a refused creation left something"
  service_check
}

case $mode in
  local)
    need_fuse
    new_key
    new_vault
    first_backup
    refusals_change_nothing
    access_is_asked_for
    exports_age
    regions
    forgotten_vault_comes_back
    changes_are_written_down
    ;;
  transit) need_fuse && transit ;;
  token) need_fuse && token_mode ;;
  azure) azure ;;
esac
