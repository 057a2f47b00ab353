package attachment

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"path"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/record"
)

// PythonSpec is the kernelspec whose running kernels can get another environment and directory.
const PythonSpec = "python3"

// startRequest returns the request that starts the kernel with index i. The first kernel gets the startup code of the
// session, the others get their own.
func (a *Attachment) startRequest(k cellhold.Kernel, startup string, i int) guestapi.StartKernel {
	r := guestapi.StartKernel{Spec: k.Spec, Startup: k.Startup, Env: a.o.Env, Dir: cmp.Or(k.Dir, a.o.Dir)}
	if i == 0 {
		r.Startup = startup
	}
	return r
}

// prepare sets up a kernel that was started before its session. It reports an exception in the startup code in the
// same way as the start of any kernel.
func (a *Attachment) prepare(ctx context.Context, id cellhold.KernelID, s guestapi.StartKernel, timeout time.Duration) error {
	kernel := a.client.Kernel(id)
	if s.Dir != "" || len(s.Env) > 0 {
		done, err := kernel.Prepare(ctx, guestapi.Prepare{Code: changeProcess(s.Env, s.Dir), Timeout: timeout, Env: s.Env, Dir: s.Dir})
		if err != nil {
			return err
		}
		if done.Error != "" {
			return cellhold.Errorf(cellhold.Invalid, "The environment or the directory %.200q could not be set: %s", s.Dir, done.Error)
		}
	}
	if s.Startup == "" {
		return nil
	}
	done, err := kernel.Prepare(ctx, guestapi.Prepare{Code: s.Startup, Timeout: timeout, Startup: true})
	if err != nil || done.Error == "" {
		return err
	}
	return a.o.Log.Append(ctx, []record.Event{record.NewEvent(cellhold.EventKernelState, id, "",
		cellhold.KernelStateContent{State: cellhold.KernelIdle, Detail: "startup code failed: " + done.Error})})
}

// changeProcess returns Python code that changes the environment and the directory of its process. It leaves no
// variables behind.
func changeProcess(env map[string]string, dir string) string {
	text, _ := json.Marshal(map[string]any{"env": env, "dir": dir}) // cannot fail: texts only
	return fmt.Sprintf(`exec('''
import base64, json, os
s = json.loads(base64.b64decode("%s"))
os.environ.update(s["env"] or {})
if s["dir"]:
    os.chdir(s["dir"])
''', {})`, base64.StdEncoding.EncodeToString(text))
}

// path returns the path that a caller means. Relative paths begin at the working directory of the session.
func (a *Attachment) path(p string) string {
	if a.o.Dir == "" || path.IsAbs(p) {
		return p
	}
	return a.o.Dir + "/" + p
}
