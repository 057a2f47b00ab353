package guest

import (
	"bufio"
	"errors"
	"fmt"
	"strings"
	"testing"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/guestapi/boundstest"
)

func TestTheHostAcceptsOutputsUpToEachBound(t *testing.T) {
	boundstest.Run(t, func(t *testing.T, c boundstest.Case, size int, kept bool) {
		e := parse(t, c.Type, c.Content(size))
		got := c.Size(e.Content)
		if kept && (e.Type != c.Type || got != size) {
			t.Errorf("an output of size %d became a %s of size %d: %.200s", size, e.Type, got, e.Content)
		}
		if e.Cell != "c1" || got > c.Limit {
			t.Errorf("an output of size %d became a %s of size %d, the limit is %d", size, e.Type, got, c.Limit)
		}
	})
}

func TestANoteReplacesTracebacksAndOutputsAboveTheirBounds(t *testing.T) {
	boundstest.Run(t, func(t *testing.T, c boundstest.Case, size int, kept bool) {
		silent := strings.HasPrefix(c.Name, "MaxName") || strings.HasPrefix(c.Name, "MaxErrorText") // the rest of the output is shown
		e := parse(t, c.Type, c.Content(size))
		if note := strings.Contains(string(e.Content), "left out"); note == kept && !silent {
			t.Errorf("size %d: got %.200s", size, e.Content)
		}
	})
}

func TestADescriptionOfAKernelHasBounds(t *testing.T) {
	for _, size := range []int{guestapi.MaxLanguageInfo - 1, guestapi.MaxLanguageInfo, guestapi.MaxLanguageInfo + 1} {
		info := `{"name":"` + strings.Repeat("x", size-len(`{"name":""}`)) + `"}`
		name := strings.Repeat("é", size-guestapi.MaxLanguageInfo+guestapi.MaxInfoText)
		e := parse(t, cellhold.EventKernelState, `{"state":"idle","kernel":{"name":"`+name+`","language_info":`+info+`}}`)
		kept := size <= guestapi.MaxLanguageInfo
		if got := string(e.Content); e.Type == "" || strings.Contains(got, info) != kept || strings.Contains(got, name) != kept {
			t.Errorf("a description of %d bytes became %.300s", size, got)
		}
	}
	deep := strings.Repeat("[", guestapi.MaxLevels-2) + strings.Repeat("]", guestapi.MaxLevels-2) // in the reply of a kernel
	if e := parse(t, cellhold.EventKernelState, `{"state":"idle","kernel":{"name":"k","language_info":{"codemirror_mode":`+deep+`}}}`); e.Type == "" {
		t.Error("the deepest description that a kernel can send was refused")
	}
}

// TestALineAboveTheLimitIsLeftOutAndTheNextOneIsRead reads lines of an agent. Only the beginning of a line above the
// limit stays in memory.
func TestALineAboveTheLimitIsLeftOutAndTheNextOneIsRead(t *testing.T) {
	line := func(seq, size int) string {
		head := fmt.Sprintf(`{"seq":%d,"cell":"c1","type":"display_data","content":{"data":{"text/plain":"`, seq)
		end := `"},"metadata":{}}}` + "\n"
		return head + strings.Repeat("x", size-len(head)-len(end)) + end
	}
	lines := bufio.NewReaderSize(strings.NewReader(line(1, guestapi.MaxEvent)+line(2, guestapi.MaxEvent+1)+line(3, 200)), 64<<10)
	for seq, note := range []bool{false, true, false} {
		line, whole, err := readLine(lines, kernelEvents.maxLine)
		if err != nil || !whole && len(line) > guestapi.MaxHead {
			t.Fatal(len(line), err)
		}
		e, err := kernelEvents.parse(line, whole, int64(seq))
		if err != nil || e.Type != cellhold.EventDisplayData || strings.Contains(string(e.Content), "because it has more than 16777216 bytes") != note {
			t.Errorf("line %d: %v %s %.200s", seq+1, err, e.Type, e.Content)
		}
	}
	endless := bufio.NewReader(strings.NewReader(strings.Repeat("x", 5*100_000)))
	if _, _, err := readLine(endless, 100_000); !errors.Is(err, guestapi.ErrForm) {
		t.Errorf("a line without an end: %v, want an error of the protocol", err)
	}
}
