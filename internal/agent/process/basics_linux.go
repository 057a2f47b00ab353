package process

import "maps"

// passive makes waiting OpenMP threads sleep, in the runtimes of GNU and of Intel. By default they spin,
// which uses up the CPU time of a session that has fewer CPUs than threads.
var passive = map[string]string{"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}

// basics returns the environment that every program starts with. Values of a kernelspec or of the session
// have priority.
func (l *Launcher) basics() map[string]string {
	vars := map[string]string{
		"HOME": l.options.Home,
		"USER": l.options.User,
		"PATH": l.options.Path,
		"LANG": "C.UTF-8",
	}
	maps.Copy(vars, passive)
	return vars
}
