package main

import (
	"cellhold/internal/cli/console"
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
	mangokong "github.com/alecthomas/mango-kong"
	"github.com/muesli/roff"
)

// manCmd prints the manual page.
type manCmd struct{}

// Help returns the text below the list of flags.
func (manCmd) Help() string {
	return "To read the page: cellhold man | man -l -. To install it: cellhold man > /usr/local/share/man/man1/cellhold.1"
}

// Run prints the page in the form of roff.
func (manCmd) Run(k *kong.Context, t *console.Terminal) error {
	var statuses strings.Builder
	for _, s := range console.Statuses {
		fmt.Fprintf(&statuses, "%d: %s\n\n", s.Code, strings.ReplaceAll(s.Meaning, "`", ""))
	}
	page := mangokong.NewManPage(1, k.Model).
		WithSection("Environment", "Each flag --some-name is also an environment variable CELLHOLD_SOME_NAME. NO_COLOR turns colours off.").
		WithSection("Exit status", statuses.String())
	_, err := io.WriteString(t.Out, page.Build(roff.NewDocument())+"\n")
	return err
}
