# cache=writeback: small writes are gathered by the kernel, which asks the daemon next to nothing meanwhile.
. "$(dirname "$0")/lib.sh"
need_fuse
need python3
new_vault
mount_vault commit=manual cache=writeback
mkdir "$mnt/vm"
asked=$(python3 - "$mnt/vm/file" "$(daemon_pid)" <<'PYTHON'
import os, sys
path, daemon = sys.argv[1:]


def requests():  # one read of /dev/fuse for each
    with open(f"/proc/{daemon}/io") as counters:
        return int(dict(line.split(":") for line in counters)["syscr"])


file = os.open(path, os.O_CREAT | os.O_RDWR)
before = requests()
for _ in range(2000):
    os.write(file, b"a line of a log\n")
print(requests() - before)
PYTHON
)
say "$asked requests for 2000 writes"
[[ $asked -lt 400 ]] || fail "the daemon was asked $asked times for 2000 writes"
[[ $(wc -l <"$mnt/vm/file") == 2000 ]]
unmount_vault
