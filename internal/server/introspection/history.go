package introspection

import (
	"iter"
	"slices"

	"cellhold"
)

// maxHistory is the limit of the bytes of code in one answer.
const maxHistory = 4 << 20

// History returns the code of the newest cells of a kernel, the oldest of them first. Cells that a rollback undid count
// too: a person can want their code again. An empty k means all kernels.
func History(cells iter.Seq2[cellhold.Cell, error], k cellhold.KernelID, limit int) ([]cellhold.HistoryEntry, error) {
	list, bytes := []cellhold.HistoryEntry{}, 0
	for c, err := range cells {
		if err != nil {
			return nil, err
		}
		if k != "" && c.Kernel != k || c.Type != "" && c.Type != cellhold.CellCode || c.Code == "" {
			continue
		}
		list = append(list, cellhold.HistoryEntry{Cell: c.ID, Kernel: c.Kernel, ExecutionCount: c.ExecutionCount, Code: c.Code, Submitted: c.Submitted})
		bytes += len(c.Code)
		for len(list) > limit || bytes > maxHistory && len(list) > 1 {
			bytes -= len(list[0].Code)
			list[0] = cellhold.HistoryEntry{}
			list = list[1:]
		}
	}
	return slices.Clip(list), nil
}
