package cellhold

// Package is one package that was installed in a session, as its lock names it.
type Package struct {
	Name    string `json:"name" doc:"Normalised name." example:"tabulate"`
	Version string `json:"version" doc:"The installed version." example:"0.9.0"`
	SHA256  string `json:"sha256,omitempty" doc:"Of the file that it was installed from, as the server received it."`
}

// Installation is what an installation changed.
type Installation struct {
	Changes  []PackageChange `json:"changes" doc:"What was added, changed and removed, by name. Empty when everything was there already."`
	Present  []Package       `json:"present" doc:"What was asked for and was there already, in a version that fits."`
	Imports  []string        `json:"imports" doc:"What to import: the modules of the packages that were asked for, the likeliest first."`
	Hooks    []StartHook     `json:"hooks" doc:"New or changed files that every Python runs or reads when it starts. Most packages have none."`
	Stale    []StaleModule   `json:"stale" doc:"Modules that running kernels had imported from packages that are another version now, and keep until they are restarted; and modules that looked for a package before it was installed."`
	Warnings []string        `json:"warnings" doc:"What a person should know, a sentence each."`
	Log      string          `json:"log" doc:"What the installer said."`
}

// PackageChange is one package before and after.
type PackageChange struct {
	Name    string   `json:"name" doc:"Normalised name." example:"tabulate"`
	Before  string   `json:"before,omitempty" doc:"Version before; absent when it is new."`
	After   string   `json:"after,omitempty" doc:"Version now; absent when it was removed." example:"0.9.0"`
	Modules []string `json:"modules" doc:"What it lets code import."`
}

// StartHook is a file that every Python reads when it starts.
type StartHook struct {
	Path string `json:"path" doc:"Where it is in the sandbox."`
	Text string `json:"text" doc:"Its beginning."`
}

// StaleModule is a module in a running kernel that is older than what is installed.
type StaleModule struct {
	Kernel  KernelID `json:"kernel" doc:"The kernel that has imported it." example:"python3"`
	Package string   `json:"package" doc:"The package that it came from."`
	Module  string   `json:"module" doc:"Its name."`
	Absent  bool     `json:"absent,omitempty" doc:"The module is of another package. It looked for this one before that was there, and may remember that it was absent."`
}
