package store

import (
	"cellhold"
	"cellhold/internal/record"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
)

// AppendCommands is like Append, for events that changed commands.
func (d *DB) AppendCommands(ctx context.Context, id cellhold.SessionID, evs []record.Event, commands ...record.Command) error {
	if len(evs) == 0 && len(commands) == 0 {
		return nil
	}
	records := make([][]byte, len(commands))
	for i, c := range commands {
		var err error
		if records[i], err = json.Marshal(c); err != nil {
			return fmt.Errorf("record of command %s: %w", c.ID, err)
		}
	}
	err := d.write.transact(ctx, id, func(ctx context.Context, h *head) error {
		low, high := span(h.key)
		for i, c := range commands {
			sum := recordSum(records[i], string(id), string(c.ID))
			if _, err := d.write.putCommand.ExecContext(ctx, low, high, h.key, string(c.ID), sum, records[i]); err != nil {
				return err
			}
		}
		return d.write.append(ctx, h, id, evs)
	})
	if err != nil {
		return fmt.Errorf("append to session %s: %w", id, err)
	}
	return nil
}

// Command returns one command. For a command of another session it returns NotFound.
func (d *DB) Command(ctx context.Context, id cellhold.SessionID, c cellhold.CommandID) (record.Command, error) {
	const query = `SELECT c.crc, c.record FROM commands c JOIN sessions s ON s.key = c.session
		WHERE s.id = ? AND c.command = ? AND s.erased = 0`
	var sum column[int64]
	var b column[[]byte]
	err := d.read.QueryRowContext(ctx, query, id, c).Scan(&sum, &b)
	if errors.Is(err, sql.ErrNoRows) {
		return record.Command{}, cellhold.Errorf(cellhold.NotFound, "Command %s not found in session %s.", c, id)
	}
	if err != nil {
		return record.Command{}, fmt.Errorf("command %s: %w", c, outward(err))
	}
	return decodeCommand(id, c, sum.value, b.value)
}

// Commands yields the commands of a session in the order of their first records. For a damaged record it yields the id
// and ErrDamaged, and continues. Any other error is the last item.
func (d *DB) Commands(ctx context.Context, id cellhold.SessionID) iter.Seq2[record.Command, error] {
	return records(ctx, d, id, "commands", "command", decodeCommand, nil)
}

func decodeCommand(id cellhold.SessionID, c cellhold.CommandID, sum int64, b []byte) (record.Command, error) {
	var r record.Command
	if recordSum(b, string(id), string(c)) != sum || json.Unmarshal(b, &r) != nil {
		return record.Command{Command: cellhold.Command{ID: c, Session: id}}, fmt.Errorf("command %s of session %s: %w", c, id, ErrDamaged)
	}
	return r, nil
}

// subject returns the id of the event's cell or command. Cells and commands share one column.
func subject(e *record.Event) string {
	if e.Command != "" {
		return string(e.Command)
	}
	return string(e.Cell)
}

// setSubject sets the id of the event's cell or command. The ids of commands and cells begin with different letters.
func setSubject(e *record.Event, of string) {
	if len(of) > 0 && of[0] == 'x' {
		e.Command = cellhold.CommandID(of)
		return
	}
	e.Cell = cellhold.CellID(of)
}
