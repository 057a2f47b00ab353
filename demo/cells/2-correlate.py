measured = penguins.dropna(subset=["bill_length_mm", "bill_depth_mm"])
overall = measured.bill_length_mm.corr(measured.bill_depth_mm)
print(f"{len(measured)} have both measurements")
print(f"Correlation of the bill's length and depth: {overall:+.2f}. Longer bills are thinner?")
