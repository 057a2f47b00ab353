package article

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"cellhold"
)

func TestEachStatusOfACellHasAnAnswer(t *testing.T) {
	with := func(s cellhold.CellStatus) cellhold.Cell { return cellhold.Cell{Status: s} }
	for _, tt := range []struct {
		cell   cellhold.Cell
		status int
		want   string
	}{
		{with(cellhold.StatusOK), 200, `"output":""`},
		{with(cellhold.StatusError), 400, `"traceback":["`},
		{with(cellhold.StatusInterrupted), 400, "interrupted"},
		{with(cellhold.StatusTimeout), 408, timedOut},
		{with(cellhold.StatusCancelled), 409, "did not run"},
		{with(cellhold.StatusOOM), 400, "memory"},
		{with(cellhold.StatusSignal), 400, "signal"},
		{with(cellhold.StatusExit), 400, "/reset"},
		{with(cellhold.StatusLost), 400, "gone"},
		{cellhold.Cell{Status: cellhold.StatusOOM, Cause: "It wanted 9 GiB."}, 400, "It wanted 9 GiB."},
		{cellhold.Cell{Status: cellhold.StatusError, Outputs: []cellhold.Output{{Type: cellhold.EventError, ErrorName: "E", Traceback: []string{"\x1b[0;31mE\x1b[0m: x"}}}}, 400, `["E: x"]`},
		{cellhold.Cell{Status: cellhold.StatusError, Outputs: []cellhold.Output{{Type: cellhold.EventError, ErrorName: "E", ErrorValue: new("v")}}}, 400, `["E: v"]`},
	} {
		w := httptest.NewRecorder()
		writeCell(w, tt.cell)
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s: got status %d with %s, want %d with %q", tt.cell.Status, w.Code, w.Body, tt.status, tt.want)
		}
	}
}
