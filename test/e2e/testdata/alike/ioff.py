# %%
import matplotlib.pyplot as plt
plt.ioff()
plt.figure(figsize=(1, 1))
print(plt.isinteractive(), plt.get_backend())
# %%
print(plt.get_fignums())
plt.show()
