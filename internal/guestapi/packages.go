package guestapi

import (
	"time"

	"cellhold"
)

// Bounds of an installation.
const (
	// MaxRequirements bounds the requirements of one installation; lock files of large projects
	// have 500.
	MaxRequirements = 2000
	// MaxRequirement is the most bytes of one of them. Locks name up to a hundred hashes of 72 bytes.
	MaxRequirement = 32 << 10
	// MaxInstallLog is the most bytes of the installer's own words that come back.
	MaxInstallLog = 64 << 10
	// MaxPackages bounds the packages that are reported, and MaxModules the modules of each.
	MaxPackages = 2000
	MaxModules  = 50
	// MaxHooks bounds the start-up hooks that are reported, and MaxHookText the text of each.
	MaxHooks    = 50
	MaxHookText = 2 << 10
	// AskWait is how long the agent lets the host wait for the next question of the installer.
	AskWait = 20 * time.Second
)

// Install asks for one change of the installed packages. The host has checked every requirement;
// the agent passes them on in a file, so that none can become an option. Either Requirements or
// Remove is given.
type Install struct {
	Requirements []string      `json:"requirements,omitempty"`
	Remove       []string      `json:"remove,omitempty"`  // normalised names
	Names        []string      `json:"names,omitempty"`   // what the requirements name, normalised: reported even when nothing changes
	Hashes       bool          `json:"hashes,omitempty"`  // every file must have a hash that the requirements name
	Source       bool          `json:"source,omitempty"`  // source distributions may be built
	Upgrade      bool          `json:"upgrade,omitempty"` // what is named, to the newest version that fits
	Alone        bool          `json:"alone,omitempty"`   // without what the packages need
	Timeout      time.Duration `json:"timeout"`           // nanoseconds; must be positive
}

// InstallFailure says why an installation failed, as far as the agent can tell.
type InstallFailure string

// The ways an installation ends.
const (
	InstallOK       InstallFailure = ""
	InstallRefused  InstallFailure = "refused"   // the installer said no; its log says why
	InstallTimeout  InstallFailure = "timeout"   // the time was up
	InstallDiskFull InstallFailure = "disk_full" // the session's layer is full
	InstallKilled   InstallFailure = "killed"    // a signal ended the installer: memory, most likely
)

// Installed is the answer to Install, also to one that failed.
type Installed struct {
	Failure InstallFailure  `json:"failure,omitempty"`
	Log     string          `json:"log"`
	Changes []PackageChange `json:"changes"`
	Named   []PackageChange `json:"named"` // the state of Install.Names; Before and After are the same
	Hooks   []StartHook     `json:"hooks"` // new or changed
	Loaded  []LoadedModule  `json:"loaded"`
	Silent  []string        `json:"silent"` // kernels that did not say what they have imported
}

// PackageChange is one package before and after. An empty version means that it is not there.
type PackageChange struct {
	Name    string   `json:"name"` // normalised
	Before  string   `json:"before,omitempty"`
	After   string   `json:"after,omitempty"`
	Modules []string `json:"modules,omitempty"` // what to import
}

// StartHook is a file that every Python runs, or reads, when it starts.
type StartHook struct {
	Path string `json:"path"`
	Text string `json:"text"` // its beginning
}

// LoadedModule is a module that a running kernel had imported from a package that has changed, or one that
// looked for a package before that was installed.
type LoadedModule struct {
	Kernel  cellhold.KernelID `json:"kernel"`
	Package string            `json:"package"`
	Module  string            `json:"module"`
	Absent  bool              `json:"absent,omitempty"` // it looked for the package in vain
}

// Question is one question of the installer to its index: a page or a file.
type Question struct {
	ID   int64  `json:"id"`
	Path string `json:"path"` // simple/NAME/ or file/N/FILE
}
