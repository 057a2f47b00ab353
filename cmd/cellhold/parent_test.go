package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"testing"

	"cellhold"
	"cellhold/client"
	"cellhold/internal/cli/console"
	"cellhold/internal/cli/setup"
	"cellhold/internal/image"
	"cellhold/internal/session"
)

// A program starts a private server, uses it with the printed token only, and ends it by the end of its input.
func TestAProgramStartsAServerOfItsOwn(t *testing.T) {
	driver, images := setup.NewDriver, setup.NewImages
	setup.NewDriver, setup.NewImages = openFake, func(*image.Store) session.Images { return noImages{} }
	t.Cleanup(func() { setup.NewDriver, setup.NewImages = driver, images })

	in, toCommand := io.Pipe()
	fromCommand, out := io.Pipe()
	var problems bytes.Buffer // read after the command's end
	ended := make(chan int, 1)
	go func() {
		ended <- command([]string{"--home", t.TempDir(), "serve", "--private"}, in, out, &problems)
		out.Close()
	}()
	var hello greeting
	line, err := bufio.NewReader(fromCommand).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &hello)
	}
	if err != nil {
		t.Fatalf("got the line %q, %v; want JSON", line, err)
	}
	if len(hello.Token) < 32 {
		t.Fatalf("the token is %q, want at least 32 characters", hello.Token)
	}
	for token, want := range map[string]cellhold.Kind{"": cellhold.Denied, hello.Token: ""} {
		c, err := client.New(client.Options{URL: hello.URL, Token: token})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.CreateSession(t.Context(), client.CreateSession{}); err != nil && cellhold.KindOf(err) != want || err == nil && want != "" {
			t.Errorf("create a session with the token %q: got %v, want kind %q", token, err, want)
		}
	}
	toCommand.Close()
	if status := <-ended; status != console.ExitOK || problems.Len() > 0 {
		t.Errorf("after the end of the input: got exit status %d and %q, want 0 and nothing", status, &problems)
	}
}
