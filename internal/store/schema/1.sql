-- A session's key is its small number inside this database. The upper half of the ids of its
-- events and cells is the key, the lower half the number within the session: so one b-tree holds
-- both the rows and their order, and an event costs one insertion.

CREATE TABLE sessions (
	key     INTEGER PRIMARY KEY AUTOINCREMENT,
	id      TEXT    NOT NULL UNIQUE,
	erased  INTEGER NOT NULL DEFAULT 0, -- 1: deleted; its rows are being erased
	record  BLOB    NOT NULL,           -- JSON
	crc     INTEGER NOT NULL
);

CREATE TABLE events (
	id      INTEGER PRIMARY KEY, -- key of the session << 32 | seq
	time    INTEGER NOT NULL,    -- nanoseconds since 1970, 0 for none
	kernel  TEXT    NOT NULL,
	cell    TEXT    NOT NULL,
	type    TEXT    NOT NULL,
	boot    TEXT    NOT NULL,
	source  INTEGER NOT NULL,
	crc     INTEGER NOT NULL,
	content BLOB    NOT NULL     -- last: large contents spill, the rest stays near
);

-- The newest number of each agent's life. Sources must rise, which makes replays harmless.
CREATE TABLE cursors (
	session INTEGER NOT NULL REFERENCES sessions (key),
	kernel  TEXT    NOT NULL,
	boot    TEXT    NOT NULL,
	source  INTEGER NOT NULL,
	PRIMARY KEY (session, kernel, boot)
) WITHOUT ROWID;

CREATE TABLE cells (
	id      INTEGER PRIMARY KEY, -- key of the session << 32 | ordinal
	session INTEGER NOT NULL REFERENCES sessions (key),
	cell    TEXT    NOT NULL,
	crc     INTEGER NOT NULL,
	record  BLOB    NOT NULL,    -- JSON
	UNIQUE (session, cell)
);
