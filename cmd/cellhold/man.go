package main

import (
	"cellhold/internal/cli/console"
	"fmt"
	"io"
	"strings"
	"time"

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
	k.Model.Detail = "Most commands use a server: the one of --url, or of the variable CELLHOLD_URL. cellhold COMMAND --help prints one command."
	for _, child := range k.Model.Children {
		joinDetails(child)
	}
	page := mangokong.NewManPage(1, k.Model).
		WithSection("Environment", "Each flag --some-name is also an environment variable CELLHOLD_SOME_NAME. NO_COLOR turns colours off.").
		WithSection("Exit status", statuses.String())
	_, err := io.WriteString(t.Out, page.Build(manual{roff.NewDocument()})+"\n")
	return err
}

// joinDetails moves the long help of each command to its short help. mango-kong would write it into the line with the name.
func joinDetails(n *kong.Node) {
	n.Help, n.Detail = strings.TrimSpace(n.Help+" "+n.Detail), ""
	for _, child := range n.Children {
		joinDetails(child)
	}
}

// manual is a document with a short heading. mango would write the description of the program there.
type manual struct{ *roff.Document }

// Heading writes the heading.
func (m manual) Heading(section uint, title, _ string, at time.Time) {
	m.Document.Heading(section, title, "User Commands", at)
}
