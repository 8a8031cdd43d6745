"""Codes in files, certified from the command line."""

import csv
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from skvae.__main__ import main
from skvae._commands import certify, completion, run
from skvae.certificate.given import certify_given

NAMES = np.array(["red", "green", "blue"])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Codes that tell three classes, and files that hold them in several forms."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 150)
    T = 0.9 * np.eye(3)[labels] + 0.1 / 3
    codes = np.eye(3)[labels] + 0.3 * rng.standard_normal((150, 3))
    monkeypatch.chdir(tmp_path)
    np.save("codes.npy", codes)
    np.save("noise.npy", rng.standard_normal((150, 3)))
    np.save("quiet.npy", np.full((150, 3), -6.0))
    np.save("labels.npy", labels)
    np.save("names.npy", NAMES[labels])
    np.save("teacher.npy", T)
    np.savez("codes.npz", codes)
    np.savez("named.npz", X=codes, y=labels)
    np.savetxt("codes.csv", codes, delimiter=",", fmt="%.17g")
    np.savetxt("teacher.csv", T, delimiter=",", fmt="%.17g", header="a,b,c", comments="")
    np.savetxt("semicolons.csv", codes, delimiter=";", fmt="%.17g", header="a;b;c", comments="")
    np.savetxt("codes.tsv", codes, delimiter="\t", fmt="%.17g", header="0\t1\t2", comments="")
    np.savetxt("labels.csv", labels, fmt="%d")
    np.savetxt("titled.csv", labels, fmt="%d", header="class", comments="")
    np.savetxt("names.csv", NAMES[labels], fmt="%s")
    np.savetxt(
        "blank_names.csv",
        NAMES[labels] + np.array(["", " ", "  "])[rng.integers(0, 3, 150)],
        fmt=" %s",
    )
    np.savetxt("named.csv", NAMES[labels], fmt="%s", header="colour", comments="")
    (tmp_path / "bom.csv").write_text("\ufeff" + "\r\n".join(map(str, labels)) + "\r\n\r\n")
    return codes, labels, T


def certified(*arguments):
    return main(["certify", *map(str, arguments)])


@pytest.mark.parametrize(
    "codes", ["codes.npy", "codes.npz", "named.npz", "codes.csv", "semicolons.csv", "codes.tsv"]
)
def test_codes_of_every_form_are_certified_alike(folder, codes, tmp_path, capsys):
    values, labels, _ = folder
    status = certified("--codes", codes, "--targets", "labels.npy", "--json", "report.json")
    assert status == 0
    report = certify_given(values, labels)
    assert (tmp_path / "report.json").read_text() == report.to_json()
    printed = capsys.readouterr()
    assert printed.out == f"{report}\n{certify.LEGEND}\n"
    assert printed.err == ""
    assert "not constant in x, and no more" in printed.out


@pytest.mark.parametrize(
    "targets",
    [
        "labels.csv",
        "titled.csv",
        "names.csv",
        "named.csv",
        "names.npy",
        "blank_names.csv",
        "bom.csv",
    ],
)
def test_classes_of_every_form_are_alike(folder, targets, capsys):
    codes, labels, _ = folder
    arguments = ("--codes", "codes.npy", "--targets", targets, "--print", "json")
    assert certified(*arguments) == 0
    found = json.loads(capsys.readouterr().out)
    expected = certify_given(codes, NAMES[labels] if "name" in targets else labels)
    assert found == json.loads(expected.to_json())


@pytest.mark.parametrize("targets", ["teacher.npy", "teacher.csv"])
def test_distributions_posterior_and_options_reach_the_certificate(folder, targets, capsys):
    from skvae import ConstantCollapseCertificate

    codes, _, T = folder
    options = ("--tau", 0.1, "--confidence", 0.9, "--seed", 7, "--held-out")
    files = ("--posterior", "quiet.npy", "--rows", "codes.npy", "--print", "line")
    assert certified("--codes", "codes.npy", "--targets", targets, *files, *options) == 0
    expected = certify_given(
        codes,
        T,
        log_variances=np.full((150, 3), -6.0),
        rows=codes,
        held_out=True,
        certificate=ConstantCollapseCertificate(tau=0.1, confidence=0.9, random_state=7),
    )
    assert capsys.readouterr().out == expected.line() + "\n"
    assert (expected.rows, expected.latent) == ("held-out", "sample")


def test_what_is_not_certified_is_status_one_and_its_page_is_written(folder, tmp_path, capsys):
    arguments = ("--codes", "noise.npy", "--targets", "labels.csv", "--trained-on")
    page = tmp_path / "report.html"
    assert certified(*arguments, "--html", page, "--print", "nothing") == 1
    assert capsys.readouterr().out == ""
    text = page.read_text(encoding="utf-8")
    assert "uncertified: this witness proves nothing" in text
    assert "rows that were in fit" in text


def test_parquet_is_read_where_pyarrow_is(folder, monkeypatch, capsys):
    pytest.importorskip("pyarrow")
    import pyarrow
    from pyarrow import parquet

    codes, labels, _ = folder
    columns = {name: codes[:, i] for i, name in enumerate("abc")}
    parquet.write_table(pyarrow.table(columns), "codes.parquet")
    parquet.write_table(pyarrow.table({"y": NAMES[labels]}), "names.parquet")
    arguments = ("--codes", "codes.parquet", "--targets", "names.parquet", "--print", "json")
    assert certified(*arguments) == 0
    expected = certify_given(codes, NAMES[labels]).to_json()
    assert capsys.readouterr().out == expected
    parquet.write_table(pyarrow.table({"a": [1.0, None] * 75}), "codes.parquet")
    assert certified(*arguments) == 2
    assert "missing or infinite values in 75 of 150 rows" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert certified(*arguments) == 2
    assert "Parquet takes pyarrow" in capsys.readouterr().err


def bad_files(folder):
    codes = np.load("codes.npy")
    np.save("short.npy", codes[:-1])
    np.save("few.npy", codes[:8])
    np.save("few_labels.npy", np.arange(8) % 2)
    np.save("flat.npy", codes[:, 0])
    np.save("text.npy", codes.astype(str))
    np.save("objects.npy", np.array(["a", "b"] * 75, dtype=object))
    np.save("regression.npy", codes[:, 0])
    np.save("ids.npy", np.arange(150))
    np.save("one.npy", np.zeros(150, int))
    np.save("times.npy", np.zeros(150, "M8[s]"))
    np.save("scores.npy", codes)
    np.save("counted.npy", np.column_stack([np.arange(150), codes]))
    np.savez("two.npz", a=codes, b=codes)
    codes[4, 1] = np.nan
    np.save("nan.npy", codes)
    (folder / "damaged.npy").write_bytes((folder / "teacher.npy").read_bytes()[:300])
    (folder / "damaged.npz").write_bytes((folder / "two.npz").read_bytes()[:40])
    (folder / "table.xlsx").write_text("1")
    (folder / "empty.csv").write_text("\n")
    (folder / "latin.csv").write_bytes(b"caf\xe9\n")
    lines = (folder / "codes.csv").read_text().splitlines()
    (folder / "words.csv").write_text("\n".join([*lines[:-1], "1,two,3"]))
    (folder / "ragged.csv").write_text("\n".join([*lines[:-1], "1,2"]))
    (folder / "hole.csv").write_text("\n".join(["1,,3", *lines[1:]]))
    np.save("variances.npy", np.full((150, 3), 1000.0))
    (folder / "na.csv").write_text(
        "\n".join(["class", "red", "red", *["NA"] * 2, *["blue"] * 146])
    )
    (folder / "nan.csv").write_text("\n".join(["1", "nan", *["0"] * 148]))
    (folder / "missing.csv").write_text("\n".join(["red", "", *["green"] * 148]))
    with (folder / "pandas.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["", "0", "1"], *([i, 0.5, i % 3] for i in range(150))])
    (folder / "taken").mkdir()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"codes": None}, "the following arguments are required: --codes"),
        ({"codes": "absent.npy"}, "The file absent.npy is not there"),
        ({"codes": "taken"}, "must be a file of .npy, .npz, .csv"),
        ({"codes": "table.xlsx"}, "got suffix '.xlsx'"),
        ({"codes": "short.npy"}, "must have as many rows, and in one order: got 149 and 150"),
        (
            {"codes": "nan.npy"},
            "missing or infinite values in 1 of 150 rows (the first is row 4",
        ),
        ({"codes": "flat.npy"}, "must hold a matrix of numbers"),
        ({"codes": "text.npy"}, "must hold a matrix of numbers"),
        ({"codes": "names.csv"}, "must hold numbers: row 0, column 0 is"),
        ({"codes": "words.csv"}, "must hold numbers: row 149, column 1 is 'two'"),
        ({"codes": "hole.csv"}, "must hold numbers: row 0, column 1 is ''"),
        ({"codes": "ragged.csv"}, "the first line has 3, and row 149 has 2"),
        ({"codes": "empty.csv"}, "empty.csv is empty"),
        ({"codes": "latin.csv"}, "latin.csv is no text in UTF-8"),
        ({"codes": "pandas.csv"}, "it counts the rows, as pandas and R write it"),
        ({"codes": "counted.npy"}, "Column 0 of counted.npy counts the rows"),
        ({"codes": "two.npz"}, "must hold one array, or one that is named X; it holds a, b"),
        ({"codes": "damaged.npy"}, "damaged.npy cannot be read"),
        ({"codes": "damaged.npz"}, "damaged.npz cannot be read"),
        ({"targets": "objects.npy"}, "text is saved by labels.astype(str)"),
        ({"targets": "regression.npy"}, "a class is a whole number or text"),
        ({"targets": "ids.npy"}, "those are names or measurements, and no classes"),
        ({"targets": "one.npy"}, "of one class, '0'"),
        ({"targets": "times.npy"}, "a class is a whole number or text"),
        ({"targets": "scores.npy"}, "of targets: entries must not be negative"),
        ({"targets": "missing.csv"}, "missing.csv, line 2: the class is missing, got ''"),
        ({"codes": "few.npy", "targets": "few_labels.npy"}, "pass at least 10 rows"),
        ({"posterior": "short.npy"}, "codes and log variances must have as many rows"),
        ({"posterior": "flat.npy"}, "must hold a matrix of numbers"),
        ({"posterior": "variances.npy"}, "Log variances of codes reach 1e+03"),
        ({"targets": "na.csv"}, "na.csv, line 4: the class is missing, got 'NA' (2 of 150"),
        ({"targets": "nan.csv"}, "nan.csv, line 2: the class is missing, got 'nan'"),
        ({"rows": "short.npy"}, "codes and rows must have as many rows"),
        ({"tau": -1}, "--tau: expected a number of at least 0, got '-1'"),
        ({"confidence": 1.5}, "--confidence: expected a number between 0 and 1, got '1.5'"),
        ({"confidence": "high"}, "--confidence: expected a number between 0 and 1"),
        ({"seed": "-3"}, "--seed: expected a whole number of at least 0, got '-3'"),
        ({"print": "poem"}, "--print: invalid choice: 'poem'"),
        ({"html": "taken"}, "taken is a folder: name a file in it"),
        ({"json": "nowhere/report.json"}, "there is no folder nowhere that can be written to"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_status_two(
    folder, tmp_path, capfd, changed, message
):
    bad_files(tmp_path)
    before = sorted(tmp_path.iterdir())
    options = {"codes": "codes.npy", "targets": "labels.npy", **changed}
    arguments = [
        text
        for name, value in options.items()
        if value is not None
        for text in (f"--{name}", str(value))
    ]
    try:
        status = certified(*arguments)
    except SystemExit as stop:
        status = stop.code
    printed = capfd.readouterr()
    assert status == 2
    assert message in printed.err
    assert printed.err.startswith("skvae: error: ")
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert sorted(tmp_path.iterdir()) == before


def test_ctrl_c_is_told(folder, monkeypatch, capsys):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(certify, "certify_given", interrupted)
    assert certified("--codes", "codes.npy", "--targets", "labels.npy") == 130
    assert capsys.readouterr().err == "skvae: interrupted\n"


def test_run_is_the_command_where_none_is_named(monkeypatch):
    calls = []
    monkeypatch.setattr(run, "main", lambda arguments: calls.append(arguments) or 0)
    assert (
        main([]) == main(["run"]) == main(["run", "--seeds", "1"]) == main(["--jobs", "2"]) == 0
    )
    assert calls == [[], [], ["--seeds", "1"], ["--jobs", "2"]]


def test_module_certifies_and_helps_without_torch(folder):
    arguments = ["--codes", "codes.npy", "--targets", "labels.csv", "--print", "line"]
    code = (
        "import sys; from skvae.__main__ import main; "
        f"status = main(['certify', *{arguments}]); "
        "assert 'torch' not in sys.modules; sys.exit(status)"
    )
    environment = {**os.environ, "COLUMNS": "100"}
    for command in (["-c", code], ["-m", "skvae", "certify", *arguments]):
        done = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("certified (not constant in x): 0.95 lower bound ")
    helped = subprocess.run(
        [sys.executable, "-m", "skvae", "certify", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    ).stdout
    assert "examples:\n  skvae certify --codes codes.npy --targets labels.csv\n" in helped
    assert "exit status: 0 certified, 1 not certified, 2 unusable" in helped
    assert certify.LEGEND in helped


def completed(line):
    """Return what bash offers for the last word of a line."""
    words = line.split(" ")
    asked = (
        f"{completion.script('bash')}\nCOMP_WORDS=({' '.join(words[:-1])} '{words[-1]}')\n"
        f"COMP_CWORD={len(words) - 1}\n_skvae\nprintf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes_commands_options_choices_and_files(folder):
    assert completed("skvae c") == ["certify"]
    assert completed("skvae --bas") == ["--baselines"]
    assert completed("skvae run --arch") == ["--architecture"]
    assert completed("skvae certify --arch") == []
    assert completed("skvae certify --p") == ["--posterior", "--print"]
    assert completed("skvae certify --print ") == ["table", "line", "json", "nothing"]
    assert completed("skvae certify --codes semi") == ["semicolons.csv"]
    for name, parser in (("run", run.parser()), ("certify", certify.parser())):
        options = [flag for each in parser._actions for flag in each.option_strings]
        assert completed(f"skvae {name} -") == options


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_are_sound_to_their_shells(shell, tmp_path, capsys):
    assert main(["--completion", shell]) == 0
    script = capsys.readouterr().out
    assert script == completion.script(shell)
    for option in ("posterior", "held-out", "baselines"):
        assert option in script
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    path = tmp_path / "script"
    path.write_text(script)
    option = "--no-execute" if shell == "fish" else "-n"
    done = subprocess.run([shell, option, path], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_other_shells_are_refused_in_one_line(capsys):
    with pytest.raises(SystemExit):
        main(["--completion", "tcsh"])
    assert "invalid choice: 'tcsh'" in capsys.readouterr().err
