# File handles, as an NFS server keeps them: good after a remount, for the working tree and for recovery points; those of what
# is gone are ESTALE, never another file.
. "$(dirname "$0")/lib.sh"
need_fuse
need_root
need python3
new_vault
cat >"$scratch/handles.py" <<'PYTHON'
"""handles.py take MOUNT FILE PATH… | open MOUNT FILE: what each handle leads to."""
import ctypes, errno, json, os, sys

libc = ctypes.CDLL(None, use_errno=True)


class Handle(ctypes.Structure):
    _fields_ = [("size", ctypes.c_uint), ("type", ctypes.c_int), ("bytes", ctypes.c_ubyte * 128)]


command, mount, file = sys.argv[1:4]
if command == "take":
    taken = {}
    for path in sys.argv[4:]:
        handle, mount_id = Handle(size=128), ctypes.c_int()
        if libc.name_to_handle_at(-100, os.path.join(mount, path).encode(), ctypes.byref(handle), ctypes.byref(mount_id), 0):
            sys.exit(f"{path}: no handle: {errno.errorcode[ctypes.get_errno()]}")
        taken[path] = [handle.type, bytes(handle.bytes[:handle.size]).hex()]
    json.dump(taken, open(file, "w"))
else:
    root = os.open(mount, os.O_RDONLY)
    for path, (kind, value) in json.load(open(file)).items():
        raw = bytes.fromhex(value)
        handle = Handle(size=len(raw), type=kind)
        ctypes.memmove(handle.bytes, raw, len(raw))
        opened = libc.open_by_handle_at(root, ctypes.byref(handle), os.O_RDONLY)
        if opened < 0:
            print(path, errno.errorcode[ctypes.get_errno()])
        elif os.path.isdir(f"/proc/self/fd/{opened}"):
            print(path, sorted(os.listdir(opened)))
        else:
            print(path, os.read(opened, 100))
PYTHON
mount_vault commit=manual
mkdir -p "$mnt/vm/folder/deep"
echo one >"$mnt/vm/folder/deep/file"
echo other >"$mnt/vm/gone"
echo top >"$mnt/vm/top"
ctl backup commit "$vault" vm >/dev/null
point=.recovery-points/vm/$(newest_point vm)
paths=(vm vm/top vm/gone vm/folder/deep vm/folder/deep/file "$point/top" "$point/folder/deep" "$point/folder/deep/file" "$point")
python3 "$scratch/handles.py" take "$mnt" "$scratch/taken" "${paths[@]}"
expected="vm ['folder', 'new', 'top']
vm/top b'top\\n'
vm/gone ESTALE
vm/folder/deep ['file']
vm/folder/deep/file b'one\\n'
$point/top b'top\\n'
$point/folder/deep ['file']
$point/folder/deep/file b'one\\n'
$point ['folder', 'gone', 'top']"

say "while it is mounted, and after a remount"
rm "$mnt/vm/gone"
echo new >"$mnt/vm/new"
# The kernel finds the name of a directory by listing what it is in, and .recovery-points is not listed.
check() { ls "$mnt/.recovery-points/vm" >/dev/null && diff <(echo "$expected") <(python3 "$scratch/handles.py" open "$mnt" "$scratch/taken") || fail "handles lead elsewhere"; }
check
unmount_vault
mount_vault commit=manual
check
unmount_vault

say "and where the vault was killed in between"
mount_vault commit=manual
daemon=$(daemon_pid)
kill_daemon
umount -l "$mnt"
mount_vault commit=manual
check
unmount_vault
