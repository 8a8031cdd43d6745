"""Kinds of columns: which are chosen, and that encoding and decoding give the table back."""

from datetime import date

import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.compose import make_column_selector

from skvae.rows.columns import Columns

LEVELS = ["low", "middle", "high"]


def in_pandas():
    return pd.DataFrame(
        {
            "age": [31.5, 58.0, 44.0, 23.0],
            "weight": np.array([70.5, 80, 65, 90], dtype=np.float32),
            "visits": [3, 0, 12, 5],
            "owns": [1, 0, 0, 1],
            "well": [True, False, True, True],
            "town": ["Ulm", "Bonn", "Ulm", "Kiel"],
            "income": pd.Categorical(["low", "high", "low", "low"], LEVELS, ordered=True),
            "grade": pd.Categorical([1, 2, 2, 1]),
            "maybe": pd.array([True, True, False, True], dtype="boolean"),
            "whole": pd.array([4, 5, 6, 8], dtype="Int64"),
            "mixed": np.array(["a", 1, "a", 1], dtype=object),
            "street": pd.array(list("abca"), dtype=pd.ArrowDtype(pa.string())),
        }
    )


def in_polars():
    return pl.DataFrame(
        {
            "age": [31.5, 58.0, 44.0, 23.0],
            "weight": pl.Series([70.5, 80, 65, 90], dtype=pl.Float32),
            "visits": pl.Series([3, 0, 12, 5], dtype=pl.Int32),
            "owns": [1, 0, 0, 1],
            "well": [True, False, True, True],
            "town": ["Ulm", "Bonn", "Ulm", "Kiel"],
            "income": pl.Series(["low", "high", "low", "low"], dtype=pl.Enum(LEVELS)),
            "grade": pl.Series(["x", "y", "y", "x"], dtype=pl.Categorical),
        }
    )


def in_arrow():
    return pa.table(
        {
            "age": [31.5, 58.0, 44.0, 23.0],
            "weight": pa.array([70.5, 80, 65, 90], pa.float32()),
            "visits": pa.array([3, 0, 12, 5], pa.int16()),
            "owns": [1, 0, 0, 1],
            "well": [True, False, True, True],
            "town": ["Ulm", "Bonn", "Ulm", "Kiel"],
            "grade": pa.DictionaryArray.from_arrays(
                pa.array([0, 1, 1, 0], pa.uint32()), ["x", "y"]
            ),
        }
    )


FRAMES = [in_pandas, in_polars, in_arrow]
CHOSEN = {
    "age": "gaussian",
    "weight": "gaussian",
    "visits": "gaussian",
    "owns": "bernoulli",
    "well": "bernoulli",
    "town": "categorical",
    "income": "categorical",
    "grade": "categorical",
    "maybe": "bernoulli",
    "whole": "gaussian",
    "mixed": "categorical",
    "street": "categorical",
}


@pytest.mark.parametrize("made", FRAMES)
def test_auto_goes_by_what_columns_hold(made):
    frame = made()
    found = Columns.of(frame, "auto").likelihoods
    names = frame.column_names if isinstance(frame, pa.Table) else list(frame.columns)
    assert found == {name: CHOSEN[name] for name in names}


@pytest.mark.parametrize("made", FRAMES)
def test_a_frame_comes_back_with_its_types(made):
    frame = made()
    columns = Columns.of(frame, "auto")
    encoded = columns.encode(frame)
    assert encoded.dtype == np.float64
    assert np.isfinite(encoded).all()
    decoded = columns.decode(encoded)
    assert type(decoded) is type(frame)
    assert decoded.equals(frame)
    if isinstance(frame, pd.DataFrame):
        pd.testing.assert_frame_equal(decoded, frame)
    if isinstance(frame, pl.DataFrame):
        assert decoded.schema == frame.schema
    if isinstance(frame, pa.Table):
        assert decoded.schema == frame.schema


@pytest.mark.parametrize("made", FRAMES)
def test_means_of_numbers_are_floats_and_kinds_are_the_likeliest(made):
    frame = made()
    columns = Columns.of(frame, "auto")
    encoded = columns.encode(frame) * 0.6 + 0.1
    decoded = columns.decode(encoded, means=True)
    table = nw.from_native(decoded)
    visits, owns = table["visits"].to_numpy(), table["owns"].to_numpy()
    np.testing.assert_allclose(visits, np.array([3, 0, 12, 5]) * 0.6 + 0.1)
    np.testing.assert_allclose(owns, [0.7, 0.1, 0.1, 0.7])
    assert visits.dtype == np.float64
    assert table["weight"].to_numpy().dtype == np.float32
    assert table["town"].to_list() == ["Ulm", "Bonn", "Ulm", "Kiel"]
    assert table["well"].to_list() == [True, False, True, True]


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
@pytest.mark.parametrize("made", FRAMES)
def test_a_frame_of_another_library_can_be_asked_for(made, library):
    frame = made()
    if library != "pandas" and isinstance(frame, pd.DataFrame):
        # Categories of several types are those of pandas alone.
        frame = frame.drop(columns=["mixed"])
    if library == "pyarrow" and not isinstance(frame, pa.Table):
        # Its types name no categories that do not occur.
        frame = (
            frame.drop(columns=["income"]) if isinstance(frame, pd.DataFrame) else frame[:, :6]
        )
    columns = Columns.of(frame, "auto")
    decoded = columns.decode(columns.encode(frame), library=library)
    kind = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.Table}[library]
    assert isinstance(decoded, kind)
    again = Columns.of(decoded, "auto")
    np.testing.assert_array_equal(again.encode(decoded), columns.encode(frame))


def test_categories_are_those_that_a_type_names_or_those_that_there_are():
    columns = Columns.of(in_pandas(), "auto").columns
    levels = {each.name: each.levels for each in columns}
    assert levels["income"] == ("low", "middle", "high")
    assert levels["town"] == ("Bonn", "Kiel", "Ulm")
    assert levels["grade"] == (1, 2)
    assert set(levels["mixed"]) == {"a", 1}


def test_encoded_names_and_blocks_say_where_columns_are():
    frame = in_pandas()[["age", "town", "well"]]
    columns = Columns.of(frame, {"town": ("categorical", "unseen")})
    assert columns.encoded_names == [
        *("age", "town=Bonn", "town=Kiel", "town=Ulm", "town=unseen", "well")
    ]
    assert columns.blocks == (slice(0, 1), slice(1, 5), slice(5, 6))
    assert columns.n_encoded == columns.encode(frame).shape[1] == 6


def test_what_was_not_seen_is_named_or_has_a_level_of_its_own():
    frame = in_pandas()[["age", "town"]]
    later = frame.replace({"town": {"Kiel": "Jena"}})
    with pytest.raises(ValueError, match=r"Column 'town' of X has the value 'Jena' in row 3"):
        Columns.of(frame, "auto").encode(later)
    columns = Columns.of(frame, {"town": ("categorical", "unseen")})
    encoded = columns.encode(later)
    assert encoded[3].tolist() == [23.0, 0.0, 0.0, 0.0, 1.0]
    assert columns.decode(encoded)["town"].isna().tolist() == [False, False, False, True]


@pytest.mark.parametrize("made", FRAMES)
def test_what_is_missing_is_nan_in_all_of_its_block(made):
    frame = made()
    columns = Columns.of(frame, "auto")
    if isinstance(frame, pd.DataFrame):
        holed = frame.astype({"visits": "Int64", "owns": "Int64", "well": object})
        for name in holed:
            holed.loc[1, name] = None
    elif isinstance(frame, pl.DataFrame):
        empty = pl.DataFrame({name: [None] for name in frame.columns}, schema=frame.schema)
        holed = pl.concat([frame[:1], empty, frame[2:]])
    else:
        parts = [
            frame.slice(0, 1),
            pa.table({f.name: pa.nulls(1, f.type) for f in frame.schema}),
        ]
        holed = pa.concat_tables([*parts, frame.slice(2)])
    encoded = columns.encode(holed)
    assert np.isnan(encoded[1]).all()
    kept = [0, 2, 3]
    np.testing.assert_array_equal(encoded[kept], columns.encode(frame)[kept])
    assert columns.missing_in(encoded) == ("age", 1)
    assert columns.missing_in(encoded[kept]) is None
    learned = Columns.of(holed, "auto")
    assert learned.likelihoods == columns.likelihoods
    towns = nw.from_native(learned.decode(encoded))["town"]
    assert towns.is_null().to_list() == [False, True, False, False]


def test_keys_are_names_positions_tuples_and_functions():
    frame = in_pandas()[["age", "visits", "owns", "town"]]
    ways = [
        {"visits": "poisson", "owns": "gaussian"},
        {1: "poisson", -2: "gaussian"},
        {("visits",): "poisson", (2,): "gaussian"},
        {lambda X: ["visits"]: "poisson", "owns": "gaussian"},
        {make_column_selector("vis"): "poisson", make_column_selector("^own"): "gaussian"},
    ]
    expected = {
        "age": "gaussian",
        "visits": "poisson",
        "owns": "gaussian",
        "town": "categorical",
    }
    for likelihood in ways:
        assert Columns.of(frame, likelihood).likelihoods == expected
    numbered = frame.set_axis([10, 0, 2, 3], axis=1)
    # A name goes before a position.
    assert Columns.of(numbered, {0: "poisson"}).likelihoods[0] == "poisson"


@pytest.mark.parametrize(
    ("likelihood", "message"),
    [
        ({"height": "poisson"}, "names no columns of X"),
        ({7: "poisson"}, "names no columns of X"),
        ({"visits": "poisson", 1: "gaussian"}, "'visits' twice"),
        ({"town": "gaussian"}, "'town' of X holds 'Ulm', which is no number"),
    ],
)
def test_keys_and_kinds_that_do_not_fit_are_named(likelihood, message):
    frame = in_pandas()[["age", "visits", "owns", "town"]]
    with pytest.raises(ValueError, match=message):
        Columns.of(frame, likelihood).encode(frame)


def test_sparse_columns_of_a_frame_are_numbers_like_others():
    rare = pd.DataFrame({"rare": pd.arrays.SparseArray([0.0, 2.5, 0.0], fill_value=0.0)})
    columns = Columns.of(rare, "auto")
    assert columns.likelihoods == {"rare": "gaussian"}
    pd.testing.assert_frame_equal(columns.decode(columns.encode(rare)), rare.sparse.to_dense())


@pytest.mark.parametrize(
    ("made", "kind"),
    [(pd.Series, "uint8"), (pd.Series, "UInt8"), (pl.Series, pl.UInt8), (pa.array, pa.uint8())],
)
def test_whole_numbers_stay_within_their_type(made, kind):
    values = made([3, 200, 7], **{"type" if made is pa.array else "dtype": kind})
    named = {"a": values, "b": values}
    frame = pa.table(named) if made is pa.array else type(values.to_frame())(named)
    drawn = Columns.of(frame, "auto").decode(np.array([[-3.2, 7.6], [300.0, -0.4]]))
    assert type(drawn) is type(frame)
    assert np.transpose([np.asarray(drawn[name]) for name in "ab"]).tolist() == [
        [0, 8],
        [255, 0],
    ]
    largest = Columns.of(pd.DataFrame({"a": [2**62]}), "auto").decode(np.array([[2.0**70]]))
    assert largest["a"].tolist() == [2**63 - 1]


def test_columns_that_are_no_kinds_are_refused():
    with pytest.raises(ValueError, match=r"Column 'day' of X holds times"):
        Columns.of(pd.DataFrame({"day": pd.to_datetime(["2020-01-01", "2021-01-01"])}), "auto")
    with pytest.raises(ValueError, match=r"Column 'day' of X holds times"):
        Columns.of(pl.DataFrame({"day": [date(2020, 1, 1)]}), "auto")
    many = pd.DataFrame({"name": [f"row {number}" for number in range(1001)]})
    with pytest.raises(ValueError, match=r"'name' of X has 1,001 different values"):
        Columns.of(many, "auto")
    days = pd.DataFrame({"day": np.array([date(2020, 1, 1), date(2021, 1, 1)], dtype=object)})
    with pytest.raises(ValueError, match=r"Column 'day' of X holds times"):
        Columns.of(days, "auto")
    assert Columns.of(days, "categorical").n_encoded == 2
    with pytest.raises(ValueError, match=r"Column 0 of X holds a number that is too large"):
        Columns.of([[1.5], [10**400]], "gaussian").encode([[1.5], [10**400]])
    numbers = pd.DataFrame({"a": pd.Categorical([1.5, 2.5])})
    assert Columns.of([[1.5]], "auto").encode(numbers).tolist() == [[1.5], [2.5]]
    with pytest.raises(ValueError, match=r"'name' of X has no value in 2 rows"):
        Columns.of(pd.DataFrame({"name": [None, None]}), {"name": "categorical"})
    lists = pd.DataFrame({"a": [[1], [2]]})
    with pytest.raises(ValueError, match=r"'a' of X holds no categories"):
        Columns.of(lists, "auto")


def test_arrays_of_numbers_are_looked_at_column_by_column():
    X = np.column_stack([np.linspace(0, 1, 6), [0, 1, 0, 1, 1, 0], np.ones(6), np.arange(6)])
    columns = Columns.of(X, "auto")
    assert columns.likelihoods == {0: "gaussian", 1: "bernoulli", 2: "bernoulli", 3: "gaussian"}
    assert columns.encode(X) is X
    np.testing.assert_array_equal(columns.decode(X), X)
    named = Columns.of(X.astype(np.float32), {3: "categorical"})
    encoded = named.encode(X)
    np.testing.assert_array_equal(encoded[:, 3:], np.eye(6))
    decoded = named.decode(encoded)
    assert decoded.dtype == np.float64
    np.testing.assert_allclose(decoded, X)


@pytest.mark.parametrize(
    "X",
    [
        [["a", 1.5, True], ["b", 2.5, False], ["a", 0.5, True]],
        np.array([["a", 1.5, True], ["b", 2.5, False], ["a", 0.5, True]], dtype=object),
    ],
)
def test_lists_and_arrays_of_objects_have_kinds_too(X):
    columns = Columns.of(X, "auto")
    assert list(columns.likelihoods.values()) == ["categorical", "gaussian", "bernoulli"]
    decoded = columns.decode(columns.encode(X))
    assert decoded.dtype == object
    assert decoded.tolist() == [["a", 1.5, 1.0], ["b", 2.5, 0.0], ["a", 0.5, 1.0]]


def test_a_table_of_one_kind_of_numbers_is_told_to_the_net_by_name():
    X = np.random.default_rng(0).normal(size=(9, 3))
    assert Columns.of(X, "auto").net_likelihood == "gaussian"
    assert Columns.of(X, {(0, 1, 2): "laplace"}).net_likelihood == "laplace"
    assert Columns.of(X, ("student_t", 4.0)).net_likelihood == (("student_t", 1, 4.0),) * 3
    assert Columns.of(X, "categorical").net_likelihood == (("categorical", 9, None),) * 3


@given(
    st.lists(
        st.tuples(
            st.floats(-1e6, 1e6), st.sampled_from("abcé "), st.booleans(), st.integers(-9, 9)
        ),
        min_size=1,
        max_size=20,
    )
)
def test_any_table_comes_back(rows):
    frame = pd.DataFrame(rows, columns=["x", "kind", "truth", "n"])
    for likelihood in ("auto", "categorical", {"n": "categorical"}):
        columns = Columns.of(frame, likelihood)
        pd.testing.assert_frame_equal(columns.decode(columns.encode(frame)), frame)
        assert columns == Columns.of(frame, columns.mapping)


@pytest.mark.parametrize("has_missing", [False, True])
@pytest.mark.parametrize(
    "made",
    [
        lambda values: pl.DataFrame({"x": pl.Series(values, dtype=pl.Decimal(5, 1))}),
        lambda values: pl.DataFrame({"x": pl.Series(values, dtype=pl.Int128)}),
        lambda values: pa.table({"x": pa.array(values).cast(pa.decimal128(21, 1))}),
        lambda values: pd.DataFrame(
            {"x": pd.array(values, dtype=pd.ArrowDtype(pa.decimal128(21, 1)))}
        ),
    ],
    ids=["decimals of polars", "128 bits", "decimals of pyarrow", "decimals of pandas"],
)
def test_numbers_of_types_that_numpy_has_not_come_back_as_floats(made, has_missing):
    values = [3, None if has_missing else 7, 12, -5]
    frame = made(values)
    columns = Columns.of(frame, "auto")
    assert columns.likelihoods == {"x": "gaussian"}
    encoded = columns.encode(frame)
    expected = [[np.nan if each is None else each] for each in values]
    np.testing.assert_array_equal(encoded, np.array(expected, dtype=float))
    decoded = columns.decode(encoded)
    assert type(decoded) is type(frame)
    np.testing.assert_array_equal(columns.encode(decoded), encoded)
