package main

import (
	"cellhold"
	"cellhold/internal/cli/console"
	"cellhold/internal/cli/remote"
	"cellhold/internal/cli/setup"
	"cellhold/internal/lazy"
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	complement "github.com/posener/complete"
	"github.com/willabides/kongplete"
)

// completionPatience is how long a completion waits for a server. A person waits for each Tab. Tests of other things set it.
var completionPatience = 400 * time.Millisecond

// completionCmd prints the completion script of a shell.
type completionCmd struct {
	Shell string `arg:"" help:"Shell: bash, zsh or fish." enum:"bash,zsh,fish"`
}

// Help returns the text below the list of flags.
func (completionCmd) Help() string {
	return `Commands, flags, choices, sessions, images and files are completed. Put one of these lines into the file that your shell reads at its start:

bash (~/.bashrc):                    source <(cellhold completion bash)

zsh (~/.zshrc):                      source <(cellhold completion zsh)

fish (~/.config/fish/config.fish):   cellhold completion fish | source

Sessions are asked from the server of --url, or of CELLHOLD_URL. If it does not answer in 0.4 s, no session is offered.`
}

// scripts are the completion scripts. The shell calls cellhold, which finds the line in the variable COMP_LINE.
var scripts = map[string]string{
	"bash": "complete -o default -C cellhold cellhold\n",
	"zsh": `(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
autoload -Uz bashcompinit && bashcompinit
complete -o default -C cellhold cellhold
`,
	"fish": `function __complete_cellhold
    set -lx COMP_LINE (commandline -cp)
    test -z (commandline -ct | string collect)
    and set COMP_LINE "$COMP_LINE "
    cellhold
end
complete -f -c cellhold -a "(__complete_cellhold)"
`,
}

// Run prints the script.
func (c *completionCmd) Run(t *console.Terminal) error {
	_, err := io.WriteString(t.Out, scripts[c.Shell])
	return err
}

// complete prints the words that can follow in the line of COMP_LINE. It prints nothing if something fails: a message
// would stand in the middle of the line that a person types.
func complete(parser *kong.Kong, out io.Writer) {
	inherit(parser.Model.Node, nil)
	words := strings.Fields(os.Getenv("COMP_LINE")) // a predictor gets only the words after its command
	files := complement.PredictFiles("*")
	root, err := kongplete.Command(parser, kongplete.WithPredictors(map[string]complement.Predictor{
		"file":    harmless(files.Predict),
		"session": harmless(func(complement.Args) []string { return sessionsOf(words) }),
		"image":   harmless(func(complement.Args) []string { return imagesOf(words) }),
		"place": harmless(func(a complement.Args) []string {
			places := files.Predict(a)
			for _, id := range sessionsOf(words) {
				places = append(places, id+":")
			}
			return places
		}),
	}))
	if err != nil {
		return
	}
	completer := complement.New(parser.Model.Name, root)
	var offered strings.Builder
	completer.Out = &offered
	completer.Complete()
	lines := slices.Sorted(strings.Lines(offered.String()))
	_, _ = io.WriteString(out, strings.Join(slices.Compact(lines), "")) // a flag of a group is also one of its commands
}

// bareWord matches the words that a shell takes as they are. The pattern has no line break: each line is one offer.
var bareWord = lazy.Regexp(`^[\w./:@%+,=~-]+$`)

// harmless returns a predictor that offers only words without quotes. Shells insert an offer as it is: a file named "a;b"
// would run the command b. If there is no offer, bash itself completes the names of files, with quotes.
func harmless(predict complement.PredictFunc) complement.PredictFunc {
	return func(a complement.Args) []string {
		return slices.DeleteFunc(predict(a), func(word string) bool { return !bareWord().MatchString(word) })
	}
}

// inherit gives each command the flags of the commands above it. Otherwise kongplete takes their values for arguments.
func inherit(n *kong.Node, above []*kong.Flag) {
	own := func(f *kong.Flag) bool { // such as --output of run, which hides another one
		return slices.ContainsFunc(n.Flags, func(x *kong.Flag) bool { return x.Name == f.Name })
	}
	n.Flags = append(slices.DeleteFunc(slices.Clone(above), own), n.Flags...)
	for _, child := range n.Children {
		inherit(child, n.Flags)
	}
}

// sessionID matches the ids of sessions. Other texts of a server are not offered: the shell would type them.
var sessionID = lazy.Regexp(`^s[a-z2-7]{16}$`)

// sessionsOf returns the ids of the sessions of the server that a line names, or nothing.
func sessionsOf(words []string) (ids []string) {
	c, err := partial(words)
	if err != nil {
		return nil
	}
	server, err := remote.NewClient(c.Status.URL, c.Status.Token, c.Home)
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), completionPatience)
	defer cancel()
	sessions, err := server.Sessions(ctx)
	if err != nil {
		return nil
	}
	for _, s := range sessions {
		if s.State != cellhold.SessionEnded && sessionID().MatchString(string(s.ID)) {
			ids = append(ids, string(s.ID))
		}
	}
	return ids
}

// imageName matches the names of images that need no quotes in a shell.
var imageName = lazy.Regexp(`^[a-zA-Z0-9][a-zA-Z0-9._/:@-]*$`)

// imagesOf returns the names of the images in the home that a line names, or nothing.
func imagesOf(words []string) (names []string) {
	c, err := partial(words)
	if err != nil {
		return nil
	}
	store, err := setup.OpenExisting(c.Home, cmp.Or(c.Images, setup.ImagesDir(c.Home)), slog.New(slog.DiscardHandler), nil)
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), completionPatience)
	defer cancel()
	images, err := store.List(ctx)
	if err != nil {
		return nil
	}
	for _, image := range images {
		for _, name := range image.Names {
			if imageName().MatchString(name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// partial returns the settings that say which server and which home an unfinished line uses, with those of the environment
// and the configuration files.
func partial(words []string) (*cli, error) {
	args := []string{"status"}
	for i, word := range words {
		name, _, joined := strings.Cut(word, "=")
		if !slices.Contains([]string{"--url", "--token", "--home", "--config"}, name) {
			continue
		}
		if args = append(args, word); !joined && i+1 < len(words) {
			args = append(args, words[i+1])
		}
	}
	c := &cli{}
	parser, err := newParser(c, io.Discard, io.Discard)
	if err != nil {
		return nil, err
	}
	if _, err := parser.Parse(args); err != nil {
		return nil, fmt.Errorf("unfinished line: %w", err)
	}
	if c.Home == "" {
		c.Home = defaultHome()
	}
	c.Home = setup.Resolved(c.Home)
	return c, nil
}
