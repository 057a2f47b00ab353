package attachment

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"cellhold"
)

// aroundVersion is the first version of the agent that runs code before and after a cell.
const aroundVersion = 5

// Around returns the code that sets an environment before a cell, and the code that restores the former one after it.
// The language is the one that the kernel reports.
func (a *Attachment) Around(language string, env map[string]string) (before, after string, err error) {
	if len(env) == 0 {
		return "", "", nil
	}
	if a.version < aroundVersion {
		return "", "", cellhold.Errorf(cellhold.Unsupported, "The session continues from a snapshot of an earlier version, in which a cell cannot have environment variables of its own. Use a new session.")
	}
	return around(language, env)
}

func around(language string, env map[string]string) (before, after string, err error) {
	switch strings.ToLower(language) {
	case "python":
		return fmt.Sprintf(pythonEnv, encoded(env)), "", nil
	case "javascript", "typescript":
		set, _ := json.Marshal(env) // cannot fail: texts only
		return fmt.Sprintf(scriptEnv, set), scriptRestore, nil
	case "bash":
		before, after = bashEnv(env)
		return before, after, nil
	case "r":
		return rEnv(env), rRestore, nil
	}
	return "", "", cellhold.Errorf(cellhold.Unsupported, "A cell of a kernel for %.40q cannot have environment variables of its own. Use Python, Bash, R or JavaScript, or set the variables for the session.", language)
}

// encoded returns the variables as base 64 of JSON, which needs no quotes in any language.
func encoded(env map[string]string) string {
	text, _ := json.Marshal(env) // cannot fail: texts only
	return base64.StdEncoding.EncodeToString(text)
}

// pythonEnv restores the environment right after the cell, before the kernel answers. It leaves no variables behind.
const pythonEnv = `exec('''
import base64, json, os
new = json.loads(base64.b64decode("%s"))
old = {name: os.environ.get(name) for name in new}
os.environ.update(new)
def restore(*_):
    events.unregister("post_run_cell", restore)
    for name, value in old.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
events.register("post_run_cell", restore)
''', {"events": get_ipython().events})`

// scriptEnv reaches globals as globalThis["name"]: the kernel of JavaScript checks types, and has none for these globals.
const (
	scriptEnv = `(() => {
const all = globalThis["process"].env, set = %s;
globalThis["cellhold_env"] = Object.keys(set).map((name) => [name, all[name]]);
Object.assign(all, set);
})()`
	scriptRestore = `(() => {
const all = globalThis["process"].env;
for (const [name, value] of globalThis["cellhold_env"] ?? []) {
if (value === undefined) delete all[name]; else all[name] = value;
}
delete globalThis["cellhold_env"];
})()`
)

// bashEnv keeps each former value in a variable of its own.
func bashEnv(env map[string]string) (before, after string) {
	var set, restore strings.Builder
	for _, name := range slices.Sorted(maps.Keys(env)) {
		old := "CELLHOLD_OLD_" + name
		value := "'" + strings.ReplaceAll(env[name], "'", `'\''`) + "'"
		fmt.Fprintf(&set, "unset %[2]s; if [ -n \"${%[1]s+x}\" ]; then %[2]s=$%[1]s; fi; export %[1]s=%[3]s\n", name, old, value)
		fmt.Fprintf(&restore, "if [ -n \"${%[2]s+x}\" ]; then export %[1]s=\"$%[2]s\"; unset %[2]s; else unset %[1]s; fi\n", name, old)
	}
	return set.String(), restore.String()
}

const rRestore = `local({
old <- getOption("cellhold.env")
for (name in names(old)) if (is.na(old[[name]])) Sys.unsetenv(name) else do.call(Sys.setenv, as.list(old[name]))
options(cellhold.env = NULL)
})`

// rText returns a string literal of R. Its numeric escapes are all Unicode escapes: R refuses a literal that mixes them
// with hexadecimal or octal ones.
func rText(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, "\\U%08x", c)
		default:
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func rEnv(env map[string]string) string {
	var names, values []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		names = append(names, strconv.Quote(name))
		values = append(values, name+" = "+rText(env[name]))
	}
	return fmt.Sprintf("options(cellhold.env = Sys.getenv(c(%s), unset = NA, names = TRUE))\ninvisible(Sys.setenv(%s))",
		strings.Join(names, ", "), strings.Join(values, ", "))
}
