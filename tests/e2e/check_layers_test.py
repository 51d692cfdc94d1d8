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
    ("crypto/a.cc", '"base/bytes.h"', False),
    ("crypto/a.cc", '"crypto/keyvault/key_vault.h"', True),
    ("crypto/a.cc", "<openssl/evp.h>", False),
    ("crypto/keyvault/a.cc", '"crypto/aead.h"', False),
    ("crypto/keyvault/a.cc", "<curl/curl.h>", False),
    ("crypto/keyvault/a.cc", '"store/journal.h"', True),
    ("store/a.cc", '"crypto/aead.h"', False),
    ("store/a.cc", '"crypto/keyvault/key_vault.h"', True),
    ("store/a.cc", '"vaultmeta/vault.h"', True),
    ("store/a.cc", "<sodium.h>", True),
    ("vaultmeta/a.cc", '"crypto/keyvault/key_vault.h"', False),
    ("vaultmeta/a.cc", '"fs/session.h"', True),
    ("fs/a.cc", '"vaultmeta/vault.h"', False),
    ("fs/a.cc", '"fs/mount/mount.h"', True),
    ("fs/a.cc", "<fuse_lowlevel.h>", True),
    ("fs/a.cc", "<fuse3/fuse.h>", True),
    ("fs/mount/a.cc", "<fuse_lowlevel.h>", False),
    ("fs/mount/a.cc", '"fs/session.h"', False),
    ("fs/mount/a.cc", '"tools/machine.h"', True),
    ("tools/a.cc", '"fs/mount/mount.h"', False),
    ("tools/a.cc", "<CLI/CLI.hpp>", True),
    ("tools/vaultctl_main.cc", "<CLI/CLI.hpp>", False),
    ("tools/cli/a.cc", "<CLI/CLI.hpp>", False),
    ("tools/a.cc", "<openssl/rsa.h>", True),
    ("tools/a.cc", "<curl/curl.h>", True),
    ("tools/a.cc", '"../base/bytes.h"', True),
    ("tests/base/a.cc", '"tools/machine.h"', False),
    ("tests/base/a.cc", "<openssl/rsa.h>", False),
]

wrong = []
for name, included, refused in CASES:
    with tempfile.TemporaryDirectory() as directory:
        file = pathlib.Path(directory) / name
        file.parent.mkdir(parents=True)
        file.write_text(f"#pragma once\n#include {included}\n")
        result = subprocess.run([sys.executable, CHECK, directory], capture_output=True, text=True)
        if (result.returncode != 0) != refused or (refused and f"{name}:2:" not in result.stdout):
            wrong.append(f"{name} including {included}: exit code {result.returncode}: {result.stdout}{result.stderr}")
with tempfile.TemporaryDirectory() as directory:
    if subprocess.run([sys.executable, CHECK, directory], capture_output=True).returncode == 0:
        wrong.append("an empty directory passes")
if wrong:
    sys.exit("\n".join(wrong))
