"""Files: written whole or not at all, read through one boundary, and known by their hashes.

``writing`` writes, ``reading`` reads what may be damaged or anybody's, ``ledger`` says which hash each file was made
with, ``proof`` compares when a file is opened, ``arrays`` are rows that stay on the disk.
"""

from clsp.files.arrays import Array, Joined, Lazy, Rows, release, rows_of, take
from clsp.files.foreign import FIX, foreign, reason, regular
from clsp.files.ledger import SEAL, Entry, Ledger, entries, file_hash, fingerprint, ledger_of, sealed, signature
from clsp.files.proof import prove, settle, stop_if_damaged
from clsp.files.reading import (
    check_header,
    read_array,
    read_bytes,
    read_header,
    read_json,
    read_jsonl,
    read_tensors,
    read_text,
    read_yaml,
    valid,
)
from clsp.files.writing import (
    append_jsonl,
    atomic,
    flush_folder,
    make_folder,
    replaced,
    sweep,
    write_array,
    write_bytes,
    write_changed,
    write_json,
    write_text,
)

__all__ = [
    "FIX",
    "SEAL",
    "Array",
    "Entry",
    "Joined",
    "Lazy",
    "Ledger",
    "Rows",
    "append_jsonl",
    "atomic",
    "check_header",
    "entries",
    "file_hash",
    "fingerprint",
    "flush_folder",
    "foreign",
    "ledger_of",
    "make_folder",
    "prove",
    "read_array",
    "read_bytes",
    "read_header",
    "read_json",
    "read_jsonl",
    "read_tensors",
    "read_text",
    "read_yaml",
    "reason",
    "regular",
    "release",
    "replaced",
    "rows_of",
    "sealed",
    "settle",
    "signature",
    "stop_if_damaged",
    "sweep",
    "take",
    "valid",
    "write_array",
    "write_bytes",
    "write_changed",
    "write_json",
    "write_text",
]
