//go:build linux

// Program probe replaces the agent in tests of sandboxes. It serves HTTP on the link to the host. On request it tries
// what hostile code would try, in a separate process under the user's uid. As "probe try NAME [ARG]" it tries the same
// on the host, which shows that the attempts can succeed.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"cellhold/internal/link"
	"cellhold/internal/sandbox/sandboxtest"
)

// guestUser is the uid of kernels.
const guestUser = 1000

func main() {
	if len(os.Args) > 2 && os.Args[1] == "try" {
		arg := ""
		if len(os.Args) > 3 {
			arg = os.Args[3]
		}
		_ = json.NewEncoder(os.Stdout).Encode(try(os.Args[2], arg))
		return
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /try", serveTry)
	mux.HandleFunc("GET /wait", serveWait)
	mux.HandleFunc("GET /exit", serveExit)
	mux.HandleFunc("GET /self", func(w http.ResponseWriter, r *http.Request) {
		answer(w, try(r.FormValue("what"), r.FormValue("arg")))
	})
	log.Fatal(http.Serve(link.Listen(os.Stdin, os.Stdout), mux))
}

// serveTry runs an attempt in a separate process.
func serveTry(w http.ResponseWriter, r *http.Request) {
	cmd := exec.CommandContext(r.Context(), "/proc/self/exe", "try", r.FormValue("what"), r.FormValue("arg"))
	cmd.Env = []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: guestUser, Gid: guestUser},
	}
	out, err := cmd.Output()
	result := sandboxtest.Attempt{}
	if jerr := json.Unmarshal(out, &result); jerr != nil {
		result.Err = fmt.Sprintf("ended without a result: %v", err)
	}
	answer(w, result)
}

// serveWait sends one line, and then nothing until the caller closes the connection.
func serveWait(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintln(w, "hello")
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

func serveExit(_ http.ResponseWriter, r *http.Request) {
	code, _ := strconv.Atoi(r.FormValue("arg"))
	os.Exit(code)
}

func answer(w http.ResponseWriter, a sandboxtest.Attempt) {
	_ = json.NewEncoder(w).Encode(a)
}
