"""Tiny-ImageNet on a small folder in the true format, whole and damaged."""

import os
import re
import shutil
import sys
import warnings

import numpy as np
import pytest
from published_formats import WNIDS, write_jpeg, write_tiny_imagenet

from skvae.datasets import imagenet, tiny_imagenet
from skvae.exceptions import UnverifiedDataWarning

# What is read here has too few images to be the published data.
pytestmark = pytest.mark.filterwarnings("ignore::skvae.exceptions.UnverifiedDataWarning")
N = 12


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published") / "tiny-imagenet-200"
    write_tiny_imagenet(folder, N)
    return folder


@pytest.fixture
def folder(written, tmp_path):
    """Copy the folder for a test that damages it."""
    return shutil.copytree(written, tmp_path / "tiny-imagenet-200")


def test_training_images_come_by_class_and_by_number(written):
    dataset = tiny_imagenet(written, dtype="uint8")
    assert dataset.data.shape == (3 * N, 3 * 64 * 64)
    assert dataset.data.dtype == np.uint8
    assert dataset.image_shape == (3, 64, 64)
    assert dataset.target_names == WNIDS
    np.testing.assert_array_equal(dataset.target, np.repeat([0, 1, 2], N))
    greys = [[80 * label + 5 * number] for label in range(3) for number in range(N)]
    # JPEG keeps a constant grey to within one.
    assert np.abs(dataset.data.astype(int) - greys).max() <= 1


def test_validation_images_come_as_annotated(written):
    dataset = tiny_imagenet(written, subset="val", dtype="uint8")
    np.testing.assert_array_equal(dataset.target, [0, 1, 2])
    assert np.abs(dataset.data.astype(int) - [[0], [80], [160]]).max() <= 1


def test_pixels_are_scaled_to_the_unit_interval(written):
    raw, scaled = (tiny_imagenet(written, dtype=dtype).data for dtype in ("uint8", "float32"))
    assert scaled.dtype == np.float32
    np.testing.assert_array_equal(scaled, raw / np.float32(255))


def test_the_folder_that_holds_the_unpacked_one_will_do(written):
    assert len(tiny_imagenet(written.parent).data) == 3 * N


def test_channels_come_first_and_greyscale_files_have_three(folder):
    images = folder / "train" / WNIDS[0] / "images"
    write_jpeg(images / f"{WNIDS[0]}_0.JPEG", (255, 0, 0))
    write_jpeg(images / f"{WNIDS[0]}_1.JPEG", 100, mode="L")
    write_jpeg(images / f"{WNIDS[0]}_2.JPEG", (0, 0, 255))
    red, grey, blue = tiny_imagenet(folder, dtype="uint8").data[:3].reshape(3, 3, -1)
    assert np.abs(red.astype(int) - [[255], [0], [0]]).max() <= 2
    assert np.abs(grey.astype(int) - 100).max() <= 1
    assert np.abs(blue.astype(int) - [[0], [0], [255]]).max() <= 2


def test_rows_and_columns_are_not_swapped(folder):
    from PIL import Image

    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:16] = 200
    path = folder / "train" / WNIDS[0] / "images" / f"{WNIDS[0]}_0.JPEG"
    Image.fromarray(picture).save(path, format="JPEG", quality=95)
    image = tiny_imagenet(folder, dtype="uint8").data[0].reshape(3, 64, 64)
    assert image[:, :15].min() > 190
    assert image[:, 17:].max() < 10


def test_the_published_numbers_are_compared(written, monkeypatch):
    with pytest.warns(UnverifiedDataWarning) as caught:
        tiny_imagenet(written)
    assert "there are 3 classes, not 200; there are 36 images in train, not 100000" in str(
        caught[0].message
    )
    assert caught[0].filename == __file__
    monkeypatch.setattr(imagenet, "N_CLASSES", 3)
    monkeypatch.setattr(imagenet, "N_IMAGES", {"val": 3})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny_imagenet(written, subset="val")


FIRST = f"train/{WNIDS[0]}/images/{WNIDS[0]}_0.JPEG"


def remove(name):
    def damage(folder):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return damage


def text_as_jpeg(folder):
    (folder / FIRST).write_text("not an image")


def png_as_jpeg(folder):
    write_jpeg(folder / FIRST, (1, 2, 3), file_format="PNG")


def empty_jpeg(folder):
    (folder / FIRST).write_bytes(b"")


def truncated_jpeg(folder):
    whole = (folder / FIRST).read_bytes()
    (folder / FIRST).write_bytes(whole[: len(whole) // 2])


def wrong_size(folder):
    write_jpeg(folder / FIRST, (1, 2, 3), size=(64, 63))


def unlisted(folder):
    write_jpeg(folder / "train" / WNIDS[1] / "images" / "more.JPEG", (1, 2, 3))


def six_missing(folder):
    for number in range(6):
        (folder / "train" / WNIDS[2] / "images" / f"{WNIDS[2]}_{number}.JPEG").unlink()


def no_classes(folder):
    (folder / "wnids.txt").write_text("\n")


def class_elsewhere(folder):
    (folder / "wnids.txt").write_text("\n".join([*WNIDS, "../../elsewhere", ".."]))


def endless_list(folder):
    with (folder / "wnids.txt").open("a") as file:
        file.truncate(2**40)


def endless_jpeg(folder):
    with (folder / FIRST).open("a") as file:
        file.truncate(2**40)


def jpeg_bomb(folder):
    # The size stands in the frame header, height first.
    whole = (folder / FIRST).read_bytes()
    at = whole.index(b"\xff\xc0") + 5
    (folder / FIRST).write_bytes(whole[:at] + (50_000).to_bytes(2, "big") * 2 + whole[at + 4 :])


def pipe(folder):
    (folder / FIRST).unlink()
    os.mkfifo(folder / FIRST)


def class_named_twice(folder):
    (folder / "wnids.txt").write_text("\n".join([*WNIDS, WNIDS[0]]))


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (text_as_jpeg, ValueError, "_0.JPEG is damaged, or no JPEG file"),
        (png_as_jpeg, ValueError, "_0.JPEG is damaged, or no JPEG file"),
        (empty_jpeg, ValueError, "_0.JPEG is damaged, or no JPEG file"),
        (truncated_jpeg, ValueError, "_0.JPEG is damaged, or no JPEG file"),
        (wrong_size, ValueError, "_0.JPEG must be of 64 by 64 pixels, got 64 by 63"),
        (unlisted, ValueError, "images holds more.JPEG, which "),
        (no_classes, ValueError, "wnids.txt is empty"),
        (class_named_twice, ValueError, "wnids.txt names a class twice"),
        (class_elsewhere, ValueError, "each line, got '../../elsewhere', '..': unpack"),
        (endless_list, ValueError, "wnids.txt has 1,099,511,627,776 bytes, and such a file"),
        (endless_jpeg, ValueError, "_0.JPEG has 1,099,511,627,776 bytes, and such a file"),
        (jpeg_bomb, ValueError, "must be of 64 by 64 pixels, got 50000 by 50000"),
        pytest.param(
            pipe,
            FileNotFoundError,
            "_0.JPEG is no regular file",
            marks=pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here"),
        ),
        (remove(FIRST), FileNotFoundError, f"lacks {WNIDS[0]}_0.JPEG in "),
        (six_missing, FileNotFoundError, f"{WNIDS[2]}_4.JPEG, 1 more in "),
        (remove("wnids.txt"), FileNotFoundError, "Tiny-ImageNet lacks wnids.txt in "),
        (remove(f"train/{WNIDS[1]}"), FileNotFoundError, f"lacks train/{WNIDS[1]}/images in "),
        (
            remove(f"train/{WNIDS[1]}/{WNIDS[1]}_boxes.txt"),
            FileNotFoundError,
            f"lacks {WNIDS[1]}_boxes.txt in ",
        ),
    ],
)
def test_damage_to_the_training_images_is_named(folder, damage, error, message):
    damage(folder)
    with pytest.raises(error, match=re.escape(message)):
        tiny_imagenet(folder)


def annotate(text):
    def damage(folder):
        (folder / "val" / "val_annotations.txt").write_text(text)

    return damage


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (remove("val/val_annotations.txt"), FileNotFoundError, "lacks val_annotations.txt in "),
        (
            remove("val/images"),
            FileNotFoundError,
            "lacks val_0.JPEG, val_1.JPEG, val_2.JPEG in",
        ),
        (remove("val/images/val_1.JPEG"), FileNotFoundError, "lacks val_1.JPEG in "),
        (annotate(""), ValueError, "val_annotations.txt is empty"),
        (annotate("val_0.JPEG\n"), ValueError, "line 1 is 'val_0.JPEG'"),
        (annotate("val_0.JPEG\tn00000000\t0\n"), ValueError, "a class of wnids.txt"),
        (annotate(f"val_0.JPEG\t{WNIDS[0]}\n" * 2), ValueError, "line 2 is 'val_0.JPEG"),
        (annotate("a" * 10**6), ValueError, f"line 1 is '{'a' * 100}...'."),
        (annotate(f"{'a' * 10**6}\t{WNIDS[0]}\n"), FileNotFoundError, f"lacks {'a' * 100}... "),
        (
            annotate(f"val_0.JPEG\t{WNIDS[0]}\n"),
            ValueError,
            "holds val_1.JPEG, val_2.JPEG, whi",
        ),
    ],
)
def test_damage_to_the_validation_images_is_named(folder, damage, error, message):
    damage(folder)
    with pytest.raises(error, match=re.escape(message)):
        tiny_imagenet(folder, subset="val")


def test_what_may_be_taken_in_memory_is_compared_with_the_lists(written):
    n_bytes = 3 * N * 3 * 64 * 64
    assert tiny_imagenet(written, dtype="uint8", max_bytes=n_bytes).data.nbytes == n_bytes
    with pytest.raises(ValueError, match=r"The 36 images of train in .* take 1,769,472 bytes"):
        tiny_imagenet(written, max_bytes=n_bytes)


def test_a_limit_of_pillow_changes_nothing(folder, monkeypatch):
    from PIL import Image

    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert len(tiny_imagenet(folder).data) == 3 * N
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    jpeg_bomb(folder)
    with pytest.raises(ValueError, match="got 50000 by 50000"):
        tiny_imagenet(folder)


def test_without_pillow_it_says_what_to_install(written, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"need Pillow: pip install 'skvae\[images\]'"):
        tiny_imagenet(written)


def test_there_is_no_labelled_test_subset():
    with pytest.raises(ValueError, match="subset must be one of train, val; got 'test'"):
        tiny_imagenet("missing", subset="test")
