within = {name: birds.bill_length_mm.corr(birds.bill_depth_mm) for name, birds in measured.groupby("specie")}
