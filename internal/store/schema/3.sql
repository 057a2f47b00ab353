-- A caller may give a cell a key, so that a request that is repeated makes no second one.

ALTER TABLE cells ADD COLUMN key TEXT;

CREATE UNIQUE INDEX cell_keys ON cells (session, key) WHERE key IS NOT NULL;
