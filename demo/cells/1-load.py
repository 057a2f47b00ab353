import pandas as pd

penguins = pd.read_csv("/mnt/data/penguins.csv")
print(f"{len(penguins)} penguins, {penguins.species.nunique()} species, {penguins.island.nunique()} islands")
penguins.groupby("species")[["bill_length_mm", "bill_depth_mm", "body_mass_g"]].mean().round(1)
