import matplotlib.pyplot as plt
import numpy as np

colours = {"Adelie": "#e08214", "Chinstrap": "#8c6bb1", "Gentoo": "#1b7f79"}
fig, ax = plt.subplots(figsize=(8, 5.2), dpi=150, layout="constrained")


def trend(birds, **style):
    slope, start = np.polyfit(birds.bill_length_mm, birds.bill_depth_mm, 1)
    x = np.array([birds.bill_length_mm.min(), birds.bill_length_mm.max()])
    ax.plot(x, start + slope * x, **style)


for name, birds in measured.groupby("species"):
    ax.scatter(birds.bill_length_mm, birds.bill_depth_mm, s=26, alpha=0.65, linewidths=0,
               color=colours[name], label=f"{name}  (r = {within[name]:+.2f})")
    trend(birds, color=colours[name], linewidth=2.5)
trend(measured, color="#555555", linewidth=1.8, linestyle="--", label=f"all birds  (r = {overall:+.2f})")

ax.set_title("Longer bills are deeper, in every species of penguin", loc="left", fontsize=14, fontweight="bold", pad=24)
ax.text(0, 1.02, f"Simpson's paradox: taken together, {len(measured)} birds seem to show the opposite",
        transform=ax.transAxes, color="#555555")
ax.set_xlabel("bill length (mm)")
ax.set_ylabel("bill depth (mm)")
ax.legend(frameon=False, loc="lower left")
ax.spines[["top", "right"]].set_visible(False)
ax.grid(alpha=0.25)
fig.savefig("/mnt/data/output/penguins.png")
plt.show()
