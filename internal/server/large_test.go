package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"cellhold"
	"cellhold/internal/record"
	"cellhold/internal/registry"
)

// TestAnAnswerIsNotLargerThanItsOutputs: < and > have one byte each, in every answer that has outputs.
func TestAnAnswerIsNotLargerThanItsOutputs(t *testing.T) {
	h := newHarness(t)
	session := h.create()
	page := strings.Repeat("<b>&", 256<<10)
	notebook := `{"nbformat":4,"nbformat_minor":5,"metadata":{},"cells":[{"id":"one","cell_type":"code","execution_count":1,"metadata":{},"source":"1","outputs":[
		{"output_type":"display_data","metadata":{},"data":{"text/html":"` + page + `"}}]}]}`
	var imported ImportedNotebook
	h.do(201, "POST", session+"/notebook", notebook).decode(t, &imported)
	for _, path := range []string{"/cells", "/cells/" + string(imported.Cells[0]), "/cells/" + string(imported.Cells[0]) + "?wait=1s", "/notebook"} {
		body := h.do(200, "GET", session+path, "").body
		if !json.Valid(body) || len(body) < len(page) || len(body) > len(page)+4<<10 {
			t.Errorf("GET %s has %d bytes for %d bytes of HTML, or is not JSON", path, len(body), len(page))
		}
	}
}

// budgetedStore counts the cells that are read with memory of the server's budget until their answer is sent.
type budgetedStore struct {
	registry.Store
	used atomic.Int32
}

func (b *budgetedStore) UseCell(ctx context.Context, id cellhold.SessionID, c cellhold.CellID, use func(record.Cell, error)) error {
	b.used.Add(1)
	return b.Store.UseCell(ctx, id, c, use)
}

func TestALargeCellThatIsSubmittedAgainTakesMemoryOfTheBudget(t *testing.T) {
	counted := &budgetedStore{}
	h := newHarnessWith(t, func(o *registry.Options) { counted.Store, o.Store = o.Store, counted }, nil)
	session := h.create()
	for size, want := range map[int]int32{10: 0, 4 * smallCell: 1} {
		submit := func(query string) answered {
			req := h.request("POST", session+"/cells"+query, fmt.Sprintf(`{"code":"big %d"}`, size))
			req.Header.Set("Idempotency-Key", strconv.Itoa(size))
			return h.send(req)
		}
		submit("?wait=60s")
		counted.used.Store(0)
		var cell cellhold.Cell
		again := submit("")
		again.decode(t, &cell)
		if again.StatusCode != http.StatusAccepted || cell.State != cellhold.CellDone || len(cell.Outputs[0].Text) != size {
			t.Errorf("%d bytes: got status %d with a cell that is %s", size, again.StatusCode, cell.State)
		}
		if got := counted.used.Load(); got != want {
			t.Errorf("%d bytes: %d reads with memory of the budget, want %d", size, got, want)
		}
	}
}
