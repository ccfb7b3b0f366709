"""Figure of a detector's training history."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .style import GREY, PALETTE, PlotError, make_figure, need, styled


@styled
def training_history(
    history: pd.DataFrame, switch_epoch: int | None, best_epoch: int | None, title: str = "Training"
) -> Figure:
    """Draw loss, dev EER, learning rate, focal-loss weight and augmentation strength over epochs, with the loss switch.

    Args:
        history: columns `epoch, train_loss, dev_loss, dev_eer` (fraction), `learning_rate, focal_weight` (0 to 1),
            `augmentation_probability` (0 to 1), `augmentation_intensity`.
        switch_epoch: the first epoch with focal loss, or None.
        best_epoch: the epoch of the best checkpoint, or None.
    """
    need(history, "epoch", "train_loss", "dev_loss", "dev_eer", "learning_rate", "focal_weight")
    need(history, "augmentation_probability", "augmentation_intensity")
    figure, panels = make_figure(7.2, 9.0, 5, sharex=True, height_ratios=[3, 3, 2, 2, 2])
    epoch, eer = history["epoch"].to_numpy(), 100 * history["dev_eer"].to_numpy()
    mark = {"linewidth": 1.8, "markersize": 4}
    panels[0].plot(epoch, history["train_loss"], "o-", color=PALETTE[0], label="train", **mark)
    panels[0].plot(epoch, history["dev_loss"], "s--", color=PALETTE[3], label="dev", **mark)
    panels[0].legend(loc="upper right")
    panels[1].plot(epoch, eer, "o-", color=PALETTE[2], **mark)
    panels[2].plot(epoch, history["learning_rate"], "o-", color=PALETTE[4], **mark)
    panels[2].ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    panels[3].plot(epoch, history["focal_weight"], "o-", color=PALETTE[7], **mark)
    panels[3].fill_between(epoch, history["focal_weight"], color=PALETTE[7], alpha=0.2, linewidth=0)
    panels[4].plot(epoch, history["augmentation_probability"], "o-", color=PALETTE[0], label="probability", **mark)
    panels[4].plot(epoch, history["augmentation_intensity"], "s--", color=PALETTE[1], label="intensity", **mark)
    panels[4].legend(loc="upper left", ncols=2)
    labels = ("Loss", "Dev EER (%)", "Learning rate", "Weight of\nfocal loss", "Distortions")
    for axes, label in zip(panels, labels, strict=True):
        axes.set_ylabel(label)
    if best_epoch is not None:
        if best_epoch not in epoch:
            raise PlotError(f"best_epoch = {best_epoch} is not in the history, which has epochs {epoch[0]} to {epoch[-1]}")
        value = float(eer[epoch == best_epoch][0])
        text = f"best: {value:.2f} % at epoch {best_epoch}"
        panels[1].plot(best_epoch, value, "*", color="black", markersize=13, linestyle="none", zorder=5, label=text)
        panels[1].legend(loc="upper right")
    if switch_epoch is not None:
        for axes in panels:
            axes.axvline(switch_epoch, color=GREY, linestyle="-.", linewidth=1.4)
        side = -1 if switch_epoch > epoch.mean() else 1
        place = {"xytext": (4 * side, 3), "textcoords": "offset points", "ha": "right" if side < 0 else "left"}
        anchor = {"xy": (switch_epoch, 1), "xycoords": ("data", "axes fraction"), "va": "bottom", "color": GREY}
        panels[0].annotate(f"loss switch (epoch {switch_epoch})", **anchor, **place)
    panels[1].set_ylim(bottom=0)
    panels[3].set_ylim(-0.05, 1.05)
    panels[4].set_xlabel("Epoch")
    panels[4].set_ylim(0, 1.5 * history["augmentation_intensity"].max())
    panels[4].xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.align_ylabels(panels)
    panels[0].set_title(title, pad=22 if switch_epoch is not None else None)
    return figure
