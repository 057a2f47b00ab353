package e2e

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"cellhold"
	"cellhold/client"

	_ "modernc.org/sqlite" // a test damages records of the database
)

// damageImages gives a home its own images folder, in which the record of the stock image is cut.
func damageImages(t *testing.T, home string) {
	t.Helper()
	shared, own := filepath.Join(imageHome(t), "images"), filepath.Join(home, "images")
	records, err := filepath.Glob(filepath.Join(shared, "*", "image.json"))
	if err != nil || len(records) == 0 {
		t.Fatalf("the images have no records: %v", err)
	}
	if err := os.Remove(own); err != nil { // a link
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(own, "refs"), os.DirFS(filepath.Join(shared, "refs"))); err != nil {
		t.Fatal(err)
	}
	for _, path := range records {
		dir := filepath.Join(own, filepath.Base(filepath.Dir(path)))
		text, err := os.ReadFile(path)
		if err == nil {
			err = os.MkdirAll(dir, 0o755)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "image.json"), text[:len(text)/2], 0o644)
		}
		if err == nil {
			err = os.Symlink(filepath.Join(filepath.Dir(path), "rootfs"), filepath.Join(dir, "rootfs"))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// damageSecondCell flips a bit in the record of the second cell.
func damageSecondCell(t *testing.T, home string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(home, "cellhold.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var id int64
	var record []byte
	if err := db.QueryRow(`SELECT id, record FROM cells ORDER BY id LIMIT 1 OFFSET 1`).Scan(&id, &record); err != nil {
		t.Fatal(err)
	}
	record[len(record)/2] ^= 1
	if _, err := db.Exec(`UPDATE cells SET record = ? WHERE id = ?`, record, id); err != nil {
		t.Fatal(err)
	}
}

func TestAServerStartsWithDamagedRecordsAndServesTheOthers(t *testing.T) {
	t.Parallel()
	home := newHome(t)
	s := serve(t, home)
	id := s.session(t, client.CreateSession{})
	for _, code := range []string{"x = 41; print('one')", "print('two')", "print('three')"} {
		s.must(t, id, code)
	}
	s.signal(t, syscall.SIGTERM)
	damageImages(t, home)
	damageSecondCell(t, home)

	s = serve(t, home, "--no-templates=false")
	if log := s.log.String(); strings.Count(log, "sessions with the default image cannot start") != 1 || !strings.Contains(log, "cellhold image build") {
		t.Errorf("the log does not say once how to write the record of the image again:\n%s", log)
	}
	if got := s.must(t, id, "print(x + 1)"); got != "42\n" {
		t.Errorf("the running session: %q", got)
	}
	cells, err := s.Cells(t.Context(), id)
	if err != nil || len(cells) != 4 || cells[1].Status != cellhold.StatusLost || !strings.Contains(cells[1].Cause, "damaged") || text(cells[2]) != "three\n" {
		t.Errorf("got the cells %+v, %v", cells, err)
	}
	_, err = s.CreateSession(t.Context(), client.CreateSession{})
	if cellhold.KindOf(err) != cellhold.Unavailable || !strings.Contains(err.Error(), "cellhold image build") {
		t.Errorf("a new session: %v, want the remedy", err)
	}
}
