# Messages of a kernel for a front end are outputs of the cell.
# %%
text = "paged"
def documented(x):
    """Returns what it gets."""
    return x
# %%
documented?
# %%
documented??
# %%
nonesuch?
# %%
%pdoc documented
# %%
%psource documented
# %%
%page text
# %%
%psearch docu*
# %%
%%writefile other.py
print('loaded')
# %%
%load other.py
# %%
%recall 1
# %%
%less other.py
# %%
class Named:
    def __init__(self, text): self.text = text
    def _repr_mimebundle_(self, include=None, exclude=None):
        return {'text/plain': self.text}, {'display_id': 'named', 'kept': 1}
Named('first')
# %%
display(Named('second'))
# %%
from IPython.display import update_display
update_display('third', display_id='named')
