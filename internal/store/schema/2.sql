-- Commands run beside the kernels. Their events are among the others: the column cell has the id of
-- the cell or that of the command, which differ in their first letter.

CREATE TABLE commands (
	id      INTEGER PRIMARY KEY, -- key of the session << 32 | ordinal
	session INTEGER NOT NULL REFERENCES sessions (key),
	command TEXT    NOT NULL,
	crc     INTEGER NOT NULL,
	record  BLOB    NOT NULL,    -- JSON
	UNIQUE (session, command)
);
