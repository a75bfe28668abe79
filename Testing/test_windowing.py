"""Windows: clipped and scaled."""

import torch

from ICHSegmentationLib.windowing import window_channels


def test_each_window_is_clipped_and_scaled_to_0_and_1() -> None:
    hu = torch.tensor([-1000.0, 0.0, 40.0, 80.0, 500.0, 3000.0]).view(6, 1, 1)
    channels = window_channels(hu)
    assert channels.shape == (3, 6, 1, 1)
    assert torch.allclose(channels[0].flatten(), torch.tensor([0, 0, 0.04, 0.08, 0.5, 1.0]))
    assert torch.allclose(channels[1].flatten(), torch.tensor([0, 0, 0.5, 1.0, 1.0, 1.0]))
    assert torch.allclose(channels[2, 1].flatten(), torch.tensor([50 / 270]))


def test_a_batch_gets_its_channels_before_the_volume_axes() -> None:
    assert window_channels(torch.zeros(2, 4, 5, 6)).shape == (2, 3, 4, 5, 6)
