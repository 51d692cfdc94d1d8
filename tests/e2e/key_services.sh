# Key services that the end-to-end tests start on loopback, each spoken to as its own tools would: PyKMIP's server through
# PyKMIP's client, the doubles of Azure Key Vault and of Transit over HTTPS. Source it after lib.sh, then
#   service_start kmip|azure|transit       or the test is skipped, where a Python module is missing
#   service_register NAME SECONDS          vaultctl keyvault add, with that time limit for a call
#   service_create, service_rotate         the key "vm", a new version of it; both print the version's id
#   service_hang, service_refuse           an outage: no answer at all; an answer that says "not now", or nobody listens
#   service_return                         the end of either
#   service_check                          fails if the service saw a request that its documentation does not allow
# shellcheck shell=bash
readonly doubles=$source_dir/tests/doubles
service='' service_pid='' service_port='' service_greeting=''
readonly service_directory=$scratch/service
# PyKMIP and the doubles' cryptography are modules of the system's Python.
readonly system_python=/usr/bin/python3
readonly transit_token=hvs.the-root-token-of-the-double kmip_user=user0

service_need_python() {
  local module
  for module; do
    "$system_python" -c "import $module" 2>/dev/null || skip "$system_python has no module $module (scripts/install-deps --test)"
  done
}

# Starts the program with pipes to and from it; its first line goes to service_greeting. It ends when its input does.
service_launch() { # PROGRAM ARGUMENTS…
  rm -f "$scratch/to-service" "$scratch/from-service"
  mkfifo -m 0600 "$scratch/to-service" "$scratch/from-service"
  "$system_python" "$doubles/$1" "${@:2}" <"$scratch/to-service" >"$scratch/from-service" 2>"$scratch/service.log" 7>&- 8<&- &
  service_pid=$!
  exec 7>"$scratch/to-service" 8<"$scratch/from-service"
  read -r -t $((60 * time_factor)) service_greeting <&8 || fail "$1 did not start: $(tail -n 5 "$scratch/service.log")"
}

service_start() {
  service=$1
  service_need_python cryptography
  mkdir -m 0700 "$service_directory"
  case $service in
    kmip)
      service_need_python kmip
      service_start_kmip 0
      ;;
    *)
      need curl
      service_launch "${service}_double.py" "$service_directory"
      service_port=$(jq -er .port <<<"$service_greeting")
      ;;
  esac
}

service_start_kmip() { # PORT, 0 for a free one
  service_launch kmip_pykmip_server.py "$service_directory" "$1"
  [[ $service_greeting == "ready "* ]] || fail "PyKMIP did not start: $service_greeting"
  service_port=${service_greeting#ready }
}

# A command on the program's own channel, for what is no business of a client of the service. Prints the answer.
service_ask() {
  local answer
  printf '%s\n' "$1" >&7
  read -r -t $((60 * time_factor)) answer <&8 || fail "the service has not answered: $1"
  case $answer in
    'error '* | *'"error"'*) fail "the service refuses $1: $answer" ;;
  esac
  printf '%s\n' "${answer#ok }"
}

# Mounting daemons must not keep the pipes open.
service_mount() { mount_vault "$@" 7>&- 8<&-; }

service_options() {
  case $service in
    kmip)
      echo "address=127.0.0.1:$service_port" "ca-file=$service_directory/ca.pem" \
        "client-cert-file=$service_directory/$kmip_user.pem" "client-key-file=$service_directory/$kmip_user.key"
      ;;
    azure)
      echo "address=https://office.vault.localhost:$service_port" "ca-file=$service_directory/ca.pem" \
        "imds-address=http://127.0.0.1:$(jq -er .metadata_port <<<"$service_greeting")" allow-http=loopback
      ;;
    transit)
      (umask 077 && printf %s "$transit_token" >"$service_directory/token")
      echo "address=https://localhost:$service_port" "ca-file=$service_directory/ca.pem" \
        "token-file=$service_directory/token"
      ;;
  esac
}

service_register() { # NAME SECONDS
  local option arguments=()
  for option in $(service_options) "timeout=$2"; do arguments+=(--option "$option"); done
  ctl keyvault add "$1" --provider "$service" "${arguments[@]}" >/dev/null
}

# The services' own HTTP interfaces, as curl in an administrator's hands asks them.
transit_post() { # PATH [BODY]
  curl -sS --fail-with-body --cacert "$service_directory/ca.pem" -H "X-Vault-Token: $transit_token" \
    -H 'Content-Type: application/json' -X POST ${2:+--data "$2"} "https://localhost:$service_port/v1/transit/$1"
}
azure_token() {
  curl -sS --fail -H 'Metadata: true' \
    "http://127.0.0.1:$(jq -er .metadata_port <<<"$service_greeting")/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.localhost" |
    jq -er .access_token
}
azure_request() { # METHOD PATH [BODY]
  curl -sS --fail-with-body --cacert "$service_directory/ca.pem" -H "Authorization: Bearer $(azure_token)" \
    -H 'Content-Type: application/json' -X "$1" ${3:+--data "$3"} \
    "https://office.vault.localhost:$service_port/$2?api-version=7.4"
}

service_create() {
  case $service in
    kmip) service_ask "create $kmip_user vm" ;;
    azure) azure_request POST keys/vm/create '{"kty":"RSA","key_size":2048}' | jq -er '.key.kid | sub(".*/"; "")' ;;
    transit) transit_post keys/vm '{"type":"aes256-gcm96"}' | jq -er '.data.latest_version' ;;
  esac
}

service_rotate() {
  case $service in
    kmip)
      # Which of two versions is newer is told by their initial dates, in whole seconds.
      sleep 1.1
      service_ask "create $kmip_user vm"
      ;;
    azure)
      sleep 1.1 # likewise, by the attribute "created"
      azure_request POST keys/vm/rotate | jq -er '.key.kid | sub(".*/"; "")'
      ;;
    transit)
      transit_post keys/vm/rotate >/dev/null
      curl -sS --fail --cacert "$service_directory/ca.pem" -H "X-Vault-Token: $transit_token" \
        "https://localhost:$service_port/v1/transit/keys/vm" | jq -er '.data.latest_version'
      ;;
  esac
}

service_hang() {
  case $service in
    kmip) kill -STOP -- "-$service_pid" ;; # it leads a process group of its own
    *) service_ask '{"do": "fault", "kind": "hang"}' >/dev/null ;;
  esac
}

service_refuse() {
  case $service in
    kmip)
      kill -KILL -- "-$service_pid"
      wait "$service_pid" 2>/dev/null || true
      ;;
    azure)
      service_ask '{"do": "fault", "kind": "status", "status": 429, "headers": {"Retry-After": "1"}, "body": {"error": {"code": "Throttled", "message": "too many requests"}}}' >/dev/null
      ;;
    transit) service_ask '{"do": "server", "sealed": true}' >/dev/null ;;
  esac
}

service_return() {
  case $service in
    kmip)
      if kill -0 "$service_pid" 2>/dev/null; then
        kill -CONT -- "-$service_pid"
      else
        service_start_kmip "$service_port"
      fi
      ;;
    azure) service_ask '{"do": "heal"}' >/dev/null ;;
    transit)
      service_ask '{"do": "heal"}' >/dev/null
      service_ask '{"do": "server"}' >/dev/null
      ;;
  esac
}

service_check() {
  [[ $service != kmip ]] || return 0
  assert_eq "$(service_ask '{"do": "report"}' | jq -c .violations)" '[]' "requests that are not documented"
}
