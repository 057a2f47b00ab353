# The history of a session is its notebook; a database in the sandbox would only cost time.
c.HistoryManager.enabled = False
