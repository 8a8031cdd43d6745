"""Memory that every batch writes over."""

import torch

from skvae.training.steps.room import Room


def test_smaller_batches_take_a_part_of_the_same_memory():
    room = Room()
    whole = room.like(torch.ones(6, 3))
    assert whole.shape == (6, 3)
    for n_rows in (6, 2, 1, 5):
        part = room.like(torch.ones(n_rows, 3))
        assert part.shape == (n_rows, 3)
        assert part.data_ptr() == whole.data_ptr()


def test_a_larger_batch_makes_room():
    room = Room()
    small = room.filled(torch.ones(2, 3))
    assert room.like(torch.ones(7, 3)).shape == (7, 3)
    assert torch.equal(small, torch.ones(2, 3))


def test_other_sizes_than_those_of_the_rows():
    assert Room().like(torch.ones(4, 3), 9).shape == (4, 9)


def test_a_copy_has_the_numbers_in_the_dtype_and_the_order_of_the_room():
    images = torch.rand(4, 3, 2, 5)
    room = Room(torch.bfloat16, torch.channels_last)
    for some in (images, images[:2]):
        copy = room.filled(some)
        assert copy.dtype == torch.bfloat16
        assert copy.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(copy, some.bfloat16())
    assert Room().like(images.to("meta")).device.type == "meta"
