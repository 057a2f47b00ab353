package guestapi

import (
	"time"

	"cellhold"
)

// Bounds of an installation.
const (
	// MaxRequirements bounds the requirements of one installation. Lock files of large projects have 500.
	MaxRequirements = 2000
	// MaxRequirement is the limit of one requirement in bytes. Lock files list up to a hundred hashes of 72
	// bytes.
	MaxRequirement = 32 << 10
	// MaxInstallLog is the limit of the installer's output that is returned, in bytes.
	MaxInstallLog = 64 << 10
	// MaxPackages bounds the packages that are reported, and MaxModules the modules of each.
	MaxPackages = 2000
	MaxModules  = 50
	// MaxHooks bounds the start-up hooks that are reported, and MaxHookText the text of each.
	MaxHooks    = 50
	MaxHookText = 2 << 10
	// AskWait is how long a request for the installer's next question waits in the agent.
	AskWait = 20 * time.Second
)

// Install asks for one change of the installed packages. The host has checked every requirement. The agent
// passes the requirements to the installer in a file, so that none can become an option. Either Requirements
// or Remove is set.
type Install struct {
	Requirements []string      `json:"requirements,omitempty"`
	Remove       []string      `json:"remove,omitempty"`  // normalised names
	Names        []string      `json:"names,omitempty"`   // the packages in the requirements, normalised: reported even when nothing changes
	Hashes       bool          `json:"hashes,omitempty"`  // every file must have a hash from the requirements
	Source       bool          `json:"source,omitempty"`  // source distributions can be built
	Upgrade      bool          `json:"upgrade,omitempty"` // packages in the requirements, to the newest version that they allow
	Alone        bool          `json:"alone,omitempty"`   // without dependencies
	Timeout      time.Duration `json:"timeout"`           // nanoseconds; must be positive
}

// InstallFailure is the reason why an installation failed, if the agent knows it.
type InstallFailure string

// The results of an installation.
const (
	InstallOK       InstallFailure = ""
	InstallRefused  InstallFailure = "refused"   // the installer refused; its log has the reason
	InstallTimeout  InstallFailure = "timeout"   // the timeout passed
	InstallDiskFull InstallFailure = "disk_full" // the session's layer is full
	InstallKilled   InstallFailure = "killed"    // a signal ended the installer, usually for lack of memory
)

// Installed is the answer to Install, also after a failure.
type Installed struct {
	Failure InstallFailure  `json:"failure,omitempty"`
	Log     string          `json:"log"`
	Changes []PackageChange `json:"changes"`
	Named   []PackageChange `json:"named"` // the state of Install.Names; Before and After are equal
	Hooks   []StartHook     `json:"hooks"` // new or changed
	Loaded  []LoadedModule  `json:"loaded"`
	Silent  []string        `json:"silent"` // kernels that did not list their imports
}

// PackageChange is one package before and after. An empty version means that it is not installed.
type PackageChange struct {
	Name    string   `json:"name"` // normalised
	Before  string   `json:"before,omitempty"`
	After   string   `json:"after,omitempty"`
	Modules []string `json:"modules,omitempty"` // names to import
}

// StartHook is a file that every Python runs or reads when it starts.
type StartHook struct {
	Path string `json:"path"`
	Text string `json:"text"` // the beginning of the file
}

// LoadedModule is a module of a running kernel that does not match the installed packages. Either its
// package has changed since the import, or the module tried to import a package that was not installed yet.
type LoadedModule struct {
	Kernel  cellhold.KernelID `json:"kernel"`
	Package string            `json:"package"`
	Module  string            `json:"module"`
	Absent  bool              `json:"absent,omitempty"` // the module tried to import the package before it was installed
}

// Question is one request of the installer to its index: for a page or a file.
type Question struct {
	ID   int64  `json:"id"`
	Path string `json:"path"` // simple/NAME/ or file/N/FILE
}
