"""Files that were damaged or forged: each is refused as documented, or is what it was.

``python tests/mutated_files.py`` tries ten thousand, and says what became of them; the tests
try some of them.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
import sys
import time
import tracemalloc
import warnings
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np

from skvae.exceptions import FileFormatError
from skvae.files import archive

# Bytes that reading one of these files may take, of which the largest has 25 kB.
MOST_MEMORY = 2**25
ODD = [
    *(
        None,
        True,
        -1,
        0,
        1,
        2**31,
        2**63,
        10**30,
        0.5,
        -1e300,
        "",
        "x",
        "../../x",
        [],
        {},
        [[]],
    ),
    {"$float": "nan"},
    {"$float": "1_0"},
    {"$tuple": []},
    {"$tuple": 3},
    {"$scalar": ["float64", 1e9]},
    {"$scalar": ["object", 1]},
    {"is": "same", "number": 0},
    {"is": "same", "number": 10**9},
    {"is": "array", "array": "0", "number": 99},
    {"is": "array", "array": "none", "number": 99},
    {"is": "bytes", "array": "1"},
    {"is": "pairs", "pairs": [[[], 1]]},
    {"is": "optimizer", "name": "Optimizer"},
    {"is": "optimizer", "name": "os.system"},
    {"is": "Pipeline", "number": 98, "state": {"predict_proba": 1}},
    {"is": "TeacherGuidedVAE", "number": 97, "state": {}},
    {"is": "foreign", "array": "0", "number": 96},
    {"is": "os.system", "number": 95, "state": {}},
    {"is": "texts", "as objects": False, "values": [[1], 2], "number": 94},
    {"is": "RandomState", "state": {"$tuple": ["MT19937", [], 5]}, "number": 93},
]


def members(content):
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        return [(info.filename, opened.read(info)) for info in opened.infolist()]


def zipped(parts, **settings):
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(buffer, "w", **settings) as changed:
            for name, content in parts:
                changed.writestr(name, content)
    return buffer.getvalue()


def signed(content, packed):
    """Zip a record and arrays, with the digest of what they are."""
    content["sha256"] = archive._digest(content, packed)
    return zipped([(archive.RECORD, json.dumps(content)), (archive.ARRAYS, packed)])


def flipped(rng, content, others):
    changed = bytearray(content)
    for place in rng.integers(0, 8 * len(content), rng.integers(1, 9)):
        changed[place // 8] ^= 1 << int(place % 8)
    return changed


def cut(rng, content, others):
    return content[: rng.integers(0, len(content))]


def spliced(rng, content, others):
    other = others[rng.integers(len(others))]
    at, to = sorted(rng.integers(0, min(len(content), len(other)), 2))
    return content[:at] + other[at:to] + content[to:]


def moved(rng, content, others):
    start, end, to = rng.integers(0, len(content), 3)
    piece = content[min(start, end) : min(start, end) + 200]
    return content[:to] + piece * int(rng.integers(0, 3)) + content[to + rng.integers(0, 9) :]


def other_sizes(rng, content, others):
    """Write another number into a head of a member, or of the directory."""
    changed = bytearray(content)
    marks = [b"PK\1\2", b"PK\3\4", b"PK\5\6"]
    places = [place for place in range(len(content)) if content[place : place + 4] in marks]
    start = places[rng.integers(len(places))]
    at = min(start + int(rng.integers(4, 46)), len(changed) - 4)
    number = int(rng.choice([0, 1, 20, 2**16 - 1, 2**31, 2**32 - 1, rng.integers(2**32)]))
    changed[at : at + 4] = struct.pack("<L", number)
    return changed


def other_members(rng, content, others):
    (record, text), (packed, arrays) = members(content)
    other = members(others[rng.integers(len(others))])
    name = str(rng.choice(["/etc/passwd", "../" + record, "C:\\" + record, "a/" + record, "x"]))
    parts = [
        [(packed, arrays), (record, text)],
        [(record, arrays), (packed, text)],
        [(record, text), other[1]],
        [other[0], (packed, arrays)],
        [(record, text), (record, text)],
        [(record, text), (packed, arrays), (packed, arrays)],
        [(name, text), (packed, arrays)],
        [(record, text), (name, arrays)],
        [(record, text), (packed, arrays), (name, b"")],
        [(record, pickle.dumps({"format": 1})), (packed, arrays)],
        [(record, text), (packed, pickle.dumps(np.ones(3)))],
        [(record, text), (packed, arrays + bytes(9))],
        [(record, text + b" "), (packed, arrays)],
        [(record, text)],
        [],
        [(str(number), b"") for number in range(3000)],
    ]
    chosen = parts[rng.integers(len(parts))]
    return zipped(
        chosen, compression=int(rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    )


def bomb(rng, content, others):
    (record, text), (packed, arrays) = members(content)
    zeros = BOMBS[rng.integers(len(BOMBS))]
    parts = [[(record, zeros), (packed, arrays)], [(record, text), (packed, zeros)]]
    changed = bytearray(
        zipped(parts[rng.integers(2)], compression=zipfile.ZIP_DEFLATED, compresslevel=9)
    )
    if rng.integers(2):
        # It says that it is small.
        for mark, at in ((b"PK\1\2", 24), (b"PK\3\4", 22)):
            for start in (changed.index(mark), changed.rindex(mark)):
                changed[start + at : start + at + 4] = struct.pack(
                    "<L", int(rng.integers(9999))
                )
    return changed


def other_head(rng, content, others):
    """Another format, kind or version, not signed; or nothing of them."""
    (record, text), packed = members(content)
    head = json.loads(text)
    name = str(rng.choice(["format", "kind", "versions", "record", "sha256"]))
    if rng.integers(4):
        head[name] = ODD[rng.integers(len(ODD))]
    else:
        del head[name]
    return zipped([(record, json.dumps(head)), packed])


def places(value, found=None):
    """All containers in a record, each with its keys."""
    found = [] if found is None else found
    if isinstance(value, (dict, list)) and value:
        found.append(value)
        for each in value.values() if isinstance(value, dict) else value:
            places(each, found)
    return found


def forged_record(rng, content, others):
    """Change values deep in a record, and sign it."""
    (_, text), (_, packed) = members(content)
    head = json.loads(text)
    for _ in range(rng.integers(1, 4)):
        inside = places(head["record"])
        where = inside[rng.integers(len(inside))]
        keys = list(where) if isinstance(where, dict) else list(range(len(where)))
        key = keys[rng.integers(len(keys))]
        if rng.integers(5) == 0:
            del where[key]
        else:
            where[key] = ODD[rng.integers(len(ODD))]
    return signed(head, packed)


def forged_arrays(rng, content, others):
    """Change types, shapes and offsets of arrays, or their bytes, and sign them."""
    (_, text), (_, packed) = members(content)
    length = struct.unpack("<Q", packed[:8])[0]
    entries, data = json.loads(packed[8 : 8 + length]), packed[8 + length :]
    if not entries:
        # A report has none.
        return signed(json.loads(text), packed[:-1])
    name = list(entries)[rng.integers(len(entries))]
    entry = entries[name]
    match rng.integers(5):
        case 0:
            entry["dtype"] = str(rng.choice(["F64", "F32", "BF16", "U8", "BOOL", "I64", "x"]))
        case 1:
            entry["shape"] = [int(size) for size in rng.choice([0, 1, 2, 2**40, 2**63], 2)]
        case 2:
            entry["data_offsets"] = [int(at) for at in rng.integers(0, 2**40, 2)]
        case 3:
            del entries[name]
        case 4:
            data = rng.bytes(len(data))
    head = json.dumps(entries).encode()
    return signed(json.loads(text), struct.pack("<Q", len(head)) + head + data)


DAMAGES = [flipped, cut, spliced, moved, other_sizes, other_members, bomb, other_head]
FORGERIES = [forged_record, forged_arrays]
BOMBS = [bytes(2**26), b"[" * 2**24, b"A" * 2**25]


def attempt(load, same, content, path, is_forged):
    """Read a changed file; say what became of it, how long it took, and what memory."""
    path.write_bytes(content)
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    started = time.perf_counter()
    try:
        found = load(path)
        outcome = "the same" if not is_forged and same(found) else "another"
    except FileFormatError:
        outcome = "refused"
    seconds = time.perf_counter() - started
    return outcome, seconds, tracemalloc.get_traced_memory()[1] - before


def survey(files, n_files, path, seed=0):
    """Try so many changes of files, each a pair of what loads it and its content.

    Returns
    -------
    outcomes : Counter of (change, outcome)
    slowest, largest : tuple
        Seconds and bytes of the worst, and which change that was.
    """
    rng = np.random.default_rng(seed)
    contents = [content for _, _, content in files]
    outcomes: Counter = Counter()
    slowest = largest = (0.0, "")
    tracemalloc.start()
    changes = DAMAGES * 2 + FORGERIES * 2
    with warnings.catch_warnings():
        # A forged file may say that another version wrote it.
        warnings.simplefilter("ignore")
        for number in range(n_files):
            change = changes[number % len(changes)]
            load, same, content = files[rng.integers(len(files))]
            changed = change(rng, content, contents)
            outcome, seconds, memory = attempt(load, same, changed, path, change in FORGERIES)
            if changed == content:
                outcome = "not changed"
            outcomes[change.__name__, outcome] += 1
            slowest = max(slowest, (seconds, change.__name__))
            largest = max(largest, (memory, change.__name__))
    tracemalloc.stop()
    return outcomes, slowest, largest


def saved_files(folder):
    """Files of every kind: what loads each, whether that is as it was, and the bytes."""
    from sklearn.linear_model import LogisticRegression

    from skvae import (
        CertificateReport,
        ConstantCollapseCertificate,
        GaussianMixtureTeacher,
        TeacherGuidedVAE,
        TeacherSearch,
    )

    rng = np.random.default_rng(0)
    X = np.repeat(np.eye(3, 4) * 4, 30, axis=0) + 0.5 * rng.standard_normal((90, 4))
    y = np.repeat([0, 1, 2], 30)
    brief = {"latent_dim": 2, "hidden_layer_sizes": (8,), "max_epochs": 3, "random_state": 0}
    teacher = GaussianMixtureTeacher(n_components=3, random_state=0)
    vae = TeacherGuidedVAE(**brief, teacher=teacher, early_stopping=True).fit(X)
    made = [
        vae,
        TeacherGuidedVAE(**brief, teacher=teacher).partial_fit(X),
        TeacherGuidedVAE(**brief, teacher=LogisticRegression()).fit(X, y),
        teacher.fit(X),
        TeacherSearch({"n_components": [2, 3]}, random_state=0).fit(X),
        ConstantCollapseCertificate().certify(vae, X),
    ]
    files = []
    for number, value in enumerate(made):
        path = folder / f"{number}.skvae"
        value.save(path)

        def same(found, value=value):
            if isinstance(value, CertificateReport):
                return found == value
            methods = [name for name in ("transform", "predict_proba") if hasattr(value, name)]
            return all(
                np.array_equal(getattr(found, name)(X), getattr(value, name)(X))
                for name in methods
            )

        files.append((type(value).load, same, path.read_bytes()))
    return files


if __name__ == "__main__":
    import resource
    import tempfile

    n_files = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as folder:
        files = saved_files(Path(folder))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        outcomes, slowest, largest = survey(files, n_files, Path(folder) / "changed.skvae")
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    for (change, outcome), number in sorted(outcomes.items()):
        print(f"{change:16}{outcome:14}{number:6}")
    print(
        f"slowest {slowest[0]:.3f} s ({slowest[1]}), "
        f"most memory {largest[0] / 2**20:.1f} MiB ({largest[1]})"
    )
    print(f"memory of the process grew by {grown / 2**10:.0f} MiB")
    bad = [key for key in outcomes if key[1] == "another" and key[0][:6] != "forged"]
    sys.exit(bool(bad) or slowest[0] > 1 or largest[0] > MOST_MEMORY)
