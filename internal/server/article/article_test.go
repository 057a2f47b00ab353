package article

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"cellhold"
)

func TestEachResultOfACellHasAnAnswer(t *testing.T) {
	died := func(s cellhold.CellStatus) cellhold.Cell { return cellhold.Cell{Status: s} }
	for _, tt := range []struct {
		cell   cellhold.Cell
		status int
		want   string
	}{
		{died(cellhold.StatusOK), 200, `"output":""`},
		{died(cellhold.StatusError), 400, `"traceback":["`},
		{died(cellhold.StatusInterrupted), 400, "interrupted"},
		{died(cellhold.StatusTimeout), 408, timedOut},
		{died(cellhold.StatusCancelled), 409, "did not run"},
		{died(cellhold.StatusOOM), 400, "memory"},
		{died(cellhold.StatusSignal), 400, "signal"},
		{died(cellhold.StatusExit), 400, "/reset"},
		{died(cellhold.StatusLost), 400, "gone"},
		{cellhold.Cell{Status: cellhold.StatusOOM, Cause: "It wanted 9 GiB."}, 400, "It wanted 9 GiB."},
		{cellhold.Cell{Status: cellhold.StatusError, Outputs: []cellhold.Output{{Type: cellhold.EventError, ErrorName: "E", Traceback: []string{"\x1b[0;31mE\x1b[0m: x"}}}}, 400, `["E: x"]`},
		{cellhold.Cell{Status: cellhold.StatusError, Outputs: []cellhold.Output{{Type: cellhold.EventError, ErrorName: "E", ErrorValue: new("v")}}}, 400, `["E: v"]`},
	} {
		w := httptest.NewRecorder()
		writeCell(w, tt.cell)
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s: %d %s", tt.cell.Status, w.Code, w.Body)
		}
	}
}
