package cellhold

// Package is one package that was installed in a session. Its name is normalised, as in the session's lock file.
type Package struct {
	Name    string `json:"name" doc:"Normalised name of the package." example:"tabulate"`
	Version string `json:"version" doc:"Installed version." example:"0.9.0"`
	SHA256  string `json:"sha256,omitempty" doc:"SHA-256 digest of the installed file, as the server received it."`
}

// Installation is the result of an installation.
type Installation struct {
	Changes  []PackageChange `json:"changes" doc:"Packages that were added, changed or removed, by name. Empty if all packages were present before."`
	Present  []Package       `json:"present" doc:"Requested packages that were present before, in a version that fits."`
	Imports  []string        `json:"imports" doc:"Modules of the requested packages, the likeliest first."`
	Hooks    []StartHook     `json:"hooks" doc:"New or changed files that every Python process runs or reads at its start. Most packages have none."`
	Stale    []StaleModule   `json:"stale" doc:"Modules in running kernels that are out of date: their package has another version now, or they looked for a package before it was installed. Restart the kernel to reload them."`
	Warnings []string        `json:"warnings" doc:"Warnings for the user, each one sentence."`
	Log      string          `json:"log" doc:"Output of the installer."`
}

// PackageChange is a change of one package.
type PackageChange struct {
	Name    string   `json:"name" doc:"Normalised name of the package." example:"tabulate"`
	Before  string   `json:"before,omitempty" doc:"Version before. Absent for a new package."`
	After   string   `json:"after,omitempty" doc:"Version now. Absent for a removed package." example:"0.9.0"`
	Modules []string `json:"modules" doc:"Modules that the package provides."`
}

// StartHook is a file that every Python process reads at its start.
type StartHook struct {
	Path string `json:"path" doc:"Path in the sandbox."`
	Text string `json:"text" doc:"Beginning of the file."`
}

// StaleModule is a module that a running kernel imported before a package was installed, changed or removed. The
// kernel must be restarted to use the package as it is now.
type StaleModule struct {
	Kernel  KernelID `json:"kernel" doc:"Kernel that imported the module." example:"python3"`
	Package string   `json:"package" doc:"Package of the module."`
	Module  string   `json:"module" doc:"Name of the module."`
	Absent  bool     `json:"absent,omitempty" doc:"True if the module belongs to another package, which tried to import this package before it was installed. Python can remember the failed import."`
}
