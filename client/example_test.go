package client_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"cellhold"
	"cellhold/client"
)

// A session keeps its variables from cell to cell. An exception in the code is a normal answer, not an error.
func Example() {
	ctx := context.Background()
	c, err := client.New(client.Options{URL: "http://127.0.0.1:5002", Token: os.Getenv("TOKEN")})
	if err != nil {
		panic(err)
	}
	session, err := c.CreateSession(ctx, client.CreateSession{})
	if err != nil {
		panic(err) // a *cellhold.Error: its Kind says whether to retry
	}
	defer func() { _ = c.DeleteSession(ctx, session.ID) }()

	for _, code := range []string{"x = 6 * 7", "print(x)", "x / 0"} {
		cell, err := c.Execute(ctx, session.ID, client.Code{Code: code, Timeout: 10 * time.Second})
		if err != nil {
			panic(err)
		}
		for _, o := range cell.Outputs {
			fmt.Print(o.Text, o.Exception())
		}
		if cell.Status != cellhold.StatusOK {
			fmt.Println(" ended the cell with status", cell.Status)
		}
	}
}
