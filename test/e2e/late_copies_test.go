package e2e

import (
	"testing"

	"cellhold/client"
)

func TestThreadsPrintIntoTheirCellsAfterAForkARollbackAndAHibernation(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	c := s.run(t, id, later)
	const want = "at once\nlate one\nlate two\n"
	if _, err := s.Checkpoint(t.Context(), id, "before"); err != nil {
		t.Fatal(err)
	}
	forks, err := s.Fork(t.Context(), id, 1, "before")
	if err != nil {
		t.Fatal(err)
	}
	s.must(t, forks[0].ID, "open('go', 'w').close()")
	if f := s.awaitCell(t, forks[0].ID, c.ID, "late two"); text(f) != want {
		t.Errorf("in the fork the cell has %q, want %q", text(f), want)
	}
	if _, err := s.Rollback(t.Context(), id, "before"); err != nil {
		t.Fatal(err)
	}
	s.hibernate(t, id)
	s.must(t, id, "open('go', 'w').close()")
	if now := s.awaitCell(t, id, c.ID, "late two"); text(now) != want {
		t.Errorf("after the rollback and the hibernation the cell has %q, want %q", text(now), want)
	}
}
