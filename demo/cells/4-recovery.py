within = {name: birds.bill_length_mm.corr(birds.bill_depth_mm) for name, birds in measured.groupby("species")}
for name, r in within.items():
    print(f"{name:10} {r:+.2f}")
print("Within each species it is the other way round: Simpson's paradox.")
