"""``heme-export detector``: puts a trained detector into a bundle."""

from __future__ import annotations

from pathlib import Path

import click

from heme_edge.cli_support import data_option, field_options

CALIBRATION, JUDGING = 32, 24
"""Composed fields that measure the INT8 ranges, and that the least score is chosen on."""
CALIBRATION_SEED, JUDGING_SEED = 7_000_000, 8_000_000
SIDE_PX, UM_PER_PX = 768, 0.3125
CROPS = 1500


@click.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--bundle", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="The bundle it is put into [default: the default bundle].")  # fmt: skip
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="Bundle folder.")
@click.option("--former-share", type=click.FloatRange(0, 1), default=0.0, show_default=True,
              help="Of the weights of the bundle's detector, that RUN went on from, in the mean "
                   "of both.")  # fmt: skip
@data_option
@field_options
def detector(
    run: Path, bundle: Path | None, out: Path, former_share: float, data: Path, fields: Path,
    annotations: Path, split: Path, cameras: tuple[tuple[str, float], ...], label: str,
) -> None:  # fmt: skip
    """Put the detector of RUN (of `heme-train detector`) into a bundle; the rest of it stays.

    RUN may be a bundle too: the fp32 file of its detector is kept, everything else made anew.

    The least score is chosen on fields composed from crops of role `confidence` and on the labelled
    fields of role `fit`, INT8 ranges are measured on fields composed from crops of fold roles.
    """
    import numpy as np

    from heme_edge.bundle import MANIFEST, load_bundle
    from heme_edge.sim.compose import Composed, Marrow, compose
    from heme_edge.sim.lens import random_lens
    from heme_export.detector import bundle_with_detector
    from heme_train.data import CONFIDENCE, FOLDS, open_crops
    from heme_train.detector.fields import as_composed, marrow_mix, read_labelled, stock_from
    from heme_train.detector.fit import load_detector, provenance_of
    from heme_train.labelled_fields import FIT, Fields

    crops = open_crops(data)

    def composed(roles: tuple[str, ...], count: int, seed: int) -> list[Composed]:
        stock = stock_from(crops, roles, CROPS, 0)
        marrow = Marrow(mix=marrow_mix(stock))
        rngs = [np.random.default_rng(seed + k) for k in range(count)]
        return [
            compose(stock, rng, width_px=SIDE_PX, height_px=SIDE_PX, um_per_px=UM_PER_PX,
                    marrow=marrow, lens=random_lens(rng))
            for rng in rngs
        ]  # fmt: skip

    groups = {"composed": composed((CONFIDENCE,), JUDGING, JUDGING_SEED)}
    for pattern, um in cameras:
        wanted = Fields(fields, annotations, split, FIT, label, pattern, um)
        groups[pattern] = [as_composed(one) for one in read_labelled(wanted)]
    if (run / MANIFEST).is_file():
        source, network = load_bundle(run), None
        provenance = source.info.detector.get("provenance", {})
    else:
        source, network, provenance = load_bundle(bundle), load_detector(run), provenance_of(run)
    made = bundle_with_detector(
        source, network, out,
        composed(FOLDS, CALIBRATION, CALIBRATION_SEED),
        groups, groups["composed"],
        provenance, click.echo, former_share,
    )  # fmt: skip
    click.echo(f"bundle: {made.path}")
