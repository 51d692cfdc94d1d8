"""scripts/check-layers finds each kind of breach and lets everything else pass."""
import pathlib
import subprocess
import sys
import tempfile

CHECK = pathlib.Path(__file__).parent.parent.parent / "scripts" / "check-layers"
# file, its include, whether it must be refused
CASES = [
    ("base/a.h", '"base/b.h"', False),
    ("base/a.h", '"crypto/aead.h"', True),
    ("base/thread/a.h", '"base/bytes.h"', False),
    ("base/a.h", '"base/thread/mutex.h"', True),
    ("crypto/a.cc", '"base/bytes.h"', False),
    ("crypto/a.cc", '"crypto/keyvault/key_vault.h"', True),
    ("crypto/a.cc", "<openssl/evp.h>", False),
    ("crypto/keyvault/a.cc", '"crypto/aead.h"', False),
    ("crypto/keyvault/http/a.cc", "<curl/curl.h>", False),
    ("crypto/keyvault/a.cc", "<curl/curl.h>", True),
    ("crypto/keyvault/a.cc", '"store/journal/journal.h"', True),
    # Providers do not know each other, and what tells them apart is known to the table only.
    ("crypto/keyvault/azure/a.cc", '"crypto/keyvault/http/client.h"', False),
    ("crypto/keyvault/azure/a.cc", '"crypto/keyvault/kmip/client.h"', True),
    ("crypto/keyvault/provider_table.cc", '"crypto/keyvault/azure/azure_key_vault.h"', False),
    ("crypto/keyvault/a.cc", '"crypto/keyvault/azure/azure_key_vault.h"', True),
    ("store/segment/a.cc", '"crypto/aead.h"', False),
    ("store/segment/a.cc", '"store/record/record.h"', False),
    ("store/record/a.cc", '"store/segment/segment_store.h"', True),
    ("store/record/a.cc", '"crypto/keyvault/key_vault.h"', True),
    ("store/record/a.cc", '"vaultmeta/vault/vault.h"', True),
    ("store/record/a.cc", "<sodium.h>", True),
    ("vaultmeta/keys/a.cc", '"crypto/keyvault/key_vault.h"', False),
    ("vaultmeta/keys/a.cc", '"fs/engine/vault_engine.h"', True),
    # What a room does not show to others, it may use itself.
    ("vaultmeta/keys/a.cc", '"store/segment/segment_store.h"', False),
    ("vaultmeta/keys/a.cc", '"store/segment/file/segment_table.h"', True),
    ("store/segment/a.cc", '"store/segment/file/segment_table.h"', False),
    ("fs/tree/a.cc", '"vaultmeta/vault/vault.h"', False),
    ("fs/tree/a.cc", '"vaultmeta/vault/opened_vault.h"', True),
    ("fs/content/a.cc", '"fs/tree/tree_engine.h"', True),
    ("fs/tree/a.cc", '"fs/mount/mount.h"', True),
    ("fs/tree/a.cc", "<fuse_lowlevel.h>", True),
    ("fs/tree/a.cc", "<fuse3/fuse.h>", True),
    ("fs/mount/a.cc", "<fuse_lowlevel.h>", False),
    ("fs/mount/a.cc", '"fs/engine/vault_engine.h"', False),
    ("fs/mount/a.cc", '"tools/machine.h"', True),
    ("tools/a.cc", '"fs/mount/mount.h"', False),
    ("tools/a.cc", "<CLI/CLI.hpp>", True),
    ("tools/vaultctl/key/a.cc", "<CLI/CLI.hpp>", False),
    ("tools/a.cc", "<openssl/rsa.h>", True),
    ("tools/a.cc", "<curl/curl.h>", True),
    ("tools/a.cc", '"../base/bytes.h"', True),
    ("tests/base/a.cc", '"tools/machine.h"', False),
    ("tests/base/a.cc", '"store/segment/file/segment_table.h"', False),
    ("tests/base/a.cc", "<openssl/rsa.h>", False),
    # Every folder has a place.
    ("store/a.cc", "<vector>", True),
    ("fs/new/a.cc", "<vector>", True),
]


def check(directory):
    return subprocess.run([sys.executable, CHECK, directory], capture_output=True, text=True)


wrong = []
for name, included, refused in CASES:
    with tempfile.TemporaryDirectory() as directory:
        file = pathlib.Path(directory) / name
        file.parent.mkdir(parents=True)
        others = ""
        if name == "crypto/keyvault/provider_table.cc":  # all that KNOWN lists for it
            others = "".join(f'#include "crypto/keyvault/{other}"\n' for other in
                             ("azure/options.h", "kmip/kmip_key_vault.h", "kmip/options.h", "pkcs11/options.h", "pkcs11/pkcs11_key_vault.h",
                              "transit/options.h", "transit/transit_key_vault.h"))
        file.write_text(f"#pragma once\n#include {included}\n{others}")
        result = check(directory)
        line = 1 if "new/" in name or name == "store/a.cc" else 2
        if (result.returncode != 0) != refused or (refused and f"{name}:{line}:" not in result.stdout):
            wrong.append(f"{name} including {included}: exit code {result.returncode}: {result.stdout}{result.stderr}")
with tempfile.TemporaryDirectory() as directory:
    if check(directory).returncode == 0:
        wrong.append("an empty directory passes")
for count, refused in ((35, False), (36, True)):
    with tempfile.TemporaryDirectory() as directory:
        folder = pathlib.Path(directory) / "base"
        folder.mkdir()
        for number in range(count):
            (folder / f"a{number}.h").write_text("#pragma once\n")
        if (check(directory).returncode != 0) != refused:
            wrong.append(f"a folder of {count} files: {check(directory).stdout}")
with tempfile.TemporaryDirectory() as directory:
    file = pathlib.Path(directory) / "vaultmeta/layout/fingerprint.cc"
    file.parent.mkdir(parents=True)
    file.write_text("#include <vector>\n")
    if "take it out of KNOWN" not in check(directory).stdout:
        wrong.append("an exception that nobody needs any more stays")
if wrong:
    sys.exit("\n".join(wrong))
