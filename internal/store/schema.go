package store

import (
	"cellhold"
	"context"
	"database/sql"
	"embed"
	"fmt"
	"time"
)

// Each file is one step to the next version of the schema, named after the new version. Released steps never change.
//
//go:embed schema/*.sql
var steps embed.FS

// latest is the version of the schema that this program uses.
const latest = 3

// migrate updates the schema to the latest version. Each step has its own transaction.
func migrate(ctx context.Context, conn *sql.Conn) error {
	const table = `CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY, applied INTEGER NOT NULL)`
	if _, err := conn.ExecContext(ctx, table); err != nil {
		return err
	}
	var have int
	if err := conn.QueryRowContext(ctx, `SELECT coalesce(max(version), 0) FROM migrations`).Scan(&have); err != nil {
		return err
	}
	if have > latest {
		return cellhold.Errorf(cellhold.Conflict, "The database has version %d, but this program supports versions up to %d. Use the newer program.", have, latest)
	}
	for v := have + 1; v <= latest; v++ {
		if err := step(ctx, conn, v); err != nil {
			return fmt.Errorf("migrate to version %d: %w", v, err)
		}
	}
	return nil
}

func step(ctx context.Context, conn *sql.Conn, version int) error {
	script, err := steps.ReadFile(fmt.Sprintf("schema/%d.sql", version))
	if err != nil {
		return err
	}
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // a no-op after the commit
	if _, err := tx.ExecContext(ctx, string(script)); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO migrations VALUES (?, ?)`, version, time.Now().UnixNano()); err != nil {
		return err
	}
	return tx.Commit()
}
